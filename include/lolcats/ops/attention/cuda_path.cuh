// Which kernels an attention takes on a GPU: the fused ones where they fit, the general ones everywhere else.
#pragma once

#include <lolcats/ops/attention/fused.hpp>
#include <lolcats/ops/attention/hopper/backward.cuh>
#include <lolcats/ops/attention/hopper/forward.cuh>
#include <lolcats/ops/attention/hopper/forward_tiles.cuh>
#include <lolcats/ops/attention/hopper/softmax_backward.cuh>
#include <lolcats/ops/attention/hopper/softmax_forward.cuh>

#include <atomic>
#include <string>
#include <string_view>

namespace lolcats {

/// Which kernels compute an attention.
enum class AttentionPath {
  general,  // any head size, map, window and precision
  fused,    // bf16 on Hopper, near and far keys in one kernel (ops/attention/hopper)
  tiles,    // the same for windows of any number of tiles, at half the speed; forward passes only
  softmax,  // the same without far keys
};

constexpr std::string_view name_of(AttentionPath path) {
  switch (path) {
    case AttentionPath::general: return "general";
    case AttentionPath::fused: return "fused";
    case AttentionPath::tiles: return "fused by tiles";
    default: return "fused softmax";
  }
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

/// The paths of attention with this map, window and memory in precision T.
template <class T, class Map, Window W, MemoryPolicy M = Sum>
struct AttentionPaths {
  using Problem = AttentionProblem<Cuda<T>, W>;

  /// Words of a policy that no fused kernel knows are refused here and nowhere else.
  static constexpr bool fused_words = !decays<M> && !caches<M> && sinks_of<W> <= hopper::most_fused_sinks;

  // What the fused kernels are compiled for; what they take of it is asked at run time.
  static constexpr bool softmax_fits = fused_words && std::is_same_v<T, bf16> && std::is_same_v<Map, NoMap>;
  static constexpr bool forward_fits = [] {
    if constexpr (fused_words && std::is_same_v<T, bf16> && FeatureMap<Map>) return hopper::forward_pass::fits<Map, W>();
    return false;
  }();
  /// Any window by tiles, unless the type says that the quicker kernels above always take it.
  static constexpr bool tiles_fit = [] {
    if constexpr (fused_words && std::is_same_v<T, bf16> && FeatureMap<Map>) {
      if constexpr (forward_fits)
        return hopper::tile_pass::has_tiles<Map, W> && !hopper::forward_pass::WindowTiles<W>::always;
      return hopper::tile_pass::has_tiles<Map, W>;
    }
    return false;
  }();
  static constexpr bool backward_fits = [] {
    if constexpr (fused_words && std::is_same_v<T, bf16> && FeatureMap<Map>) return hopper::has_backward<Map, W>;
    return false;
  }();

  /// Over whole sequences.
  static AttentionPath forward([[maybe_unused]] const Problem& p) {
    if (cuda::GeneralAttentionOnly::active()) return AttentionPath::general;
    if constexpr (softmax_fits) {
      if (hopper::softmax_takes(p)) return AttentionPath::softmax;
    } else {
      if constexpr (forward_fits) {
        if (hopper::takes_forward<Map>(p)) return AttentionPath::fused;
      }
      if constexpr (tiles_fit) {
        if (hopper::tile_pass::takes_tiles<Map>(p)) return AttentionPath::tiles;
      }
    }
    return AttentionPath::general;
  }
  static AttentionPath backward([[maybe_unused]] const Problem& p) {
    if (cuda::GeneralAttentionOnly::active()) return AttentionPath::general;
    if constexpr (softmax_fits) {
      if (hopper::softmax_takes(p)) return AttentionPath::softmax;
    } else if constexpr (backward_fits) {
      if (hopper::takes_backward<Map>(p)) return AttentionPath::fused;
    }
    return AttentionPath::general;
  }
  /// Prefill: `extents` are those of the keys, the kept ones first, in `p.k` and `p.v`.
  static AttentionPath prefill([[maybe_unused]] const Problem& p, [[maybe_unused]] std::span<const Extent> extents) {
    if (cuda::GeneralAttentionOnly::active()) return AttentionPath::general;
    if constexpr (softmax_fits) {
      if (hopper::softmax_takes(p)) return AttentionPath::softmax;
    } else if constexpr (forward_fits) {
      if (hopper::takes_forward<Map>(p, extents)) return AttentionPath::fused;
    }
    return AttentionPath::general;
  }

  /// A sentence: which kernels run, and where they are the general ones, why.
  static std::string explain(const Problem& p) {
    const AttentionPath there = forward(p), back = backward(p);
    std::string text(name_of(there));
    if (back != there) text += fmt::format(" (backward pass: {})", name_of(back));
    if (there != AttentionPath::general && back != AttentionPath::general) return text;
    if (cuda::GeneralAttentionOnly::active()) return text + ": asked for";
    if (!std::is_same_v<T, bf16>) return text + ": fused kernels compute in bf16";
    if (const std::string why = hopper::why_not_fused<Map, W, M>(p.heads.size); !why.empty()) return text + ": " + why;
    if (cuda::device().capability != 90) return text + ": fused kernels need a Hopper GPU";
    return text + ": this window, or data that no fused kernel takes: too many rows, or not aligned to 16 bytes";
  }
};

}  // namespace lolcats
