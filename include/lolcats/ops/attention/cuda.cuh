// The attention kernel on a GPU: fused kernels where they fit, the general ones everywhere else.
//
// AttentionPaths says at compile time which families a policy may need, and only those are compiled; which of them takes a
// problem is asked once per call.
#pragma once

#include <lolcats/ops/attention/cuda_general.cuh>
#include <lolcats/ops/attention/cuda_path.cuh>

namespace lolcats {

template <class T, class Map, Window W, MemoryPolicy M>
struct AttentionKernel<Cuda<T>, Map, W, M> {
  using B = Cuda<T>;
  using Problem = AttentionProblem<B, W>;
  using Paths = AttentionPaths<T, Map, W, M>;

  static void forward(const B& backend, const Problem& p, View<T> y, const AttentionStatistics<B>& statistics) {
    [[maybe_unused]] const AttentionPath path = Paths::forward(p);
    if constexpr (Paths::softmax_fits) {
      if (path == AttentionPath::softmax) return hopper::softmax_forward(backend, p, y, statistics);
    } else {
      if constexpr (Paths::forward_fits) {
        if (path == AttentionPath::fused) return hopper::forward<Map>(backend, p, y, statistics);
      }
      if constexpr (Paths::tiles_fit) {
        if (path == AttentionPath::tiles) return hopper::forward_by_tiles<Map>(backend, p, y, statistics);
      }
    }
    general::forward<Map, M>(backend, p, y, statistics);
  }

  static void backward(Tape<B>& tape, const Problem& p, View<const T> y, View<const T> dy,
                       const AttentionStatistics<B>& statistics, const AttentionSinks<B>& sinks) {
    [[maybe_unused]] const AttentionPath path = Paths::backward(p);
    if constexpr (Paths::softmax_fits) {
      if (path == AttentionPath::softmax) return hopper::softmax_backward(tape, p, y, dy, statistics, sinks);
    } else if constexpr (Paths::backward_fits) {
      if (path == AttentionPath::fused) return hopper::backward<Map>(tape, p, y, dy, statistics, sinks);
    }
    general::backward<Map, M>(tape, p, y, dy, statistics, sinks);
  }

  static std::string explain(const Problem& p) { return Paths::explain(p); }
};

}  // namespace lolcats
