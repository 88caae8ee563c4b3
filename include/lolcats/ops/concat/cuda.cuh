// Columns side by side on CUDA.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/concat/concat.hpp>
#include <lolcats/ops/elementwise/cuda.cuh>

namespace lolcats {

namespace cuda {

template <class T>
struct ConcatElements {
  const T *a, *b;
  Index left, right;  // columns

  __device__ void operator()(Index i, const float*, float* y) const {
    const Index m = i / (left + right), c = i % (left + right);
    y[0] = to_float(c < left ? a[m * left + c] : b[m * right + c - left]);
  }
};
/// The elements of `width` columns from `first` on, of rows of `cols`.
template <class T>
struct TakeColumns {
  const T* x;
  Index first, width, cols;

  __device__ void operator()(Index i, const float*, float* y) const { y[0] = to_float(x[i / width * cols + first + i % width]); }
};

}  // namespace cuda

template <class T>
struct ConcatKernel<Cuda<T>> {
  using B = Cuda<T>;

  static void forward(const B& backend, View<const T> a, View<const T> b, View<T> y) {
    cuda::transform("concat", backend.stream(), y.size(), cuda::Inputs<T, 0>{}, cuda::Outputs<T, 1>{{{y.data, false}}},
                    cuda::ConcatElements<T>{a.data, b.data, a.cols(), b.cols()});
  }

  static void backward(const B& backend, View<const T> dy, Sink<T> da, Sink<T> db) {
    if (da.gradient) take(backend, dy, 0, da);
    if (db.gradient) take(backend, dy, dy.cols() - db.gradient.cols(), db);
  }

 private:
  static void take(const B& backend, View<const T> dy, Index first, Sink<T> x) {
    cuda::transform("concat backward", backend.stream(), x.gradient.size(), cuda::Inputs<T, 0>{},
                    cuda::Outputs<T, 1>{{cuda::output(x)}},
                    cuda::TakeColumns<T>{dy.data, first, x.gradient.cols(), dy.cols()});
  }
};

}  // namespace lolcats
