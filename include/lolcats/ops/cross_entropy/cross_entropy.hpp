// Next-token loss over a vocabulary, fused with the output head, on the tape.
#pragma once

#include <lolcats/ops/elementwise/elementwise.hpp>
#include <lolcats/tape/tape.hpp>
#include <lolcats/tensor/labels.hpp>

#include <span>

namespace lolcats {

/// Specialised per backend; labels are ignored_label or lie in 0 ... V - 1:
///   forward(backend, hidden (M, C), head (V, C), labels, lse (M), losses (M))
///     with logits = hidden head^T:  lse = log sum exp(logits),  losses = lse - logits[label], both in Real and 0 on
///     ignored rows
///   backward(backend, upstream (), scale, hidden, head, labels, lse, Sink dhidden, dhead (V, C))
///     with g = upstream scale (exp(logits - lse) - onehot(label)), 0 on ignored rows:
///     dhidden = or += g head,  dhead += g^T hidden, in Real.  A null dhidden or dhead is not wanted.
/// Neither forms the (M, V) logits.
template <Backend B>
struct CrossEntropyKernel;

namespace detail {
inline void check_cross_entropy(const char* function, const Shape& hidden, const Shape& head,
                                std::span<const Index> labels) {
  require<ShapeError>(hidden.rank() == 2 && head.rank() == 2 && head[0] > 0 && hidden[1] == head[1],
                      "{}: hidden has shape {}, head {}; expected hidden (M, C) and head (V, C)", function,
                      to_string(hidden), to_string(head));
  require<ShapeError>(static_cast<Index>(labels.size()) == hidden[0],
                      "{}: {} labels, expected {}, one per row of hidden", function, labels.size(), hidden[0]);
  for (std::size_t m = 0; m < labels.size(); ++m) {
    require<DataError>(labels[m] == ignored_label || (labels[m] >= 0 && labels[m] < head[0]),
                       "{}: label {} at row {}, expected 0 ... {} or {} (ignored)", function, labels[m], m, head[0] - 1,
                       ignored_label);
  }
}
}  // namespace detail

/// scale * sum over rows whose label is not ignored of -log softmax(hidden head^T)[label], in nats.
///
/// hidden (M, C), head (V, C), a label per row; a mean is scale = 1 / (supervised rows).  Tiles of rows meet chunks of
/// the vocabulary with an online log-sum-exp; one number per row is saved and the backward pass forms the logits again.
/// The labels must outlive the tape's scope.
template <Backend B>
Loss<B> cross_entropy(Tape<B>& tape, Var<B> hidden, std::type_identity_t<Weight<B>> head, std::span<const Index> labels,
                      double scale) {
  detail::check_cross_entropy("cross_entropy", hidden.shape(), head.shape(), labels);
  auto [y, out] = tape.template result<Real<B>>(Shape{}, hidden.wants_gradient() || head.trained());
  const View<Real<B>> lse = tape.template scratch<Real<B>>(Shape{hidden.rows()});
  const View<Real<B>> losses = tape.template scratch<Real<B>>(Shape{hidden.rows()});
  CrossEntropyKernel<B>::forward(tape.backend(), hidden.value(), head.value, labels, lse, losses);
  ElementwiseKernel<B>::sum(tape.backend(), View<const Real<B>>(losses), scale, out);
  tape.record(y, [&tape, hidden, head, labels, scale, lse, y = y] {
    CrossEntropyKernel<B>::backward(tape.backend(), y.gradient(), scale, hidden.value(), head.value, labels, lse,
                                    hidden.wants_gradient() ? hidden.sink() : Sink<Scalar<B>>{}, head.gradient);
  });
  return y;
}

/// -log softmax(hidden head^T)[label] of each row (M), 0 on ignored rows; lives as long as the tape's scope.
template <Backend B>
View<Real<B>> token_losses(Tape<B>& tape, std::type_identity_t<View<const Scalar<B>>> hidden,
                           std::type_identity_t<View<const Scalar<B>>> head, std::span<const Index> labels) {
  detail::check_cross_entropy("token_losses", hidden.shape, head.shape, labels);
  const View<Real<B>> lse = tape.template scratch<Real<B>>(Shape{hidden.rows()});
  const View<Real<B>> losses = tape.template scratch<Real<B>>(Shape{hidden.rows()});
  CrossEntropyKernel<B>::forward(tape.backend(), hidden, head, labels, lse, losses);
  return losses;
}

}  // namespace lolcats
