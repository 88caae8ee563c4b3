// y = x W^T (+ b) on CUDA, and the products that other operations share.
#pragma once

#include <lolcats/backend/cublas.cuh>
#include <lolcats/backend/cuda.cuh>
#include <lolcats/backend/cuda_columns.cuh>
#include <lolcats/backend/cuda_numbers.cuh>
#include <lolcats/ops/linear/linear.hpp>

#include <algorithm>

namespace lolcats {

namespace cuda {

/// y (M, O) = or += factor * x (M, I) W^T with W (O, I).
template <class T, class Out>
void multiply_transposed(cudaStream_t stream, View<const T> x, View<const T> w, Sink<Out> y, double factor = 1) {
  multiply(stream, {x.rows(), w.rows(), x.cols()}, Factor<T>{x.data, x.cols()}, Factor<T>{w.data, w.cols(), true},
           Product<Out>{y.gradient.data, w.rows()}, factor, y.add ? 1 : 0);
}

/// y (M, I) = or += factor * x (M, O) W with W (O, I).
template <class T, class Out>
void multiply(cudaStream_t stream, View<const T> x, View<const T> w, Sink<Out> y, double factor = 1) {
  multiply(stream, {x.rows(), w.cols(), x.cols()}, Factor<T>{x.data, x.cols()}, Factor<T>{w.data, w.cols()},
           Product<Out>{y.gradient.data, w.cols()}, factor, y.add ? 1 : 0);
}

/// c (O, I) += factor * a (M, O)^T b (M, I), in fp32: the gradient of a weight.
template <class T>
void add_transposed_product(cudaStream_t stream, View<const T> a, View<const T> b, View<float> c, double factor = 1) {
  if (a.rows() == 0) return;
  multiply(stream, {a.cols(), b.cols(), a.rows()}, Factor<T>{a.data, a.cols(), true}, Factor<T>{b.data, b.cols()},
           Product<float>{c.data, b.cols()}, factor, 1);
}

/// Every row of y (M, C) = row (C).  Grid: packs of columns, some rows.
template <int Width, class T>
__global__ void spread_row(const T* row, T* y, Index rows, Index cols) {
  const Index c = (static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x) * Width;
  if (c >= cols) return;
  const auto pack = load_pack<Width>(row + c);
  for (Index m = blockIdx.y; m < rows; m += gridDim.y) store_pack(y + m * cols + c, pack);
}

template <class T>
struct ElementOf {
  const T* data;
  Index cols;
  __device__ float operator()(Index m, Index c) const { return to_float(data[m * cols + c]); }
};

}  // namespace cuda

template <class T>
struct LinearKernel<Cuda<T>> {
  static void forward(const Cuda<T>& backend, View<const T> x, View<const T> w, Sink<T> y) {
    cuda::multiply_transposed<T, T>(backend.stream(), x, w, y);
  }

  static void input_gradient(const Cuda<T>& backend, View<const T> dy, View<const T> w, Sink<T> dx) {
    cuda::multiply<T, T>(backend.stream(), dy, w, dx);
  }

  static void weight_gradient(const Cuda<T>& backend, View<const T> dy, View<const T> x, View<float> dw) {
    cuda::add_transposed_product<T>(backend.stream(), dy, x, dw);
  }

  static void spread(const Cuda<T>& backend, View<const T> bias, View<T> y) {
    const auto run = [&]<int Width>() {
      constexpr int threads = 128;
      const dim3 grid(cuda::blocks_for(y.cols(), threads * Width),
                      static_cast<unsigned>(std::min<Index>(y.rows(), 1024)));
      cuda::launch("bias", cuda::spread_row<Width, T>, {grid, threads, backend.stream()}, bias.data, y.data, y.rows(),
                   y.cols());
    };
    if (cuda::packs_fit(y.cols(), bias.data, y.data))
      run.template operator()<cuda::widest<T>>();
    else
      run.template operator()<1>();
  }

  static void bias_gradient(const Cuda<T>& backend, View<const T> dy, View<float> db) {
    cuda::add_column_sums("bias gradient", backend.stream(), dy.rows(), dy.cols(),
                          cuda::ElementOf<T>{dy.data, dy.cols()}, db.data);
  }
};

}  // namespace lolcats
