// Dropout, on the tape.
#pragma once

#include <lolcats/ops/dropout/mask.hpp>
#include <lolcats/tape/tape.hpp>

namespace lolcats {

/// Specialised per backend:
///   apply(backend, x, mask, Sink y)    y = or += mask * x, elements counted from the start of x
template <Backend B>
struct DropoutKernel;

/// x with elements zeroed with probability p and the rest multiplied by 1 / (1 - p), when the tape is training; else x.
///
/// The mask is a pure function of (tape.seed, stream, element) and is drawn again in the backward pass.  Each place
/// in a model needs a stream of its own.  Srivastava et al. 2014, JMLR 15.
template <Backend B>
Var<B> dropout(Tape<B>& tape, Var<B> x, double p, std::uint64_t stream) {
  const DropoutMask mask("dropout", p, tape.seed, stream);
  if (!tape.training || !mask.active()) return x;
  auto [y, out] = tape.result(x.shape(), x.wants_gradient());
  DropoutKernel<B>::apply(tape.backend(), x.value(), mask, Sink<Scalar<B>>{out, false});
  tape.record(y, [&tape, x, mask, y = y] { DropoutKernel<B>::apply(tape.backend(), y.gradient(), mask, x.sink()); });
  return y;
}

}  // namespace lolcats
