// Novelty of keys on CUDA.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/backend/cuda_numbers.cuh>
#include <lolcats/ops/novelty/novelty.hpp>

namespace lolcats {

namespace cuda {

/// One warp walks along the keys of one head of one extent, with their sum in shared memory (D floats).
/// Grid: extents, heads.
template <class T>
__global__ void novelty(const T* k, const Extent* extents, float* const* sums, int size, T* y) {
  extern __shared__ float novelty_sum[];
  const Extent e = extents[blockIdx.x];
  const int heads = static_cast<int>(gridDim.y), head = static_cast<int>(blockIdx.y), lane = static_cast<int>(threadIdx.x);
  float* const kept = sums ? sums[blockIdx.x] + static_cast<Index>(head) * size : nullptr;
  for (int i = lane; i < size; i += 32) novelty_sum[i] = kept ? kept[i] : 0.0F;
  for (Index t = e.row; t < e.row + e.length; ++t) {
    const T* key = k + (t * heads + head) * size;
    float length = 0.0F, sum_length = 0.0F, product = 0.0F;
    for (int i = lane; i < size; i += 32) {  // each lane reads and writes its own elements of the sum
      const float x = to_float(key[i]), s = novelty_sum[i];
      length += x * x;
      sum_length += s * s;
      product += x * s;
    }
    length = sqrtf(warp_sum(length));
    const float both = length * sqrtf(warp_sum(sum_length));
    product = warp_sum(product);
    if (lane == 0) y[t * heads + head] = from_float<T>(both > 0.0F ? 1.0F - product / both : 1.0F);
    if (length > 0.0F) {
      for (int i = lane; i < size; i += 32) novelty_sum[i] += to_float(key[i]) / length;
    }
  }
  for (int i = lane; kept && i < size; i += 32) kept[i] = novelty_sum[i];
}

}  // namespace cuda

template <class T>
struct NoveltyKernel<Cuda<T>> {
  static void forward(const Cuda<T>& backend, View<const T> k, Index heads, const Sequences& sequences, std::span<float* const> sums,
                      View<T> y) {
    if (sequences.padded()) backend.zero(y.data, y.size());
    const auto extents = cuda::to_device(sequences.extents(), backend.stream());
    cuda::Scratch<float*> there(static_cast<Index>(sums.size()), backend.stream());
    if (!sums.empty()) backend.upload(sums.data(), there.data(), static_cast<Index>(sums.size()));
    const Index size = k.cols() / heads;
    cuda::launch("novelty", cuda::novelty<T>,
                 {dim3(static_cast<unsigned>(sequences.count()), static_cast<unsigned>(heads)), 32, backend.stream(),
                  static_cast<std::size_t>(size) * sizeof(float)},
                 k.data, extents.data(), sums.empty() ? nullptr : there.data(), static_cast<int>(size), y.data);
  }
};

}  // namespace lolcats
