// The fused forward pass: scores of near keys and what becomes of them, in registers.
#pragma once

#include <lolcats/ops/attention/hopper/forward_memory.cuh>

namespace lolcats::hopper::forward_pass {

/// Which keys of one tile a query row sees as near, by column: [near_begin, near_end); [0, near_begin) are far.
struct RowBounds {
  int near_begin, near_end;
};

/// Bounds of both rows of a thread against key tile `key_tile`, for queries of tile t.
template <class W>
__device__ __forceinline__ void find_bounds(RowBounds (&bounds)[2], const W& window, const Rows& rows, int t,
                                            int key_tile) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int n = t * tile + rows.of(r);
    bounds[r].near_begin = static_cast<int>(window.begin(n)) - key_tile * tile;
    bounds[r].near_end = n + 1 - key_tile * tile;
  }
}

/// Is this key, a column of tile `key_tile`, near for everyone?
template <class S>
__device__ __forceinline__ bool is_sink(int key_tile, int column) {
  return S::sinks > 0 && key_tile == 0 && column < S::sinks;
}

/// Takes keys that are far, or in the future, out of the softmax.
template <class S, bool has_far, bool has_future>
__device__ __forceinline__ void keep_near(Fragment<tile>& scores, const typename S::Window& window, const Rows& rows, int t,
                                          int key_tile) {
  if constexpr (has_far || has_future) {
    RowBounds bounds[2];
    find_bounds(bounds, window, rows, t, key_tile);
    const int lane = lane_id();
#pragma unroll
    for (int i = 0; i < scores.size; ++i) {
      const RowBounds& b = bounds[fragment_row(i)];
      const int column = fragment_column(i, lane);
      if ((has_far && column < b.near_begin && !is_sink<S>(key_tile, column)) || (has_future && column >= b.near_end)) {
        scores.x[i] = -INFINITY;
      }
    }
  }
}
/// Of 8 keys the sinks, if they are not among the keys of the tiles.
template <class S>
__device__ __forceinline__ void keep_sinks(Fragment<8>& scores, bool apart) {
  const int lane = lane_id();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (!apart || fragment_column(i, lane) >= S::sinks) scores.x[i] = -INFINITY;
  }
}

template <int Columns>
__device__ __forceinline__ void raise(PerRow& largest, const Fragment<Columns>& scores) {
#pragma unroll
  for (int i = 0; i < scores.size; ++i) {
    largest.of[fragment_row(i)] = fmaxf(largest.of[fragment_row(i)], scores.x[i]);
  }
}
/// scores become weights gamma exp(score - c).
template <int Columns>
__device__ __forceinline__ void weigh(Fragment<Columns>& scores, const PerRow& shift, float to_log2, PerRow& sum) {
#pragma unroll
  for (int i = 0; i < scores.size; ++i) {
    scores.x[i] = cuda::exp2_approx(scores.x[i] * to_log2 + shift.of[fragment_row(i)]);
    sum.of[fragment_row(i)] += scores.x[i];
  }
}

}  // namespace lolcats::hopper::forward_pass
