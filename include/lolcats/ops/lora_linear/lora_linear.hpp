// y = x W^T + scale (mask(x) A^T) B^T, with a bias if there is one, on the tape.
#pragma once

#include <lolcats/ops/dropout/mask.hpp>
#include <lolcats/ops/linear/linear.hpp>

namespace lolcats {

/// Specialised per backend; t (M, R) is mask(x) A^T, dt (M, R) its gradient, and an inactive mask keeps everything:
///   forward(backend, x (M, I), w (O, I), a (R, I), b (O, R), scale, mask, t, Sink y (M, O))
///   low_gradient(backend, dy (M, O), b, scale, dt)               dt = scale dy B
///   b_gradient(backend, dy, t, scale, db (O, R))                 db += scale dy^T t, in Real
///   a_gradient(backend, dt, x, mask, da (R, I))                  da += dt^T mask(x), in Real
///   input_gradient(backend, dy, dt, w, a, mask, Sink dx (M, I))  dx = dy W + mask(dt A)
template <Backend B>
struct LoraLinearKernel;

/// y (M, O) = x W^T + scale (mask(x) A^T) B^T with W (O, I), A (R, I), B (O, R), plus `bias` (O) in every row if there is
/// one; scale is alpha / R.
///
/// Dropout acts on the input of A only, when the tape is training; the mask is drawn again in the backward pass from
/// (tape.seed, stream, element).  Saves t = mask(x) A^T (M, R).  Hu et al. 2021, arXiv:2106.09685.
template <Backend B>
Var<B> lora_linear(Tape<B>& tape, Var<B> x, std::type_identity_t<Weight<B>> w, std::type_identity_t<Weight<B>> a,
                   std::type_identity_t<Weight<B>> b, double scale, double dropout, std::uint64_t stream,
                   std::type_identity_t<Weight<B>> bias = {}) {
  const Index rank = a.shape().rows();
  require<ShapeError>(x.shape().rank() == 2 && w.shape().rank() == 2 && x.cols() == w.shape()[1],
                      "lora_linear: x has shape {}, w {}; expected x (M, I) and w (O, I)", to_string(x.shape()),
                      to_string(w.shape()));
  check_shape("lora_linear", "a", a.shape(), Shape{rank, w.shape()[1]});
  check_shape("lora_linear", "b", b.shape(), Shape{w.shape()[0], rank});
  if (bias) check_shape("lora_linear", "bias", bias.shape(), Shape{w.shape()[0]});
  const DropoutMask mask("lora_linear", tape.training ? dropout : 0.0, tape.seed, stream);

  auto [y, out] = tape.result(Shape{x.rows(), w.shape()[0]},
                              x.wants_gradient() || w.trained() || a.trained() || b.trained() || bias.trained());
  const View<Scalar<B>> t = tape.template scratch<Scalar<B>>(Shape{x.rows(), rank});
  if (bias) LinearKernel<B>::spread(tape.backend(), bias.value, out);
  LoraLinearKernel<B>::forward(tape.backend(), x.value(), w.value, a.value, b.value, scale, mask, t,
                               {out, static_cast<bool>(bias)});
  tape.record(y, [&tape, x, w, a, b, scale, mask, t, db = bias.gradient, y = y] {
    const View<const Scalar<B>> dy = y.gradient();
    if (db) LinearKernel<B>::bias_gradient(tape.backend(), dy, db);
    if (w.trained()) LinearKernel<B>::weight_gradient(tape.backend(), dy, x.value(), w.gradient);
    if (b.trained()) LoraLinearKernel<B>::b_gradient(tape.backend(), dy, t, scale, b.gradient);
    if (!a.trained() && !x.wants_gradient()) return;
    const View<Scalar<B>> dt = t;  // t has been used for the last time
    LoraLinearKernel<B>::low_gradient(tape.backend(), dy, b.value, scale, dt);
    if (a.trained()) LoraLinearKernel<B>::a_gradient(tape.backend(), dt, x.value(), mask, a.gradient);
    if (x.wants_gradient()) {
      LoraLinearKernel<B>::input_gradient(tape.backend(), dy, dt, w.value, a.value, mask, x.sink());
    }
  });
  return y;
}

}  // namespace lolcats
