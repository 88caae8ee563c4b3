// y = x W^T, on the tape.
#pragma once

#include <lolcats/tape/tape.hpp>

namespace lolcats {

/// Specialised per backend:
///   forward(backend, x (M, I), w (O, I), y (M, O))                y = x W^T
///   input_gradient(backend, dy (M, O), w (O, I), Sink dx (M, I))  dx = dy W
///   weight_gradient(backend, dy (M, O), x (M, I), dw (O, I))      dw += dy^T x, in Real
template <Backend B>
struct LinearKernel;

/// y (M, O) = x (M, I) W^T with W (O, I), the layout of Hugging Face checkpoints.  Products accumulate in Real.
template <Backend B>
Var<B> linear(Tape<B>& tape, Var<B> x, std::type_identity_t<Weight<B>> w) {
  require<ShapeError>(x.shape().rank() == 2 && w.shape().rank() == 2 && x.cols() == w.shape()[1],
                      "linear: x has shape {}, w {}; expected x (M, I) and w (O, I)", to_string(x.shape()),
                      to_string(w.shape()));
  auto [y, out] = tape.result(Shape{x.rows(), w.shape()[0]}, x.wants_gradient() || w.trained());
  LinearKernel<B>::forward(tape.backend(), x.value(), w.value, out);
  tape.record(y, [&tape, x, w, y = y] {
    if (x.wants_gradient()) LinearKernel<B>::input_gradient(tape.backend(), y.gradient(), w.value, x.sink());
    if (w.trained()) LinearKernel<B>::weight_gradient(tape.backend(), y.gradient(), x.value(), w.gradient);
  });
  return y;
}

}  // namespace lolcats
