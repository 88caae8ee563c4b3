// y = x W^T on CUDA, and the products that other operations share.
#pragma once

#include <lolcats/backend/cublas.cuh>
#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/linear/linear.hpp>

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

}  // namespace cuda

template <class T>
struct LinearKernel<Cuda<T>> {
  static void forward(const Cuda<T>& backend, View<const T> x, View<const T> w, View<T> y) {
    cuda::multiply_transposed<T, T>(backend.stream(), x, w, {y, false});
  }

  static void input_gradient(const Cuda<T>& backend, View<const T> dy, View<const T> w, Sink<T> dx) {
    cuda::multiply<T, T>(backend.stream(), dy, w, dx);
  }

  static void weight_gradient(const Cuda<T>& backend, View<const T> dy, View<const T> x, View<float> dw) {
    cuda::add_transposed_product<T>(backend.stream(), dy, x, dw);
  }
};

}  // namespace lolcats
