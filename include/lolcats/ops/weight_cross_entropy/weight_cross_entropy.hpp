// Cross-entropy between the weights of softmax attention and those of another attention.
#pragma once

#include <lolcats/ops/attention/attention.hpp>

namespace lolcats {

/// Weights are clamped here before their logarithm [arXiv:2410.10254, Eq. 13; QUIRKS 22].
inline constexpr double weight_floor = 1e-12;

/// Specialised per backend, Map and Window:
///   forward(tape, problem, teacher window, scale, y)           the loss, a scalar
///   backward(tape, problem, teacher window, scale, upstream)   adds to the gradients of the weights, times a scalar
template <Backend B, class Map, Window W>
struct WeightCrossEntropyKernel;

/// scale * sum over sequences, heads and queries of  -sum_k t_k log softmax(log max(a, 1e-12))_k , with t the weights of
/// causal softmax attention within `teacher_window`, a those of attention `A`, and the softmax over all keys of the
/// sequence, future ones included: they count 1e-12 each, which is what feeding log-weights to a cross-entropy on
/// logits does [QUIRKS 22].
///
/// Trains maps and gamma; q and k are constants here, as in attention transfer, and wanting their gradients is an Error.
/// O(M^2) time, O(M) memory.
template <AttentionPolicy A, Backend B>
Loss<B> weight_cross_entropy(Tape<B>& tape, Var<B> q, Var<B> k, const Sequences& sequences, const Heads& heads,
                             const AttentionWeights<B>& weights, typename A::Window window, Sliding<> teacher_window,
                             double scale) {
  using Kernel = WeightCrossEntropyKernel<B, typename A::Map, typename A::Window>;
  detail::require_weights<A>("weight_cross_entropy");
  detail::check_attention<A>(q.shape(), k.shape(), k.shape(), sequences, heads, weights);
  require<ConfigError>(sinks_of<typename A::Window> == 0 && !decays<MemoryOf<A>> && !caches<MemoryOf<A>>,
                       "weight_cross_entropy: {} has sinks, a gate or a cache, whose weights it does not know; expected a window "
                       "and a sum: transfer outputs instead", A::name());
  require<Error>(!q.wants_gradient() && !k.wants_gradient(),
                 "weight_cross_entropy: a gradient of q or k is wanted, expected constants");
  const bool wanted = weights.query_map.trained() || weights.key_map.trained() || weights.query_bias.trained() ||
                      weights.key_bias.trained() || weights.window_factors.trained();
  const AttentionProblem<B, typename A::Window> problem{.heads = heads, .sequences = &sequences, .window = window, .affine = A::affine,
                                                        .q = q.value(), .k = k.value(), .v = k.value(), .weights = weights};
  auto [loss, out] = tape.template result<Real<B>>(Shape{}, wanted);
  Kernel::forward(tape, problem, teacher_window, scale, out);
  tape.record(loss, [&tape, problem, teacher_window, scale, loss = loss] {
    Kernel::backward(tape, problem, teacher_window, scale, loss.gradient());
  });
  return loss;
}

}  // namespace lolcats
