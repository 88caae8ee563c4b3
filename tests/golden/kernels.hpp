// The attention kernels behind handlers.hpp, for one backend.
#pragma once

#include "handlers.hpp"

#ifdef __CUDACC__
#include <lolcats/ops/attention/cuda.cuh>
#include <lolcats/ops/attention/cuda_state.cuh>
#include <lolcats/ops/attention/cuda_weights.cuh>
#else
#include <lolcats/ops/attention/eigen.hpp>
#include <lolcats/ops/attention/eigen_state.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>
#endif

#include <algorithm>

namespace golden {

template <class A, class B>
Var<B> attend(Tape<B>& tape, Var<B> q, Var<B> k, Var<B> v, const Sequences& sequences, const Heads& heads,
              const AttentionWeights<B>& w, const typename A::Window& window) {
  testing::poison(tape, Index{1} << 15);
  return attention<A>(tape, q, k, v, sequences, heads, w, window);
}

template <class A, class B>
Var<B> step(Tape<B>& tape, Var<B> q, Var<B> k, Var<B> v, const Sequences& sequences, const Heads& heads,
            AttentionState<B>& state, const AttentionWeights<B>& w, const typename A::Window& window) {
  return attention_step<A>(tape, q, k, v, sequences, heads, state, w, window);
}

template <class A, class B>
std::vector<double> weights(View<const Scalar<B>> q, View<const Scalar<B>> k, const Sequences& sequences,
                            const Heads& heads, const AttentionWeights<B>& w, const typename A::Window& window) {
  const Index length = sequences.longest();
  std::vector<double> a(static_cast<std::size_t>(sequences.count() * heads.queries * length * length));
  const auto copy = [&](Index n, Index h, Index first, const auto& tile) {  // on the host
    for (Index i = 0; i < tile.rows(); ++i) {
      const Index row = (n * heads.queries + h) * length + first + i;
      std::copy_n(tile.data + i * tile.cols(), tile.cols(), a.begin() + row * length);
    }
  };
  visit_attention_weights<A>(B{}, q, k, sequences, heads, w, window, copy);
  return a;
}

// GOLDEN_KERNELS(A, B): all three, for one attention on one backend.
#define GOLDEN_KERNELS(A, B)                                                                                       \
  template Var<B> attend<A, B>(Tape<B>&, Var<B>, Var<B>, Var<B>, const Sequences&, const Heads&,                   \
                               const AttentionWeights<B>&, const A::Window&);                                      \
  template Var<B> step<A, B>(Tape<B>&, Var<B>, Var<B>, Var<B>, const Sequences&, const Heads&, AttentionState<B>&, \
                             const AttentionWeights<B>&, const A::Window&);                                        \
  template std::vector<double> weights<A, B>(View<const Scalar<B>>, View<const Scalar<B>>, const Sequences&,       \
                                             const Heads&, const AttentionWeights<B>&, const A::Window&);
// All attentions on one backend.
#define GOLDEN_BACKEND(B)        \
  GOLDEN_KERNELS(FileHybrid, B)  \
  GOLDEN_KERNELS(FileAffine, B)  \
  GOLDEN_KERNELS(FileLinear, B)  \
  GOLDEN_KERNELS(FileSoftmax, B) \
  GOLDEN_KERNELS(GivenLinear, B)

}  // namespace golden
