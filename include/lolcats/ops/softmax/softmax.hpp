// Softmax over the features of each head, on the tape.
#pragma once

#include <lolcats/tape/tape.hpp>

namespace lolcats {

/// Specialised per backend, over the rows of a matrix:
///   forward(backend, x (M, C), y (M, C))             y = exp(x - max x) / sum of exp(x - max x), the sum in Real
///   backward(backend, dy (M, C), y, Sink dx)         dx = or += y (dy - <y, dy>), the product in Real
template <Backend B>
struct SoftmaxKernel;

/// softmax of each head of x (M, H * F), heads side by side; of whole rows with heads = 1.  For maps that are composed of
/// operations: attention has a softmax of its own.
/// Throws ShapeError naming the argument.
template <Backend B>
Var<B> softmax(Tape<B>& tape, Var<B> x, Index heads) {
  require<ShapeError>(heads > 0 && x.shape().rank() == 2 && x.cols() > 0 && x.cols() % heads == 0,
                      "softmax: x has shape {}, expected (M, {} * F)", to_string(x.shape()), heads);
  const Shape rows{x.rows() * heads, x.cols() / heads};  // a head of a token is a row
  auto [y, out] = tape.result(x.shape(), x.wants_gradient());
  SoftmaxKernel<B>::forward(tape.backend(), x.value().reshaped(rows), out.reshaped(rows));
  tape.record(y, [&tape, x, rows, y = y] {
    Sink<Scalar<B>> dx = x.sink();
    dx.gradient = dx.gradient.reshaped(rows);
    SoftmaxKernel<B>::backward(tape.backend(), y.gradient().reshaped(rows), y.value().reshaped(rows), dx);
  });
  return y;
}

}  // namespace lolcats
