// Memories: how far keys are remembered.
#pragma once

#include <lolcats/policy/gate.hpp>

#include <concepts>
#include <string>
#include <type_traits>

namespace lolcats {

/// No far key stays raw.
struct NoCache {
  static constexpr Index size = 0;
  static std::string name() { return "none"; }
};

/// A memory is a gate, which says how the sums over far keys forget, and a cache, which says which far keys stay raw and
/// are read by softmax like near ones.
///
///   p_nj = beta phi_q(q_n).phi_k(k_j) exp(G_n - G_j)   for far keys j that are in no cache, G as in GatePolicy
// clang-format off
template <class M>
concept MemoryPolicy = GatePolicy<typename M::Gate> && requires {
  { M::Cache::size } -> std::convertible_to<Index>;
  { M::name() } -> std::convertible_to<std::string>;
};
// clang-format on

template <GatePolicy G = NoGate, class C = NoCache>
struct Memory {
  using Gate = G;
  using Cache = C;
  static std::string name() {
    if constexpr (!std::is_same_v<C, NoCache>) {
      return C::name() + (std::is_same_v<G, NoGate> ? "" : ", decay<" + G::name() + ">");
    } else {
      return std::is_same_v<G, NoGate> ? "sum" : "decay<" + G::name() + ">";
    }
  }
};

/// S <- S + phi_k(k) v^T, and z likewise: linear attention as published.
using Sum = Memory<>;

/// S <- a S + phi_k(k) v^T, and z likewise; a by the gate.
template <GatePolicy G>
using Decay = Memory<G>;

static_assert(MemoryPolicy<Sum> && MemoryPolicy<Decay<RetentionGate>>);

/// Does a memory have a gate?
template <MemoryPolicy M>
inline constexpr bool decays = !std::is_same_v<typename M::Gate, NoGate>;

}  // namespace lolcats
