// Arithmetic of elements on CUDA.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/backend/cuda_transform.cuh>
#include <lolcats/ops/elementwise/elementwise.hpp>

namespace lolcats {

namespace cuda {

/// An output of an elementwise kernel; a null sink is not wanted.
template <class T>
Output<T> output(const Sink<T>& sink) {
  return {sink.gradient.data, sink.add};
}

struct AddElements {
  __device__ void operator()(Index, const float* x, float* y) const { y[0] = x[0] + x[1]; }
};
struct MultiplyElements {
  __device__ void operator()(Index, const float* x, float* y) const { y[0] = x[0] * x[1]; }
};
struct ExpElements {
  __device__ void operator()(Index, const float* x, float* y) const { y[0] = expf(x[0]); }
};
struct ScaleElements {
  float factor;
  __device__ void operator()(Index, const float* x, float* y) const { y[0] = factor * x[0]; }
};
struct TakeElement {
  __device__ float operator()(const float* x) const { return x[0]; }
};
struct FillElements {
  const float* value;
  float factor;
  __device__ void operator()(Index, const float*, float* y) const { y[0] = factor * *value; }
};

}  // namespace cuda

template <class T>
struct ElementwiseKernel<Cuda<T>> {
  using B = Cuda<T>;

  template <class U>
  static void add(const B& backend, View<const U> a, View<const U> b, View<U> y) {
    cuda::transform("add", backend.stream(), y.size(), cuda::Inputs<U, 2>{{a.data, b.data}},
                    cuda::Outputs<U, 1>{{{y.data, false}}}, cuda::AddElements{});
  }

  template <class U>
  static void multiply(const B& backend, View<const U> a, View<const U> b, Sink<U> y) {
    cuda::transform("multiply", backend.stream(), a.size(), cuda::Inputs<U, 2>{{a.data, b.data}},
                    cuda::Outputs<U, 1>{{cuda::output(y)}}, cuda::MultiplyElements{});
  }

  template <class U>
  static void exp(const B& backend, View<const U> x, View<U> y) {
    cuda::transform("exp", backend.stream(), x.size(), cuda::Inputs<U, 1>{{x.data}}, cuda::Outputs<U, 1>{{{y.data, false}}},
                    cuda::ExpElements{});
  }

  template <class U>
  static void accumulate(const B& backend, View<const U> x, double factor, Sink<U> y) {
    cuda::transform("accumulate", backend.stream(), x.size(), cuda::Inputs<U, 1>{{x.data}},
                    cuda::Outputs<U, 1>{{cuda::output(y)}}, cuda::ScaleElements{static_cast<float>(factor)});
  }

  template <class U>
  static void sum(const B& backend, View<const U> x, double factor, View<float> y) {
    cuda::sum("sum", backend.stream(), x.size(), cuda::Inputs<U, 1>{{x.data}}, factor, y.data, cuda::TakeElement{});
  }

  template <class U>
  static void fill(const B& backend, View<const float> value, double factor, Sink<U> x) {
    cuda::transform("fill", backend.stream(), x.gradient.size(), cuda::Inputs<U, 0>{},
                    cuda::Outputs<U, 1>{{cuda::output(x)}}, cuda::FillElements{value.data, static_cast<float>(factor)});
  }
};

}  // namespace lolcats
