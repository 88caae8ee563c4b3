// Softmax of rows on CUDA: a warp per row, as rows of features are short.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/backend/cuda_numbers.cuh>
#include <lolcats/ops/softmax/softmax.hpp>

namespace lolcats {

namespace cuda {

constexpr int softmax_threads = 256;  // 8 rows

/// The row of this thread's warp; may lie behind the last one.
__device__ inline Index softmax_row() {
  return static_cast<Index>(blockIdx.x) * (softmax_threads / 32) + threadIdx.x / 32;
}

template <class T>
__global__ void __launch_bounds__(softmax_threads) softmax_forward(const T* x, T* y, Index rows, Index cols) {
  const Index row = softmax_row(), lane = threadIdx.x % 32;
  if (row >= rows) return;  // the warp as a whole
  x += row * cols;
  y += row * cols;
  float largest = -INFINITY;
  for (Index c = lane; c < cols; c += 32) largest = fmaxf(largest, to_float(x[c]));
  largest = warp_max(largest);
  float total = 0;
  for (Index c = lane; c < cols; c += 32) total += expf(to_float(x[c]) - largest);
  total = warp_sum(total);
  for (Index c = lane; c < cols; c += 32) y[c] = from_float<T>(expf(to_float(x[c]) - largest) / total);
}

template <class T>
__global__ void __launch_bounds__(softmax_threads)
    softmax_backward(const T* dy, const T* y, T* dx, bool add, Index rows, Index cols) {
  const Index row = softmax_row(), lane = threadIdx.x % 32;
  if (row >= rows) return;
  dy += row * cols;
  y += row * cols;
  dx += row * cols;
  float mean = 0;
  for (Index c = lane; c < cols; c += 32) mean += to_float(y[c]) * to_float(dy[c]);
  mean = warp_sum(mean);
  for (Index c = lane; c < cols; c += 32) {
    const float value = to_float(y[c]) * (to_float(dy[c]) - mean);
    dx[c] = from_float<T>(add ? to_float(dx[c]) + value : value);
  }
}

}  // namespace cuda

template <class T>
struct SoftmaxKernel<Cuda<T>> {
  static void forward(const Cuda<T>& backend, View<const T> x, View<T> y) {
    cuda::launch("softmax", cuda::softmax_forward<T>, {blocks(x), cuda::softmax_threads, backend.stream()}, x.data, y.data,
                 x.rows(), x.cols());
  }

  static void backward(const Cuda<T>& backend, View<const T> dy, View<const T> y, Sink<T> dx) {
    cuda::launch("softmax backward", cuda::softmax_backward<T>, {blocks(y), cuda::softmax_threads, backend.stream()}, dy.data,
                 y.data, dx.gradient.data, dx.add, y.rows(), y.cols());
  }

 private:
  static unsigned blocks(View<const T> x) { return cuda::blocks_for(x.rows(), cuda::softmax_threads / 32); }
};

}  // namespace lolcats
