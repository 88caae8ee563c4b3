// The attention kernel on a GPU: fused kernels where one fits, the general ones everywhere else.
#pragma once

#include <lolcats/ops/attention/cuda_general.cuh>

namespace lolcats {

template <class T, class Map, Window W>
struct AttentionKernel<Cuda<T>, Map, W> {
  using B = Cuda<T>;
  using Problem = AttentionProblem<B, W>;

  static void forward(const B& backend, const Problem& p, View<T> y, const AttentionStatistics<B>& statistics) {
    general::forward<Map>(backend, p, y, statistics);
  }

  static void backward(Tape<B>& tape, const Problem& p, View<const T> y, View<const T> dy,
                       const AttentionStatistics<B>& statistics, const AttentionSinks<B>& sinks) {
    general::backward<Map>(tape, p, y, dy, statistics, sinks);
  }
};

}  // namespace lolcats
