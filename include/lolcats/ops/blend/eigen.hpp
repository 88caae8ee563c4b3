// A learned convex sum of two outputs on the CPU: linear interpolation from far to near.
#pragma once

#include <lolcats/ops/blend/blend.hpp>
#include <lolcats/ops/lerp/eigen.hpp>

#include <cmath>
#include <vector>

namespace lolcats {

template <class T>
struct BlendKernel<Cpu<T>> {
  static void forward(const Cpu<T>& backend, View<const T> near, View<const T> far, View<const T> factors, View<T> y) {
    const std::vector<T> gamma = shares(factors);
    LerpKernel<Cpu<T>>::forward(backend, far, near, {gamma.data(), factors.shape}, y);
  }

  static void gradients(const Cpu<T>& backend, View<const T> dy, View<const T> factors, Sink<T> dnear, Sink<T> dfar) {
    const std::vector<T> gamma = shares(factors);
    LerpKernel<Cpu<T>>::gradients(backend, dy, {gamma.data(), factors.shape}, dfar, dnear);
  }

  static void factor_gradient(const Cpu<T>& backend, View<const T> dy, View<const T> near, View<const T> far, View<const T> factors,
                              View<T> dfactors) {
    const std::vector<T> gamma = shares(factors);
    std::vector<T> dgamma(gamma.size(), T(0));
    LerpKernel<Cpu<T>>::weight_gradient(backend, dy, far, near, {dgamma.data(), factors.shape});
    for (std::size_t h = 0; h < gamma.size(); ++h) dfactors.data[h] += gamma[h] * (1 - gamma[h]) * dgamma[h];
  }

 private:
  static std::vector<T> shares(View<const T> factors) {
    std::vector<T> gamma;
    for (Index h = 0; h < factors.size(); ++h) gamma.push_back(1 / (1 + std::exp(-factors.data[h])));
    return gamma;
  }
};

}  // namespace lolcats
