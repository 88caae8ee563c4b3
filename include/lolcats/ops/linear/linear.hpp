// y = x W^T, or x W^T + b, on the tape.
#pragma once

#include <lolcats/tape/tape.hpp>

namespace lolcats {

/// Specialised per backend:
///   forward(backend, x (M, I), w (O, I), Sink y (M, O))           y = or += x W^T
///   input_gradient(backend, dy (M, O), w (O, I), Sink dx (M, I))  dx = dy W
///   weight_gradient(backend, dy (M, O), x (M, I), dw (O, I))      dw += dy^T x, in Real
///   spread(backend, bias (O), y (M, O))                           every row of y = bias
///   bias_gradient(backend, dy (M, O), db (O))                     db += the sum of the rows of dy, in Real
template <Backend B>
struct LinearKernel;

/// y (M, O) = x (M, I) W^T, plus `bias` (O) in every row if there is one, with W (O, I), the layout of Hugging Face
/// checkpoints.  Products accumulate in Real, and the bias is in y before they are added to it: no second rounding.
template <Backend B>
Var<B> linear(Tape<B>& tape, Var<B> x, std::type_identity_t<Weight<B>> w, std::type_identity_t<Weight<B>> bias = {}) {
  require<ShapeError>(x.shape().rank() == 2 && w.shape().rank() == 2 && x.cols() == w.shape()[1],
                      "linear: x has shape {}, w {}; expected x (M, I) and w (O, I)", to_string(x.shape()),
                      to_string(w.shape()));
  if (bias) check_shape("linear", "bias", bias.shape(), Shape{w.shape()[0]});
  auto [y, out] = tape.result(Shape{x.rows(), w.shape()[0]}, x.wants_gradient() || w.trained() || bias.trained());
  if (bias) LinearKernel<B>::spread(tape.backend(), bias.value, out);
  LinearKernel<B>::forward(tape.backend(), x.value(), w.value, {out, static_cast<bool>(bias)});
  tape.record(y, [&tape, x, w, db = bias.gradient, y = y] {
    if (x.wants_gradient()) LinearKernel<B>::input_gradient(tape.backend(), y.gradient(), w.value, x.sink());
    if (w.trained()) LinearKernel<B>::weight_gradient(tape.backend(), y.gradient(), x.value(), w.gradient);
    if (db) LinearKernel<B>::bias_gradient(tape.backend(), y.gradient(), db);
  });
  return y;
}

}  // namespace lolcats
