// y = x / sqrt(mean(x^2) + eps) * w, on the tape.
#pragma once

#include <lolcats/tape/tape.hpp>

namespace lolcats {

/// Specialised per backend; inverse (M) is 1 / sqrt(mean(x^2) + eps) of each row, in Real:
///   forward(backend, x (M, C), w (C), eps, inverse, y (M, C))
///   backward(backend, dy (M, C), x, w, inverse, Sink dx, dw (C))
///     with n = x * inverse:  dx = inverse (dy w - n mean(dy w n)),  dw += sum over rows of dy n, in Real.
///     A null dx or dw is not wanted.
template <Backend B>
struct RmsNormKernel;

/// y (M, C) = x / sqrt(mean(x^2) + eps) * w over the last axis.  The mean is taken in Real.
/// Zhang and Sennrich 2019, arXiv:1910.07467.
template <Backend B>
Var<B> rms_norm(Tape<B>& tape, Var<B> x, std::type_identity_t<Weight<B>> w, double eps) {
  check_shape("rms_norm", "w", w.shape(), Shape{x.cols()});
  auto [y, out] = tape.result(x.shape(), x.wants_gradient() || w.trained());
  const View<Real<B>> inverse = tape.template scratch<Real<B>>(Shape{x.rows()});
  RmsNormKernel<B>::forward(tape.backend(), x.value(), w.value, eps, inverse, out);
  tape.record(y, [&tape, x, w, inverse, y = y] {
    RmsNormKernel<B>::backward(tape.backend(), y.gradient(), x.value(), w.value, inverse,
                               x.wants_gradient() ? x.sink() : Sink<Scalar<B>>{}, w.gradient);
  });
  return y;
}

}  // namespace lolcats
