// Dropout on CUDA.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/dropout/dropout.hpp>
#include <lolcats/ops/elementwise/cuda.cuh>

namespace lolcats {

namespace cuda {

struct KeepSome {
  DropoutMask mask;
  float factor;
  __device__ void operator()(Index i, const float* x, float* y) const { y[0] = mask.keeps(i) ? factor * x[0] : 0.0F; }
};

}  // namespace cuda

template <class T>
struct DropoutKernel<Cuda<T>> {
  static void apply(const Cuda<T>& backend, View<const T> x, const DropoutMask& mask, Sink<T> y) {
    cuda::transform("dropout", backend.stream(), x.size(), cuda::Inputs<T, 1>{{x.data}},
                    cuda::Outputs<T, 1>{{cuda::output(y)}}, cuda::KeepSome{mask, static_cast<float>(mask.factor())});
  }
};

}  // namespace lolcats
