// The divergence of one prediction from another over a vocabulary, fused with the output head, on the tape.
#pragma once

#include <lolcats/ops/cross_entropy/cross_entropy.hpp>

namespace lolcats {

/// Specialised per backend.  With z = hidden head^T / temperature, t = teacher head^T / temperature:
///   forward(backend, temperature, hidden (M, C), teacher (M, C), head (V, C), labels, lse (M), teacher_lse (M), divergences (M))
///     lse = log sum exp(z), teacher_lse = log sum exp(t), divergences = sum softmax(t) (t - z) + lse - teacher_lse,
///     in Real and 0 on ignored rows
///   backward(backend, upstream (), scale, temperature, hidden, teacher, head, labels, lse, teacher_lse, Sink dhidden)
///     with g = upstream scale / temperature (exp(z - lse) - exp(t - teacher_lse)), 0 on ignored rows:
///     dhidden = or += g head
/// Neither forms (M, V) logits of either side.
template <Backend B>
struct DivergenceKernel;

namespace detail {
inline void check_divergence(const char* function, const Shape& hidden, const Shape& teacher, const Shape& head,
                             std::span<const Index> labels, double temperature) {
  check_cross_entropy(function, hidden, head, labels);
  check_shape(function, "teacher", teacher, hidden);
  require<ConfigError>(temperature > 0, "{}: temperature is {}, expected more than 0", function, temperature);
}
}  // namespace detail

/// scale * sum over rows whose label is not ignored of KL(softmax(teacher head^T / T) || softmax(hidden head^T / T)), in nats.
///
/// hidden and teacher (M, C), head (V, C), a label per row, of which only ignored_label matters.  The gradient reaches hidden
/// alone: teacher is a constant that must outlive the tape's scope, and the head must be frozen (ConfigError).  Tiles of rows
/// meet chunks of the vocabulary, both sides at once; two numbers per row are saved.
template <Backend B>
Loss<B> divergence(Tape<B>& tape, Var<B> hidden, std::type_identity_t<View<const Scalar<B>>> teacher,
                   std::type_identity_t<Weight<B>> head, std::span<const Index> labels, double temperature, double scale) {
  detail::check_divergence("divergence", hidden.shape(), teacher.shape, head.shape(), labels, temperature);
  require<ConfigError>(!head.trained(), "divergence: the head is trained, expected a frozen one");
  auto [y, out] = tape.template result<Real<B>>(Shape{}, hidden.wants_gradient());
  const Shape rows{hidden.rows()};
  const View<Real<B>> lse = tape.template scratch<Real<B>>(rows), teacher_lse = tape.template scratch<Real<B>>(rows);
  const View<Real<B>> divergences = tape.template scratch<Real<B>>(rows);
  DivergenceKernel<B>::forward(tape.backend(), temperature, hidden.value(), teacher, head.value, labels, lse, teacher_lse, divergences);
  ElementwiseKernel<B>::sum(tape.backend(), View<const Real<B>>(divergences), scale, out);
  tape.record(y, [&tape, hidden, teacher, head, labels, temperature, scale, lse, teacher_lse, y = y] {
    DivergenceKernel<B>::backward(tape.backend(), y.gradient(), scale, temperature, hidden.value(), teacher, head.value, labels,
                                  View<const Real<B>>(lse), View<const Real<B>>(teacher_lse), hidden.sink());
  });
  return y;
}

/// The divergence of each row (M), 0 on ignored rows; lives as long as the tape's scope.
template <Backend B>
View<Real<B>> token_divergences(Tape<B>& tape, std::type_identity_t<View<const Scalar<B>>> hidden,
                                std::type_identity_t<View<const Scalar<B>>> teacher,
                                std::type_identity_t<View<const Scalar<B>>> head, std::span<const Index> labels,
                                double temperature = 1) {
  detail::check_divergence("token_divergences", hidden.shape, teacher.shape, head.shape, labels, temperature);
  const Shape rows{hidden.rows()};
  const View<Real<B>> lse = tape.template scratch<Real<B>>(rows), teacher_lse = tape.template scratch<Real<B>>(rows);
  const View<Real<B>> divergences = tape.template scratch<Real<B>>(rows);
  DivergenceKernel<B>::forward(tape.backend(), temperature, hidden, teacher, head, labels, lse, teacher_lse, divergences);
  return divergences;
}

}  // namespace lolcats
