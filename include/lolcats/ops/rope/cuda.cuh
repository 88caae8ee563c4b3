// Rotary position embedding on CUDA.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/rope/rope.hpp>

namespace lolcats {

namespace cuda {

/// The position of row m, or -1 if it belongs to no extent.
__device__ inline Index position_of(Index m, const Extent* extents, Index count) {
  Index low = 0, high = count;  // extents before `low` start at m or earlier, those from `high` on start later
  while (low < high) {
    const Index middle = (low + high) / 2;
    if (extents[middle].row <= m) low = middle + 1;
    else high = middle;
  }
  if (low == 0) return -1;
  const Extent& e = extents[low - 1];
  return m < e.row + e.length ? e.position + m - e.row : -1;
}

/// A thread turns `Width` neighbouring planes of one head.
template <int Width, class T>
__global__ void rotate(const T* x, const Extent* extents, Index count, const float* cosines, const float* sines,
                       float direction, T* y, bool add, Index rows, Index cols, Index planes) {
  const Index packs = planes / Width, per_row = cols / (2 * Width);
  const Index at = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  const Index m = at / per_row;
  if (m >= rows) return;
  const Index head = at % per_row / packs, plane = at % packs * Width;
  const Index low_at = m * cols + head * 2 * planes + plane, high_at = low_at + planes;
  const Index position = position_of(m, extents, count);
  const auto low = load_pack<Width>(x + low_at), high = load_pack<Width>(x + high_at);
  Pack<T, Width> y_low, y_high;
  if (add) {
    y_low = load_pack<Width>(y + low_at);
    y_high = load_pack<Width>(y + high_at);
  }
#pragma unroll
  for (int i = 0; i < Width; ++i) {
    const float c = position < 0 ? 1.0F : cosines[position * planes + plane + i];
    const float s = position < 0 ? 0.0F : direction * sines[position * planes + plane + i];
    const float turned_low = low[i] * c - high[i] * s, turned_high = high[i] * c + low[i] * s;
    y_low.set(i, add ? y_low[i] + turned_low : turned_low);
    y_high.set(i, add ? y_high[i] + turned_high : turned_high);
  }
  store_pack(y + low_at, y_low);
  store_pack(y + high_at, y_high);
}

}  // namespace cuda

template <class T>
struct RopeKernel<Cuda<T>> {
  static void rotate(const Cuda<T>& backend, View<const T> x, const Sequences& sequences, View<const float> cos,
                     View<const float> sin, int direction, Sink<T> y) {
    const cudaStream_t stream = backend.stream();
    const auto extents = cuda::to_device(sequences.extents(), stream);
    // An empty table has no shape; then all rows are padding, and any even split of the columns copies them.
    const Index planes = cos ? cos.cols() : x.cols() / 2;
    const auto run = [&](auto kernel, Index width) {
      constexpr unsigned threads = 256;
      cuda::launch("rope", kernel, {cuda::blocks_for(x.size() / (2 * width), threads), threads, stream}, x.data,
                   extents.data(), extents.size(), cos.data, sin.data, static_cast<float>(direction), y.gradient.data,
                   y.add, x.rows(), x.cols(), planes);
    };
    if (cuda::packs_fit(planes, x.data, y.gradient.data)) run(cuda::rotate<cuda::widest<T>, T>, cuda::widest<T>);
    else run(cuda::rotate<1, T>, 1);
  }
};

}  // namespace lolcats
