// Linear interpolation with a learned weight per block of columns, on the tape.
#pragma once

#include <lolcats/tape/tape.hpp>

namespace lolcats {

/// Specialised per backend.  Of n weights, weight i belongs to the i-th of n equal blocks of the C columns:
///   forward(backend, start (M, C), end (M, C), weights (n), y (M, C))    y = start + w (end - start)
///   gradients(backend, dy, weights, Sink dstart, Sink dend)              dstart = or += (1 - w) dy, dend = or += w dy; a
///                                                                        null sink is not wanted
///   weight_gradient(backend, dy, start, end, dweights (n))               dw_i += sum over block i of dy (end - start), in
///                                                                        Real and in a fixed order
template <Backend B>
struct LerpKernel;

/// start + w (end - start), start and end (M, C); the n weights, in any shape, belong to n equal blocks of columns, such as
/// those of key/value heads: with C = H * D and n = G, weight g to the query heads that read key/value head g.
/// Throws ShapeError naming the argument.
template <Backend B>
Var<B> lerp(Tape<B>& tape, Var<B> start, Var<B> end, std::type_identity_t<Weight<B>> weights) {
  check_shape("lerp", "end", end.shape(), start.shape());
  require<ShapeError>(weights.shape().size() > 0 && start.cols() % weights.shape().size() == 0,
                      "lerp: weights has {} elements, expected a divisor of the {} columns", weights.shape().size(), start.cols());
  auto [y, out] = tape.result(start.shape(), start.wants_gradient() || end.wants_gradient() || weights.trained());
  LerpKernel<B>::forward(tape.backend(), start.value(), end.value(), weights.value, out);
  tape.record(y, [&tape, start, end, weights, y = y] {
    const auto sink = [](const Var<B>& x) { return x.wants_gradient() ? x.sink() : Sink<Scalar<B>>{}; };
    if (weights.trained()) LerpKernel<B>::weight_gradient(tape.backend(), y.gradient(), start.value(), end.value(), weights.gradient);
    if (start.wants_gradient() || end.wants_gradient()) {
      const auto dstart = sink(start);  // first, as the kernel writes it first
      LerpKernel<B>::gradients(tape.backend(), y.gradient(), weights.value, dstart, sink(end));
    }
  });
  return y;
}

}  // namespace lolcats
