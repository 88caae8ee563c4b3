// The attention kernels behind handlers.hpp, for one precision.
#pragma once

#include "handlers.hpp"

#include <lolcats/ops/attention/eigen.hpp>
#include <lolcats/ops/attention/eigen_state.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>

#include <algorithm>

namespace golden {

template <class A, class T>
Var<Cpu<T>> attend(Tape<Cpu<T>>& tape, Var<Cpu<T>> q, Var<Cpu<T>> k, Var<Cpu<T>> v, const Sequences& sequences,
                   const Heads& heads, const AttentionWeights<Cpu<T>>& w, const typename A::Window& window) {
  testing::poison(tape, Index{1} << 15);
  return attention<A>(tape, q, k, v, sequences, heads, w, window);
}

template <class A, class T>
Var<Cpu<T>> step(Tape<Cpu<T>>& tape, Var<Cpu<T>> q, Var<Cpu<T>> k, Var<Cpu<T>> v, const Sequences& sequences,
                 const Heads& heads, AttentionState<Cpu<T>>& state, const AttentionWeights<Cpu<T>>& w,
                 const typename A::Window& window) {
  return attention_step<A>(tape, q, k, v, sequences, heads, state, w, window);
}

template <class A, class T>
std::vector<double> weights(View<const T> q, View<const T> k, const Sequences& sequences, const Heads& heads,
                            const AttentionWeights<Cpu<T>>& w, const typename A::Window& window) {
  const Index length = sequences.longest();
  std::vector<double> a(static_cast<std::size_t>(sequences.count() * heads.queries * length * length));
  const auto copy = [&](Index n, Index h, Index first, View<const T> tile) {
    for (Index i = 0; i < tile.rows(); ++i) {
      const Index row = (n * heads.queries + h) * length + first + i;
      std::copy_n(tile.data + i * tile.cols(), tile.cols(), a.begin() + row * length);
    }
  };
  visit_attention_weights<A>(Cpu<T>{}, q, k, sequences, heads, w, window, copy);
  return a;
}

// GOLDEN_KERNELS(A, T): all three, for one attention in one precision.
#define GOLDEN_KERNELS(A, T)                                                                                        \
  template Var<Cpu<T>> attend<A, T>(Tape<Cpu<T>>&, Var<Cpu<T>>, Var<Cpu<T>>, Var<Cpu<T>>, const Sequences&,         \
                                    const Heads&, const AttentionWeights<Cpu<T>>&, const A::Window&);               \
  template Var<Cpu<T>> step<A, T>(Tape<Cpu<T>>&, Var<Cpu<T>>, Var<Cpu<T>>, Var<Cpu<T>>, const Sequences&,           \
                                  const Heads&, AttentionState<Cpu<T>>&, const AttentionWeights<Cpu<T>>&,           \
                                  const A::Window&);                                                                \
  template std::vector<double> weights<A, T>(View<const T>, View<const T>, const Sequences&, const Heads&,          \
                                             const AttentionWeights<Cpu<T>>&, const A::Window&);

}  // namespace golden
