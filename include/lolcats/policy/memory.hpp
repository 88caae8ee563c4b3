// Memories: how far keys are remembered.
#pragma once

#include <lolcats/policy/cache.hpp>
#include <lolcats/policy/gate.hpp>

#include <concepts>
#include <string>
#include <type_traits>

namespace lolcats {

/// A memory is a gate, which says how the sums over far keys forget, and a cache, which says which far keys stay raw and
/// are read by softmax like near ones.
///
///   p_nj = beta phi_q(q_n).phi_k(k_j) exp(G_n - G_j)   for far keys j that are in no cache, G as in GatePolicy
///
/// Never both: what a cached key has decayed by when it leaves is not defined, and a memory that corrects has no sums to leave it to.
///
/// How near and far are mixed follows from the memory: sums weigh keys, so both share one numerator and one denominator
/// (policy/attention.hpp).  A memory with `corrects` does not, see DeltaRule.
// clang-format off
template <class M>
concept MemoryPolicy = GatePolicy<typename M::Gate> && CachePolicy<typename M::Cache> && requires {
  { M::name() } -> std::convertible_to<std::string>;
} && (M::Cache::size == 0 || (std::is_same_v<typename M::Gate, NoGate> && !requires { M::corrects; }));
// clang-format on

template <GatePolicy G = NoGate, CachePolicy C = NoCache>
  requires(std::is_same_v<G, NoGate> || C::size == 0)
struct Memory {
  using Gate = G;
  using Cache = C;
  static std::string name() {
    if constexpr (C::size > 0) return C::name();
    else return std::is_same_v<G, NoGate> ? "sum" : "decay<" + G::name() + ">";
  }
};

/// S <- S + phi_k(k) v^T, and z likewise: linear attention as published.
using Sum = Memory<>;

/// S <- a S + phi_k(k) v^T, and z likewise; a by the gate.
template <GatePolicy G>
using Decay = Memory<G>;

/// Sum, and `Size` far keys stay raw; without feature maps, those alone.
template <Index Size, ScorePolicy S>
using Kept = Memory<NoGate, Cache<Size, S>>;

/// S <- S + b k (v - S^T k)^T for every token: what S recalls for a key is replaced by the share b by its value (Widrow and Hoff's
/// rule; Schlag et al. 2021, arXiv:2102.11174; Yang et al. 2024, arXiv:2406.06484).
///
///   k = phi_k(k_t) / |phi_k(k_t)|,  q = phi_q(q_t) / |phi_q(q_t)|,  b = exp(R::log_decay(z)) in (0, 1],  z as for a gate
///   far_t = S_t^T q, behind the token itself
///
/// Such a memory holds all tokens of its sequence, those in the window, too, and has no normalizer: a correction may be
/// negative, so nothing says how much a query weighs a key.  Near and far are two answers, each whole, and their mix is convex,
///
///   y = gamma near + (1 - gamma) far,  near = softmax over the window,  gamma = sigmoid(window_factors) per query head
///
/// and without a window, y = far.
template <GatePolicy R = ProjectedRate>
struct DeltaRule {
  using Gate = R;
  using Cache = NoCache;
  static constexpr bool corrects = true;
  static std::string name() { return "delta<" + R::name() + ">"; }
};

static_assert(MemoryPolicy<Sum> && MemoryPolicy<Kept<8, LearnedScore>> && MemoryPolicy<Decay<RetentionGate>> && MemoryPolicy<DeltaRule<>>);

/// Does a memory correct what it wrote?
template <MemoryPolicy M>
inline constexpr bool corrects = [] {
  if constexpr (requires { M::corrects; }) return bool{M::corrects};
  else return false;
}();
/// Does it have a gate?
template <MemoryPolicy M>
inline constexpr bool gated = !std::is_same_v<typename M::Gate, NoGate>;
/// One by which sums forget?
template <MemoryPolicy M>
inline constexpr bool decays = gated<M> && !corrects<M>;
/// Does it keep far keys raw?
template <MemoryPolicy M>
inline constexpr bool caches = (M::Cache::size > 0);

namespace detail {
template <class C, ScoreInput Input>
inline constexpr bool scored_by = false;
template <class C, ScoreInput Input>
  requires(C::size > 0)
inline constexpr bool scored_by<C, Input> = C::Score::input == Input;
}  // namespace detail
/// What does it score keys by: a projection of the layer's input, other keys, recalled values, or the window's queries?
template <MemoryPolicy M>
inline constexpr bool projects_scores = detail::scored_by<typename M::Cache, ScoreInput::hidden>;
template <MemoryPolicy M>
inline constexpr bool compares_keys = detail::scored_by<typename M::Cache, ScoreInput::keys>;
template <MemoryPolicy M>
inline constexpr bool recalls_values = detail::scored_by<typename M::Cache, ScoreInput::recall>;
template <MemoryPolicy M>
inline constexpr bool counts_attention = detail::scored_by<typename M::Cache, ScoreInput::attention>;
/// Is the score of a key known when it is read?
template <MemoryPolicy M>
inline constexpr bool scored_when_read = projects_scores<M> || compares_keys<M>;

}  // namespace lolcats
