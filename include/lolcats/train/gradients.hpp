// The gradients of a set of parameters: zeroing, their global norm, clipping.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/tape/parameter.hpp>

#include <cmath>

namespace lolcats {

/// Specialised per backend (train/cpu.hpp):
///   sum_of_squares(backend, g) -> double    accumulated in double, in an order that depends on the size alone
///   scale(backend, g, factor)               g *= factor
template <Backend B>
struct GradientKernel;

/// All gradients become 0.  Call it before the first micro-batch of an update.
template <Backend B>
void zero_gradients(const B& backend, const Parameters<B>& parameters) {
  for (const auto& [name, parameter] : parameters) {
    backend.zero(parameter->gradient().data, parameter->gradient().size());
  }
}

/// sqrt of the sum of squares of all gradients; the same on any number of threads.
///
/// Throws NumericError naming the first parameter whose gradient is not finite.
template <Backend B>
double global_norm(const B& backend, const Parameters<B>& parameters) {
  double sum = 0;
  for (const auto& [name, parameter] : parameters) {
    const double squares = GradientKernel<B>::sum_of_squares(backend, parameter->gradient());
    require<NumericError>(std::isfinite(squares), "global_norm: the gradient of '{}' is not finite (sum of squares {})",
                          name, squares);
    sum += squares;
  }
  return std::sqrt(sum);
}

/// Scales all gradients by min(1, limit / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_; returns the norm before.
template <Backend B>
double clip_by_global_norm(const B& backend, const Parameters<B>& parameters, double limit) {
  require<ConfigError>(limit > 0, "clip_by_global_norm: limit is {}, expected a positive number", limit);
  const double norm = global_norm(backend, parameters);
  const double factor = limit / (norm + 1e-6);
  if (factor < 1) {
    for (const auto& [name, parameter] : parameters) {
      GradientKernel<B>::scale(backend, parameter->gradient(), factor);
    }
  }
  return norm;
}

}  // namespace lolcats
