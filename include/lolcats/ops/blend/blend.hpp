// A learned convex sum of two outputs per head, on the tape.
#pragma once

#include <lolcats/tape/tape.hpp>

namespace lolcats {

/// Specialised per backend.  Factor h of H belongs to the h-th of H equal blocks of the C columns, gamma_h = sigmoid(factor_h) in
/// Real:
///   forward(backend, near (M, C), far (M, C), factors (H), y (M, C))         y = gamma near + (1 - gamma) far
///   gradients(backend, dy, factors, Sink dnear, Sink dfar)                   dnear = or += gamma dy, dfar = or += (1 - gamma) dy;
///                                                                            a null sink is not wanted
///   factor_gradient(backend, dy, near, far, factors, dfactors (H))           dfactors_h += gamma (1 - gamma) sum over block h of
///                                                                            dy (near - far), in Real and in a fixed order
template <Backend B>
struct BlendKernel;

/// gamma near + (1 - gamma) far, near and far (M, H * D), gamma = sigmoid(factors) per head; factors has H elements in any shape.
/// Throws ShapeError naming the argument.
template <Backend B>
Var<B> blend(Tape<B>& tape, Var<B> near, Var<B> far, std::type_identity_t<Weight<B>> factors) {
  check_shape("blend", "far", far.shape(), near.shape());
  const Index heads = factors.shape().size();
  require<ShapeError>(heads > 0 && near.cols() % heads == 0, "blend: factors has {} elements, expected a divisor of the {} columns", heads,
                      near.cols());
  auto [y, out] = tape.result(near.shape(), near.wants_gradient() || far.wants_gradient() || factors.trained());
  BlendKernel<B>::forward(tape.backend(), near.value(), far.value(), factors.value, out);
  tape.record(y, [&tape, near, far, factors, y = y] {
    const auto sink = [](const Var<B>& x) { return x.wants_gradient() ? x.sink() : Sink<Scalar<B>>{}; };
    if (factors.trained()) {
      BlendKernel<B>::factor_gradient(tape.backend(), y.gradient(), near.value(), far.value(), factors.value, factors.gradient);
    }
    if (near.wants_gradient() || far.wants_gradient()) {
      const auto dfar = sink(far);  // first, as the kernel writes it first
      BlendKernel<B>::gradients(tape.backend(), y.gradient(), factors.value, sink(near), dfar);
    }
  });
  return y;
}

}  // namespace lolcats
