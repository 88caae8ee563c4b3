// The attention kernel on a GPU: fused kernels where they fit, the general ones everywhere else.
#pragma once

#include <lolcats/ops/attention/cuda_general.cuh>
#include <lolcats/ops/attention/hopper/backward.cuh>
#include <lolcats/ops/attention/hopper/forward.cuh>
#include <lolcats/ops/attention/hopper/forward_tiles.cuh>
#include <lolcats/ops/attention/hopper/softmax_backward.cuh>
#include <lolcats/ops/attention/hopper/softmax_forward.cuh>

#include <atomic>
#include <string_view>

namespace lolcats {

/// Which kernels compute an attention.
enum class AttentionPath {
  general,  // any head size, map, window and precision
  fused,    // bf16 on Hopper, near and far keys in one kernel (ops/attention/hopper)
  softmax,  // the same without far keys
};

constexpr std::string_view name_of(AttentionPath path) {
  return path == AttentionPath::general ? "general" : path == AttentionPath::fused ? "fused" : "fused softmax";
}

namespace cuda {

/// While one is alive, every attention takes the general path: to compare the two.
class GeneralAttentionOnly {
 public:
  GeneralAttentionOnly() { ++alive(); }
  GeneralAttentionOnly(const GeneralAttentionOnly&) = delete;
  GeneralAttentionOnly& operator=(const GeneralAttentionOnly&) = delete;
  ~GeneralAttentionOnly() { --alive(); }
  static bool active() { return alive() > 0; }

 private:
  static std::atomic<int>& alive() {
    static std::atomic<int> count{0};
    return count;
  }
};

}  // namespace cuda

template <class T, class Map, Window W>
struct AttentionKernel<Cuda<T>, Map, W> {
  using B = Cuda<T>;
  using Problem = AttentionProblem<B, W>;

  /// The kernels that a pass over this problem takes.
  static AttentionPath forward_path(const Problem& p) {
    if (cuda::GeneralAttentionOnly::active()) return AttentionPath::general;
    if constexpr (softmax_fits) {
      if (hopper::softmax_takes(p)) return AttentionPath::softmax;
    } else {
      if constexpr (forward_fits) {
        if (hopper::takes_forward<Map>(p)) return AttentionPath::fused;
      }
      if constexpr (tiles_fit) {
        if (hopper::backward_pass::takes_tiles<Map>(p)) return AttentionPath::fused;
      }
    }
    return AttentionPath::general;
  }
  static AttentionPath backward_path(const Problem& p) {
    if (cuda::GeneralAttentionOnly::active()) return AttentionPath::general;
    if constexpr (softmax_fits) {
      if (hopper::softmax_takes(p)) return AttentionPath::softmax;
    } else if constexpr (backward_fits) {
      if (hopper::takes_backward<Map>(p)) return AttentionPath::fused;
    }
    return AttentionPath::general;
  }

  static void forward(const B& backend, const Problem& p, View<T> y, const AttentionStatistics<B>& statistics) {
    [[maybe_unused]] const AttentionPath path = forward_path(p);
    if constexpr (softmax_fits) {
      if (path == AttentionPath::softmax) return hopper::softmax_forward(backend, p, y, statistics);
    } else if (path == AttentionPath::fused) {
      if constexpr (forward_fits) {
        if (hopper::takes_forward<Map>(p)) return hopper::forward<Map>(backend, p, y, statistics);
      }
      if constexpr (tiles_fit) return hopper::forward_by_tiles<Map>(backend, p, y, statistics);
    }
    general::forward<Map>(backend, p, y, statistics);
  }

  static void backward(Tape<B>& tape, const Problem& p, View<const T> y, View<const T> dy,
                       const AttentionStatistics<B>& statistics, const AttentionSinks<B>& sinks) {
    [[maybe_unused]] const AttentionPath path = backward_path(p);
    if constexpr (softmax_fits) {
      if (path == AttentionPath::softmax) return hopper::softmax_backward(tape, p, y, dy, statistics, sinks);
    } else if constexpr (backward_fits) {
      if (path == AttentionPath::fused) return hopper::backward<Map>(tape, p, y, dy, statistics, sinks);
    }
    general::backward<Map>(tape, p, y, dy, statistics, sinks);
  }

 private:
  // What the fused kernels are compiled for; what they take of it is asked at run time.
  static constexpr bool bf16_only = std::is_same_v<T, bf16>;
  static constexpr bool softmax_fits = bf16_only && std::is_same_v<Map, NoMap>;
  static constexpr bool forward_fits = [] {
    if constexpr (bf16_only && FeatureMap<Map>) return hopper::forward_pass::fits<Map, W>();
    return false;
  }();
  /// Any window by tiles, unless the type says that the quicker kernels above always take it.
  static constexpr bool tiles_fit = [] {
    if constexpr (bf16_only && FeatureMap<Map>) {
      if constexpr (forward_fits)
        return hopper::backward_pass::has_tiles<Map, W> && !hopper::forward_pass::WindowTiles<W>::always;
      return hopper::backward_pass::has_tiles<Map, W>;
    }
    return false;
  }();
  static constexpr bool backward_fits = [] {
    if constexpr (bf16_only && FeatureMap<Map>) return hopper::has_backward<Map, W>;
    return false;
  }();
};

}  // namespace lolcats
