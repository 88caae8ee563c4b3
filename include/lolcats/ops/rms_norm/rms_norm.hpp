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

namespace detail {
/// rms_norm of x seen as rows of w.size() numbers.
template <Backend B>
Var<B> rms_norm_rows(Tape<B>& tape, Var<B> x, Weight<B> w, double eps) {
  const Index width = w.shape().size();
  const Shape rows{width > 0 ? x.shape().size() / width : x.rows(), width};
  auto [y, out] = tape.result(x.shape(), x.wants_gradient() || w.trained());
  const View<Real<B>> inverse = tape.template scratch<Real<B>>(Shape{rows.rows()});
  RmsNormKernel<B>::forward(tape.backend(), x.value().reshaped(rows), w.value, eps, inverse, out.reshaped(rows));
  tape.record(y, [&tape, x, w, inverse, rows, y = y] {
    Sink<Scalar<B>> dx;
    if (x.wants_gradient()) {
      dx = x.sink();
      dx.gradient = dx.gradient.reshaped(rows);
    }
    RmsNormKernel<B>::backward(tape.backend(), y.gradient().reshaped(rows), x.value().reshaped(rows), w.value, inverse,
                               dx, w.gradient);
  });
  return y;
}
}  // namespace detail

/// y (M, C) = x / sqrt(mean(x^2) + eps) * w over the last axis.  The mean is taken in Real.
/// Zhang and Sennrich 2019, arXiv:1910.07467.
template <Backend B>
Var<B> rms_norm(Tape<B>& tape, Var<B> x, std::type_identity_t<Weight<B>> w, double eps) {
  check_shape("rms_norm", "w", w.shape(), Shape{x.cols()});
  return detail::rms_norm_rows<B>(tape, x, w, eps);
}

/// The same over each head of x (M, H * D), with one w (D) for all of them: the norm of queries and keys in Qwen3.
template <Backend B>
Var<B> rms_norm_heads(Tape<B>& tape, Var<B> x, std::type_identity_t<Weight<B>> w, double eps) {
  require<ShapeError>(w.shape().rank() == 1 && w.shape()[0] > 0 && x.cols() % w.shape()[0] == 0,
                      "rms_norm_heads: x has shape {}, w {}; expected x (M, H * D) and w (D)", to_string(x.shape()),
                      to_string(w.shape()));
  return detail::rms_norm_rows<B>(tape, x, w, eps);
}

}  // namespace lolcats
