// silu(gate) * up, on the tape.
#pragma once

#include <lolcats/tape/tape.hpp>

namespace lolcats {

/// Specialised per backend:
///   forward(backend, gate, up, y)                            y = silu(gate) up
///   backward(backend, dy, gate, up, Sink dgate, Sink dup)    with s = sigmoid(gate):
///     dgate = dy up s (1 + gate (1 - s)),  dup = dy gate s.  A null one is not wanted; both may be one array, and then
///     dup is added behind dgate.
template <Backend B>
struct SwigluKernel;

/// silu(gate) * up elementwise, silu(z) = z / (1 + exp(-z)).  Shazeer 2020, arXiv:2002.05202.
template <Backend B>
Var<B> swiglu(Tape<B>& tape, Var<B> gate, Var<B> up) {
  check_shape("swiglu", "up", up.shape(), gate.shape());
  auto [y, out] = tape.result(gate.shape(), gate.wants_gradient() || up.wants_gradient());
  SwigluKernel<B>::forward(tape.backend(), gate.value(), up.value(), out);
  tape.record(y, [&tape, gate, up, y = y] {
    const auto dgate = gate.wants_gradient() ? gate.sink() : Sink<Scalar<B>>{};  // first, as the kernel writes it first
    const auto dup = up.wants_gradient() ? up.sink() : Sink<Scalar<B>>{};
    SwigluKernel<B>::backward(tape.backend(), y.gradient(), gate.value(), up.value(), dgate, dup);
  });
  return y;
}

}  // namespace lolcats
