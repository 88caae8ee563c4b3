// The gradients of a set of parameters: zeroing, their global norm, clipping.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/tape/parameter.hpp>

#include <cmath>
#include <vector>

namespace lolcats {

/// Specialised per backend (train/cpu.hpp, train/cuda.cuh), for a span of gradients:
///   zero(backend, gradients)
///   sums_of_squares(backend, gradients) -> vector<double>    one per gradient, in double, in an order that depends on
///                                                            its size alone
///   scale(backend, gradients, factor)                        g *= factor
template <Backend B>
struct GradientKernel;

namespace detail {
template <Backend B>
std::vector<View<Real<B>>> gradients_of(const Parameters<B>& parameters) {
  std::vector<View<Real<B>>> gradients;
  for (const auto& [name, parameter] : parameters) gradients.push_back(parameter->gradient());
  return gradients;
}
}  // namespace detail

/// All gradients become 0.  Call it before the first micro-batch of an update.
template <Backend B>
void zero_gradients(const B& backend, const Parameters<B>& parameters) {
  GradientKernel<B>::zero(backend, detail::gradients_of(parameters));
}

/// sqrt of the sum of squares of all gradients; the same on any number of threads.
///
/// Throws NumericError naming the first parameter whose gradient is not finite.
template <Backend B>
double global_norm(const B& backend, const Parameters<B>& parameters) {
  const std::vector<double> sums = GradientKernel<B>::sums_of_squares(backend, detail::gradients_of(parameters));
  double sum = 0;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    require<NumericError>(std::isfinite(sums[i]), "global_norm: the gradient of '{}' is not finite (sum of squares {})",
                          parameters[i].name, sums[i]);
    sum += sums[i];
  }
  return std::sqrt(sum);
}

/// Scales all gradients by min(1, limit / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_; returns the norm before.
template <Backend B>
double clip_by_global_norm(const B& backend, const Parameters<B>& parameters, double limit) {
  require<ConfigError>(limit > 0, "clip_by_global_norm: limit is {}, expected a positive number", limit);
  const double norm = global_norm(backend, parameters);
  const double factor = limit / (norm + 1e-6);
  if (factor < 1) GradientKernel<B>::scale(backend, detail::gradients_of(parameters), factor);
  return norm;
}

}  // namespace lolcats
