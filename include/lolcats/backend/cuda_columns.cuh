// Sums over the rows of a matrix, column by column: gradients of weights that all rows share.
#pragma once

#include <lolcats/backend/cuda_memory.cuh>
#include <lolcats/backend/cuda_runtime.cuh>

#include <algorithm>

namespace lolcats::cuda {

namespace detail {

/// partial (parts, C): sums of f(m, c) over the rows m of each part.
template <class F>
__global__ void column_partials(F f, float* partial, Index rows, Index cols, Index rows_per_part) {
  const Index c = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= cols) return;
  const Index begin = blockIdx.y * rows_per_part;
  const Index end = begin + rows_per_part < rows ? begin + rows_per_part : rows;
  float sum = 0;
  for (Index m = begin; m < end; ++m) sum += f(m, c);
  partial[blockIdx.y * cols + c] = sum;
}

/// to (C) += the rows of partial (parts, C), in order.
template <class = void>
__global__ void add_partials(const float* partial, float* to, Index parts, Index cols) {
  const Index c = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= cols) return;
  float sum = 0;
  for (Index part = 0; part < parts; ++part) sum += partial[part * cols + c];
  to[c] += sum;
}

}  // namespace detail

/// to (C) += the sum over m of f(m, c), in fp32 and in an order that depends on the sizes alone.
template <class F>
void add_column_sums(const char* name, cudaStream_t stream, Index rows, Index cols, const F& f, float* to) {
  if (rows == 0) return;
  constexpr unsigned threads = 128;
  const Index rows_per_part = std::max<Index>(16, (rows + 127) / 128);
  const Index parts = (rows + rows_per_part - 1) / rows_per_part;
  const unsigned across = blocks_for(cols, threads);
  Scratch<float> partial(parts * cols, stream);
  launch(name, detail::column_partials<F>, {dim3(across, static_cast<unsigned>(parts)), threads, stream}, f,
         partial.data(), rows, cols, rows_per_part);
  launch(name, detail::add_partials<>, {across, threads, stream}, partial.data(), to, parts, cols);
}

}  // namespace lolcats::cuda
