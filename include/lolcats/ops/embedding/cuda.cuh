// Rows of a table on CUDA.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/embedding/embedding.hpp>

#include <algorithm>
#include <numeric>
#include <vector>

namespace lolcats {

namespace cuda {

/// y[m] = table[rows[m]]; a thread per pack of neighbours.
template <int Width, class T>
__global__ void gather_rows(const Index* rows, const T* table, T* y, Index count, Index cols) {
  const Index packs = cols / Width;
  const Index at = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  const Index m = at / packs, c = at % packs * Width;
  if (m < count) store_pack(y + m * cols + c, load_pack<Width>(table + rows[m] * cols + c));
}

/// y (count, C) = rows of table (any, C) by their numbers in device memory.
template <class T>
void gather(cudaStream_t stream, const Index* rows, const T* table, T* y, Index count, Index cols) {
  constexpr int threads = 256;
  if (packs_fit(cols, table, y)) {
    const Index packs = cols / widest<T>;
    launch("gather", gather_rows<widest<T>, T>, {blocks_for(count * packs, threads), threads, stream}, rows, table, y,
           count, cols);
  } else {
    launch("gather", gather_rows<1, T>, {blocks_for(count * cols, threads), threads, stream}, rows, table, y, count,
           cols);
  }
}

/// dtable[token] += the rows of dy that belong to it, in order: group g holds rows order[first[g] ... first[g + 1]).
template <class T>
__global__ void add_row_groups(const Index* order, const Index* first, const Index* tokens, const T* dy, float* dtable,
                               Index cols) {
  const Index c = static_cast<Index>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (c >= cols) return;
  const Index group = blockIdx.x;
  float* to = dtable + tokens[order[first[group]]] * cols + c;
  float sum = *to;
  for (Index i = first[group]; i < first[group + 1]; ++i) sum += to_float(dy[order[i] * cols + c]);
  *to = sum;
}

}  // namespace cuda

template <class T>
struct EmbeddingKernel<Cuda<T>> {
  static void forward(const Cuda<T>& backend, std::span<const Index> tokens, View<const T> table, View<T> y) {
    const auto rows = cuda::to_device(tokens, backend.stream());
    cuda::gather(backend.stream(), rows.data(), table.data, y.data, y.rows(), y.cols());
  }

  static void table_gradient(const Cuda<T>& backend, std::span<const Index> tokens, View<const T> dy,
                             View<float> dtable) {
    if (tokens.empty() || dy.cols() == 0) return;
    std::vector<Index> order(tokens.size()), first;
    std::iota(order.begin(), order.end(), Index{0});
    const auto token = [&](Index m) { return tokens[static_cast<std::size_t>(m)]; };
    std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return token(a) < token(b); });
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i == 0 || token(order[i]) != token(order[i - 1])) first.push_back(static_cast<Index>(i));
    }
    const auto groups = static_cast<unsigned>(first.size());
    first.push_back(static_cast<Index>(order.size()));

    const cudaStream_t stream = backend.stream();
    const auto device_order = cuda::to_device(std::span<const Index>(order), stream);
    const auto device_first = cuda::to_device(std::span<const Index>(first), stream);
    const auto device_tokens = cuda::to_device(tokens, stream);
    constexpr unsigned threads = 128;
    cuda::launch("embedding gradient", cuda::add_row_groups<T>,
                 {dim3(groups, cuda::blocks_for(dy.cols(), threads)), threads, stream}, device_order.data(),
                 device_first.data(), device_tokens.data(), dy.data, dtable.data, dy.cols());
  }
};

}  // namespace lolcats
