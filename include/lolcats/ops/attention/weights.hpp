// Attention weights as matrices, a tile of queries at a time: for pictures, statistics and losses on weights.
#pragma once

#include <lolcats/ops/attention/attention.hpp>

#include <algorithm>
#include <type_traits>
#include <vector>

namespace lolcats {

/// Specialised per backend, Map, Window and Memory:
///   visit(backend, problem, f)                        see visit_attention_weights
///   largest(backend, problem, begins (M), to (M, H))   see largest_far_weights; both on the host
template <Backend B, class Map, Window W, MemoryPolicy M>
struct AttentionWeightsKernel;

/// Calls f(sequence, head, first, weights) with weights (queries, keys) on the host: row i holds the weights of query first + i of
/// that sequence over keys 0 ... keys - 1, zero in its future.  Tiles of one head come in order, different heads may come
/// at the same time from different threads.  O(M) memory, O(M^2) time.  Values matter to a cache alone that scores keys by
/// how they are recalled; others need none.  Throws ConfigError for a memory that corrects, which gives keys no weights.
template <AttentionPolicy A, Backend B, class F>
void visit_attention_weights(const B& backend, View<const Scalar<B>> q, View<const Scalar<B>> k, const Sequences& sequences,
                             const Heads& heads, const AttentionWeights<B>& weights, typename A::Window window, F&& f,
                             std::type_identity_t<View<const Scalar<B>>> v = {}) {
  detail::require_weights<A>("visit_attention_weights");
  if constexpr (!corrects<MemoryOf<A>>) {
    require<ShapeError>(v || !recalls_values<MemoryOf<A>>,
                        "visit_attention_weights: v is missing, which {} scores keys by", A::name());
    if (!v) v = k;
    detail::check_attention<A>(q.shape, k.shape, v.shape, sequences, heads, weights);
    const AttentionProblem<B, typename A::Window> problem{
        .heads = heads, .sequences = &sequences, .window = window, .affine = A::affine, .q = q, .k = k, .v = v, .weights = weights};
    AttentionWeightsKernel<B, typename A::Map, typename A::Window, MemoryOf<A>>::visit(backend, problem, f);
  }
}

/// (M, H) on the host: the largest weight that softmax within `teacher` gives each key from beyond `window`, by query head; 0 for
/// sinks and for keys that no query is so far behind.  O(M) memory, O(M^2) time.
template <Backend B, Window W>
std::vector<float> largest_far_weights(const B& backend, View<const Scalar<B>> q, View<const Scalar<B>> k, const Sequences& sequences,
                                       const Heads& heads, Sliding<> teacher, const W& window) {
  detail::check_attention<Softmax<>>(q.shape, k.shape, k.shape, sequences, heads, AttentionWeights<B>{});
  std::vector<int> begins(static_cast<std::size_t>(sequences.rows()));
  for (const Extent& e : sequences.extents()) {
    for (Index i = 0; i < e.length; ++i) begins[static_cast<std::size_t>(e.row + i)] = static_cast<int>(std::min(e.length, window.begin(i)));
  }
  std::vector<float> largest(static_cast<std::size_t>(sequences.rows() * heads.queries), 0.0F);
  const AttentionProblem<B, Sliding<>> problem{
      .heads = heads, .sequences = &sequences, .window = teacher, .affine = false, .q = q, .k = k, .v = k, .weights = {}};
  AttentionWeightsKernel<B, NoMap, Sliding<>, Sum>::largest(backend, problem, begins, largest);
  for (const Extent& e : sequences.extents()) {
    const auto first = largest.begin() + static_cast<std::ptrdiff_t>(e.row * heads.queries);
    std::fill_n(first, std::min(e.length, sinks_of<W>) * heads.queries, 0.0F);
  }
  return largest;
}

}  // namespace lolcats
