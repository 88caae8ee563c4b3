// The squared distance to a fixed target, on the tape.
#pragma once

#include <lolcats/tape/tape.hpp>

namespace lolcats {

/// Specialised per backend:
///   forward(backend, a, target, scale, y ())                    y = scale sum (a - target)^2, in Real, in fixed order
///   gradient(backend, upstream (), a, target, scale, Sink da)   da = or += 2 scale upstream (a - target)
template <Backend B>
struct SquaredErrorKernel;

/// scale * sum over all elements of (predicted - target)^2.  The target is borrowed and has no gradient.
template <Backend B>
Loss<B> squared_error(Tape<B>& tape, Var<B> predicted, std::type_identity_t<View<const Scalar<B>>> target,
                      double scale) {
  check_shape("squared_error", "target", target.shape, predicted.shape());
  auto [y, out] = tape.template result<Real<B>>(Shape{}, predicted.wants_gradient());
  SquaredErrorKernel<B>::forward(tape.backend(), predicted.value(), target, scale, out);
  tape.record(y, [&tape, predicted, target, scale, y = y] {
    SquaredErrorKernel<B>::gradient(tape.backend(), y.gradient(), predicted.value(), target, scale, predicted.sink());
  });
  return y;
}

/// The mean over all elements of (predicted - target)^2.
template <Backend B>
Loss<B> mse(Tape<B>& tape, Var<B> predicted, std::type_identity_t<View<const Scalar<B>>> target) {
  require<ShapeError>(predicted.shape().size() > 0, "mse: predicted has shape {}, expected at least one element",
                      to_string(predicted.shape()));
  return squared_error(tape, predicted, target, 1.0 / static_cast<double>(predicted.shape().size()));
}

}  // namespace lolcats
