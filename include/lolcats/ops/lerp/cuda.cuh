// Linear interpolation on CUDA.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/backend/cuda_columns.cuh>
#include <lolcats/ops/elementwise/cuda.cuh>
#include <lolcats/ops/lerp/lerp.hpp>

namespace lolcats {

namespace cuda {

template <class T>
struct LerpElements {
  const T* weights;
  Index cols, width;  // of a row, of a block

  __device__ float weight(Index element) const { return to_float(weights[element % cols / width]); }
  /// start, end -> y
  __device__ void operator()(Index i, const float* x, float* y) const { y[0] = x[0] + weight(i) * (x[1] - x[0]); }
};
template <class T>
struct LerpGradients {
  LerpElements<T> of;

  /// dy -> dstart, dend
  __device__ void operator()(Index i, const float* dy, float* y) const {
    const float w = of.weight(i);
    y[0] = (1 - w) * dy[0];
    y[1] = w * dy[0];
  }
};
template <class T>
struct LerpWeightTerm {
  const T *dy, *start, *end;
  Index cols;

  __device__ float operator()(Index m, Index c) const {
    const Index i = m * cols + c;
    return to_float(dy[i]) * (to_float(end[i]) - to_float(start[i]));
  }
};
/// Column sums (C) as a matrix whose columns are the blocks: (width, n).
struct LerpColumn {
  const float* sums;
  Index width;

  __device__ float operator()(Index m, Index c) const { return sums[c * width + m]; }
};

}  // namespace cuda

template <class T>
struct LerpKernel<Cuda<T>> {
  using B = Cuda<T>;

  static void forward(const B& backend, View<const T> start, View<const T> end, View<const T> weights, View<T> y) {
    cuda::transform("lerp", backend.stream(), y.size(), cuda::Inputs<T, 2>{{start.data, end.data}}, cuda::Outputs<T, 1>{{{y.data, false}}},
                    cuda::LerpElements<T>{weights.data, y.cols(), y.cols() / weights.size()});
  }

  static void gradients(const B& backend, View<const T> dy, View<const T> weights, Sink<T> dstart, Sink<T> dend) {
    cuda::transform("lerp gradients", backend.stream(), dy.size(), cuda::Inputs<T, 1>{{dy.data}},
                    cuda::Outputs<T, 2>{{cuda::output(dstart), cuda::output(dend)}},
                    cuda::LerpGradients<T>{{weights.data, dy.cols(), dy.cols() / weights.size()}});
  }

  static void weight_gradient(const B& backend, View<const T> dy, View<const T> start, View<const T> end, View<float> dweights) {
    const Index cols = dy.cols(), count = dweights.size(), width = cols / count;
    cuda::Scratch<float> columns(cols, backend.stream());
    backend.zero(columns.data(), cols);
    cuda::add_column_sums("lerp weight gradient", backend.stream(), dy.rows(), cols, cuda::LerpWeightTerm<T>{dy.data, start.data, end.data, cols},
                          columns.data());
    cuda::add_column_sums("lerp weight gradient", backend.stream(), width, count, cuda::LerpColumn{columns.data(), width}, dweights.data);
  }
};

}  // namespace lolcats
