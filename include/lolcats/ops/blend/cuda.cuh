// A learned convex sum of two outputs on CUDA: linear interpolation from far to near, with weights in fp32.
#pragma once

#include <lolcats/ops/blend/blend.hpp>
#include <lolcats/ops/lerp/cuda.cuh>

namespace lolcats {

namespace cuda {

template <class T>
__global__ void blend_shares(const T* factors, Index heads, float* gamma) {
  const Index h = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (h < heads) gamma[h] = 1 / (1 + expf(-to_float(factors[h])));
}
template <class = void>
__global__ void blend_factors(const float* gamma, const float* dgamma, Index heads, float* dfactors) {
  const Index h = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (h < heads) dfactors[h] += gamma[h] * (1 - gamma[h]) * dgamma[h];
}

}  // namespace cuda

template <class T>
struct BlendKernel<Cuda<T>> {
  using B = Cuda<T>;

  static void forward(const B& backend, View<const T> near, View<const T> far, View<const T> factors, View<T> y) {
    const auto gamma = shares(backend, factors);
    cuda::transform("blend", backend.stream(), y.size(), cuda::Inputs<T, 2>{{far.data, near.data}}, cuda::Outputs<T, 1>{{{y.data, false}}},
                    cuda::LerpElements<float>{gamma.data(), y.cols(), y.cols() / factors.size()});
  }

  static void gradients(const B& backend, View<const T> dy, View<const T> factors, Sink<T> dnear, Sink<T> dfar) {
    const auto gamma = shares(backend, factors);
    cuda::transform("blend gradients", backend.stream(), dy.size(), cuda::Inputs<T, 1>{{dy.data}},
                    cuda::Outputs<T, 2>{{cuda::output(dfar), cuda::output(dnear)}},
                    cuda::LerpGradients<float>{{gamma.data(), dy.cols(), dy.cols() / factors.size()}});
  }

  static void factor_gradient(const B& backend, View<const T> dy, View<const T> near, View<const T> far, View<const T> factors,
                              View<float> dfactors) {
    const auto gamma = shares(backend, factors);
    cuda::Scratch<float> dgamma(factors.size(), backend.stream());
    backend.zero(dgamma.data(), dgamma.size());
    LerpKernel<B>::weight_gradient(backend, dy, far, near, {dgamma.data(), factors.shape});
    cuda::launch("blend factors", cuda::blend_factors<>, {cuda::blocks_for(factors.size(), 128), 128, backend.stream()}, gamma.data(), dgamma.data(),
                 factors.size(), dfactors.data);
  }

 private:
  static cuda::Scratch<float> shares(const B& backend, View<const T> factors) {
    cuda::Scratch<float> gamma(factors.size(), backend.stream());
    cuda::launch("blend shares", cuda::blend_shares<T>, {cuda::blocks_for(factors.size(), 128), 128, backend.stream()}, factors.data,
                 factors.size(), gamma.data());
    return gamma;
  }
};

}  // namespace lolcats
