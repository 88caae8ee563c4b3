// Arithmetic of elements, on the tape: sums, products, scalar multiples, exponentials.
#pragma once

#include <lolcats/tape/tape.hpp>

namespace lolcats {

/// Specialised per backend, for elements of Scalar and of Real (T):
///   add(backend, a, b, y)                      y = a + b
///   multiply(backend, a, b, Sink y)            y = or += a * b
///   exp(backend, x, y)                         y = e^x
///   accumulate(backend, x, factor, Sink y)     y = or += factor * x
///   sum(backend, x, factor, y ())              y = factor * sum of x, in Real and in a fixed order
///   fill(backend, value (), factor, Sink x)    every element of x = or += factor * value
template <Backend B>
struct ElementwiseKernel;

/// a + b, of the same shape; also adds losses.
template <Backend B, class T>
Var<B, T> add(Tape<B>& tape, Var<B, T> a, Var<B, T> b) {
  check_shape("add", "b", b.shape(), a.shape());
  auto [y, out] = tape.template result<T>(a.shape(), a.wants_gradient() || b.wants_gradient());
  ElementwiseKernel<B>::add(tape.backend(), a.value(), b.value(), out);
  tape.record(y, [&tape, a, b, y = y] {
    if (a.wants_gradient()) ElementwiseKernel<B>::accumulate(tape.backend(), y.gradient(), 1.0, a.sink());
    if (b.wants_gradient()) ElementwiseKernel<B>::accumulate(tape.backend(), y.gradient(), 1.0, b.sink());
  });
  return y;
}

/// a * b elementwise, of the same shape; both may be one value.
template <Backend B, class T>
Var<B, T> multiply(Tape<B>& tape, Var<B, T> a, Var<B, T> b) {
  check_shape("multiply", "b", b.shape(), a.shape());
  auto [y, out] = tape.template result<T>(a.shape(), a.wants_gradient() || b.wants_gradient());
  ElementwiseKernel<B>::multiply(tape.backend(), a.value(), b.value(), Sink<T>{out, false});
  tape.record(y, [&tape, a, b, y = y] {
    if (a.wants_gradient()) ElementwiseKernel<B>::multiply(tape.backend(), y.gradient(), b.value(), a.sink());
    if (b.wants_gradient()) ElementwiseKernel<B>::multiply(tape.backend(), y.gradient(), a.value(), b.sink());
  });
  return y;
}

/// e^x elementwise.
template <Backend B, class T>
Var<B, T> exp(Tape<B>& tape, Var<B, T> x) {
  auto [y, out] = tape.template result<T>(x.shape(), x.wants_gradient());
  ElementwiseKernel<B>::exp(tape.backend(), x.value(), out);
  tape.record(y, [&tape, x, y = y] { ElementwiseKernel<B>::multiply(tape.backend(), y.gradient(), y.value(), x.sink()); });
  return y;
}

/// factor * x; also scales a loss.
template <Backend B, class T>
Var<B, T> scale(Tape<B>& tape, Var<B, T> x, double factor) {
  auto [y, out] = tape.template result<T>(x.shape(), x.wants_gradient());
  ElementwiseKernel<B>::accumulate(tape.backend(), x.value(), factor, Sink<T>{out, false});
  tape.record(y, [&tape, x, factor, y = y] {
    ElementwiseKernel<B>::accumulate(tape.backend(), y.gradient(), factor, x.sink());
  });
  return y;
}

/// The sum of all elements.
template <Backend B, class T>
Loss<B> sum(Tape<B>& tape, Var<B, T> x) {
  auto [y, out] = tape.template result<Real<B>>(Shape{}, x.wants_gradient());
  ElementwiseKernel<B>::sum(tape.backend(), x.value(), 1.0, out);
  tape.record(y, [&tape, x, y = y] { ElementwiseKernel<B>::fill(tape.backend(), y.gradient(), 1.0, x.sink()); });
  return y;
}

}  // namespace lolcats
