// silu(gate) * up, on the tape.
#pragma once

#include <lolcats/tape/tape.hpp>

namespace lolcats {

/// Specialised per backend:
///   forward(backend, gate, up, y)                         y = silu(gate) up
///   gate_gradient(backend, dy, gate, up, Sink dgate)      dgate = dy up s (1 + gate (1 - s)),  s = sigmoid(gate)
///   up_gradient(backend, dy, gate, Sink dup)              dup = dy silu(gate)
template <Backend B>
struct SwigluKernel;

/// silu(gate) * up elementwise, silu(z) = z / (1 + exp(-z)).  Shazeer 2020, arXiv:2002.05202.
template <Backend B>
Var<B> swiglu(Tape<B>& tape, Var<B> gate, Var<B> up) {
  check_shape("swiglu", "up", up.shape(), gate.shape());
  auto [y, out] = tape.result(gate.shape(), gate.wants_gradient() || up.wants_gradient());
  SwigluKernel<B>::forward(tape.backend(), gate.value(), up.value(), out);
  tape.record(y, [&tape, gate, up, y = y] {
    if (gate.wants_gradient()) {
      SwigluKernel<B>::gate_gradient(tape.backend(), y.gradient(), gate.value(), up.value(), gate.sink());
    }
    if (up.wants_gradient()) SwigluKernel<B>::up_gradient(tape.backend(), y.gradient(), gate.value(), up.sink());
  });
  return y;
}

}  // namespace lolcats
