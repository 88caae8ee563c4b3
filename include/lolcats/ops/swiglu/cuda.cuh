// silu(gate) * up on CUDA.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/elementwise/cuda.cuh>
#include <lolcats/ops/swiglu/swiglu.hpp>

namespace lolcats {

namespace cuda {

/// 1 / (1 + exp(-z)); exp(-z) may overflow to infinity, and the quotient is then 0, the right limit.
__device__ __forceinline__ float sigmoid(float z) { return __frcp_rn(1.0F + __expf(-z)); }

struct Swiglu {
  __device__ void operator()(Index, const float* x, float* y) const {
    const float gate = x[0], up = x[1];
    y[0] = gate * sigmoid(gate) * up;
  }
};
struct SwigluBackward {
  __device__ void operator()(Index, const float* x, float* y) const {
    const float dy = x[0], gate = x[1], up = x[2];
    const float s = sigmoid(gate);
    y[0] = dy * up * s * (1.0F + gate * (1.0F - s));
    y[1] = dy * gate * s;
  }
};

}  // namespace cuda

template <class T>
struct SwigluKernel<Cuda<T>> {
  static void forward(const Cuda<T>& backend, View<const T> gate, View<const T> up, View<T> y) {
    cuda::transform("swiglu", backend.stream(), y.size(), cuda::Inputs<T, 2>{{gate.data, up.data}},
                    cuda::Outputs<T, 1>{{{y.data, false}}}, cuda::Swiglu{});
  }

  static void backward(const Cuda<T>& backend, View<const T> dy, View<const T> gate, View<const T> up, Sink<T> dgate,
                       Sink<T> dup) {
    cuda::transform("swiglu backward", backend.stream(), dy.size(), cuda::Inputs<T, 3>{{dy.data, gate.data, up.data}},
                    cuda::Outputs<T, 2>{{cuda::output(dgate), cuda::output(dup)}}, cuda::SwigluBackward{});
  }
};

}  // namespace lolcats
