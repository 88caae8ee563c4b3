// Attention beside a memory that corrects what it wrote: softmax over the window, the delta rule, and their convex sum.
#pragma once

#include <lolcats/ops/attention/state.hpp>
#include <lolcats/ops/blend/blend.hpp>
#include <lolcats/ops/delta_rule/delta_rule.hpp>
#include <lolcats/ops/feature_map/feature_map.hpp>

#include <span>
#include <utility>
#include <vector>

namespace lolcats {

namespace detail {

/// The features of queries (M, H * F) and keys (M, N * F), for each of the N = H or G key maps.
template <AttentionPolicy A, Backend B>
std::pair<Var<B>, Var<B>> features_of(Tape<B>& tape, Var<B> q, Var<B> k, const Heads& heads, const AttentionWeights<B>& w) {
  using Map = typename A::Map;
  static_assert(FeatureMap<Map> && !A::affine, "a memory that corrects reads the features of row maps, and weighs far keys 1 - gamma already");
  return {feature_map<Map>(tape, q, w.query_map, w.query_bias, heads.queries),
          feature_map<Map>(tape, k, w.key_map, w.key_bias, detail::key_maps<A>(heads))};
}

}  // namespace detail

/// y (M, H * D) of an attention whose memory corrects what it wrote (DeltaRule, policy/memory.hpp): the window by the softmax
/// attention of that window, on whatever path it takes, beside all tokens by the delta rule over features.  Features are kept for the
/// backward pass; rows of no sequence are mapped like the others and nothing reads what comes out, so they must be finite.
/// Throws ShapeError naming the argument.
template <AttentionPolicy A, Backend B>
  requires corrects<MemoryOf<A>>
Var<B> attention(Tape<B>& tape, Var<B> q, Var<B> k, Var<B> v, const Sequences& sequences, const Heads& heads,
                 const AttentionWeights<B>& weights = {}, typename A::Window window = detail::window_of_type<typename A::Window>()) {
  detail::check_attention<A>(q.shape(), k.shape(), v.shape(), sequences, heads, weights);
  const auto [query, key] = detail::features_of<A>(tape, q, k, heads, weights);
  const Var<B> far = delta_rule<typename MemoryOf<A>::Gate>(tape, query, key, v, weights.gate, weights.gate_bias, sequences, heads);
  if constexpr (A::Window::has_near) {
    const Var<B> near = attention<Softmax<typename A::Window>>(tape, q, k, v, sequences, heads, AttentionWeights<B>{}, window);
    return blend(tape, near, far, weights.window_factors);
  } else {
    return far;
  }
}

/// The same for new tokens of sequences that `state` has read up to here: see the other attention_step.  A slot is that of the
/// window's softmax, and S of all tokens in its `sums`.
template <AttentionPolicy A, Backend B>
  requires corrects<MemoryOf<A>>
Var<B> attention_step(Tape<B>& tape, Var<B> q, Var<B> k, Var<B> v, const Sequences& sequences, const Heads& heads,
                      AttentionState<B>& state, const AttentionWeights<B>& weights = {},
                      typename A::Window window = detail::window_of_type<typename A::Window>(), std::span<const Index> chosen = {}) {
  const typename Tape<B>::NoGradient quiet(tape);
  detail::check_attention<A>(q.shape(), k.shape(), v.shape(), sequences, heads, weights);
  const auto slots = detail::slots_of(state, sequences, chosen);
  const auto [query, key] = detail::features_of<A>(tape, q, k, heads, weights);

  // What may refuse comes before the first change: sums that are new become the slots' own behind it.
  std::vector<Array<B, Real<B>>> fresh(slots.size());
  std::vector<Real<B>*> states;
  for (std::size_t n = 0; n < slots.size(); ++n) {
    Array<B, Real<B>>& sums = slots[n]->sums ? slots[n]->sums : fresh[n];
    if (!sums) {
      const Index maps = detail::key_maps<A>(heads);
      sums = Array<B, Real<B>>(Shape{maps, key.cols() / maps, heads.size});
      tape.backend().zero(sums.data(), sums.size());
    }
    states.push_back(sums.data());
  }
  const Var<B> far = delta_rule<typename MemoryOf<A>::Gate>(tape, query, key, v, weights.gate, weights.gate_bias, sequences, heads, states);
  Var<B> near;
  if constexpr (A::Window::has_near) {
    near = attention_step<Softmax<typename A::Window>>(tape, q, k, v, sequences, heads, state, AttentionWeights<B>{}, window, chosen);
  } else {
    for (std::size_t n = 0; n < slots.size(); ++n) slots[n]->length += sequences[static_cast<Index>(n)].length;
  }
  for (std::size_t n = 0; n < slots.size(); ++n) {
    if (fresh[n]) slots[n]->sums = std::move(fresh[n]);
  }
  if constexpr (A::Window::has_near) return blend(tape, near, far, weights.window_factors);
  else return far;
}

}  // namespace lolcats
