// The squared distance to a fixed target on CUDA.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/elementwise/cuda.cuh>
#include <lolcats/ops/squared_error/squared_error.hpp>

namespace lolcats {

namespace cuda {

struct SquaredDifference {
  __device__ float operator()(const float* x) const { return (x[0] - x[1]) * (x[0] - x[1]); }
};
struct ScaledDifference {
  const float* upstream;
  float factor;
  __device__ void operator()(Index, const float* x, float* y) const { y[0] = factor * *upstream * (x[0] - x[1]); }
};

}  // namespace cuda

template <class T>
struct SquaredErrorKernel<Cuda<T>> {
  static void forward(const Cuda<T>& backend, View<const T> a, View<const T> target, double scale, View<float> y) {
    cuda::sum("squared_error", backend.stream(), a.size(), cuda::Inputs<T, 2>{{a.data, target.data}}, scale, y.data,
              cuda::SquaredDifference{});
  }

  static void gradient(const Cuda<T>& backend, View<const float> upstream, View<const T> a, View<const T> target,
                       double scale, Sink<T> da) {
    cuda::transform("squared_error gradient", backend.stream(), a.size(), cuda::Inputs<T, 2>{{a.data, target.data}},
                    cuda::Outputs<T, 1>{{cuda::output(da)}},
                    cuda::ScaledDifference{upstream.data, static_cast<float>(2 * scale)});
  }
};

}  // namespace lolcats
