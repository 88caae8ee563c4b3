// Attention weights as matrices, a tile of queries at a time: for pictures, statistics and losses on weights.
#pragma once

#include <lolcats/ops/attention/attention.hpp>

#include <type_traits>

namespace lolcats {

/// Specialised per backend, Map, Window and Memory:
///   visit(backend, problem, f)   see visit_attention_weights
template <Backend B, class Map, Window W, MemoryPolicy M>
struct AttentionWeightsKernel;

/// Calls f(sequence, head, first, weights) with weights (queries, keys) on the host: row i holds the weights of query first + i of
/// that sequence over keys 0 ... keys - 1, zero in its future.  Tiles of one head come in order, different heads may come
/// at the same time from different threads.  O(M) memory, O(M^2) time.  Values matter to a cache alone that scores keys by
/// how they are recalled; others need none.
template <AttentionPolicy A, Backend B, class F>
void visit_attention_weights(const B& backend, View<const Scalar<B>> q, View<const Scalar<B>> k, const Sequences& sequences,
                             const Heads& heads, const AttentionWeights<B>& weights, typename A::Window window, F&& f,
                             std::type_identity_t<View<const Scalar<B>>> v = {}) {
  require<ShapeError>(v || !caches<MemoryOf<A>> || projects_scores<MemoryOf<A>>,
                      "visit_attention_weights: v is missing, which {} scores keys by", A::name());
  if (!v) v = k;
  detail::check_attention<A>(q.shape, k.shape, v.shape, sequences, heads, weights);
  const AttentionProblem<B, typename A::Window> problem{heads, &sequences, window, A::affine, q, k, v, weights};
  AttentionWeightsKernel<B, typename A::Map, typename A::Window, MemoryOf<A>>::visit(backend, problem, f);
}

}  // namespace lolcats
