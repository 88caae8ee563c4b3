// The features of two maps side by side in each head, on the tape.
#pragma once

#include <lolcats/tape/tape.hpp>

namespace lolcats {

/// Specialised per backend, over the rows of matrices:
///   forward(backend, a (M, A), b (M, C), y (M, A + C))       y = [a, b]
///   backward(backend, dy (M, A + C), Sink da, Sink db)       da and db = or += their columns of dy.  A null one is not
///                                                            wanted; both may be one array, and then db is added behind da.
template <Backend B>
struct ConcatKernel;

/// [a, b] in each head: of a (M, H * A) and b (M, H * C), heads side by side, y (M, H * (A + C)); of whole rows with heads = 1.
/// Throws ShapeError naming the argument.
template <Backend B>
Var<B> concat(Tape<B>& tape, Var<B> a, Var<B> b, Index heads) {
  require<ShapeError>(heads > 0 && a.shape().rank() == 2 && a.cols() % heads == 0,
                      "concat: a has shape {}, expected (M, {} * A)", to_string(a.shape()), heads);
  require<ShapeError>(b.shape().rank() == 2 && b.rows() == a.rows() && b.cols() % heads == 0,
                      "concat: b has shape {}, expected ({}, {} * C)", to_string(b.shape()), a.rows(), heads);
  const Index rows = a.rows() * heads;  // a head of a token is a row
  const Shape left{rows, a.cols() / heads}, right{rows, b.cols() / heads}, both{rows, left[1] + right[1]};
  auto [y, out] = tape.result(Shape{a.rows(), a.cols() + b.cols()}, a.wants_gradient() || b.wants_gradient());
  ConcatKernel<B>::forward(tape.backend(), a.value().reshaped(left), b.value().reshaped(right), out.reshaped(both));
  tape.record(y, [&tape, a, b, left, right, both, y = y] {
    const auto sink = [](const Var<B>& x, const Shape& shape) {
      Sink<Scalar<B>> to;
      if (!x.wants_gradient()) return to;
      to = x.sink();
      to.gradient = to.gradient.reshaped(shape);
      return to;
    };
    const auto da = sink(a, left);  // first, as the kernel writes it first
    const auto db = sink(b, right);
    ConcatKernel<B>::backward(tape.backend(), y.gradient().reshaped(both), da, db);
  });
  return y;
}

}  // namespace lolcats
