// What sinks before a window add to dq, dk and dv of an attention that has far keys, too: a part of queries_kernel, which has a
// tile of queries and what must be known about them at hand.
#pragma once

#include <lolcats/ops/attention/hopper/backward_rows.cuh>
#include <lolcats/ops/attention/hopper/sink_rows.cuh>
#include <lolcats/ops/attention/hopper/sinks.cuh>

namespace lolcats::hopper::tile_pass {

__device__ __forceinline__ SinkExtent sink_extent(const TileTable& table, int n) {
  return {table.rows[n], table.lengths[n], table.firsts[n]};
}

/// Sinks of one round, whose weights of a tile of queries warps exchange: more would not fit beside the tiles, twice on a
/// multiprocessor.
inline constexpr int sinks_per_round = 4;
inline constexpr int exchanged_bytes = tile_rows * sinks_per_round * 2;

/// Where queries_kernel finds sinks and puts their parts of dk and dv.
struct SinkSource {
  const bf16 *k = nullptr, *v = nullptr;  // (M, G * D)
  float* parts = nullptr;                 // (H, tiles, 2, sinks, D): of dk and dv; null if nobody wants them
};

/// parts (sinks, D) = weights^T (sinks, 64) rows (64, D), for one round of sinks from `first` on.  `weights` are this warp's 16 rows
/// of them; all warps call it, and nobody uses the memory at `words` meanwhile.
template <int D, int Sinks>
__device__ __forceinline__ void sum_over_rows(float* parts, int first, const std::byte* rows,
                                              const std::uint32_t (&weights)[2], std::uint32_t* words, int warp) {
  const int lane = lane_id(), sink = lane / 4, pair = lane & 3;
  const std::uint32_t above = transposed(weights[0]), below = transposed(weights[1]);  // (sink, two rows)
  if (sink < sinks_per_round) {
    words[(8 * warp + pair) * sinks_per_round + sink] = above;
    words[(8 * warp + 4 + pair) * sinks_per_round + sink] = below;
  }
  async_proxy_fence();  // the copy engine comes next
  __syncthreads();
  const std::uint32_t tile = shared_address(rows);
#pragma unroll
  for (int m = 0; m < D / 64; ++m) {  // each warp has D / 4 columns, 16 at a time: (columns, sinks) = rows^T weights
    const int column = warp * (D / 4) + 16 * m;
    float sum[4] = {};
#pragma unroll
    for (int r = 0; r < tile_rows; r += 16) {
      const int chunk = column / 8 + lane / 8 % 2;
      std::uint32_t a[4], b[2] = {};
      load_matrices_transposed(tile + static_cast<std::uint32_t>(chunk / 8 * tile_rows * panel_row_bytes) +
                                   swizzled(r + 8 * (lane / 16) + lane % 8, chunk % 8),
                               a[0], a[1], a[2], a[3]);
      if (sink < sinks_per_round) {
        b[0] = words[(r / 2 + pair) * sinks_per_round + sink];
        b[1] = words[(r / 2 + 4 + pair) * sinks_per_round + sink];
      }
      mma(sum, a, b[0], b[1]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int j = first + 2 * pair + i % 2;
      if (2 * pair < sinks_per_round && j < Sinks) parts[j * D + column + sink + 8 * (i / 2)] = sum[i];
    }
  }
  __syncthreads();
}

/// Sinks outside of the windows of a tile of queries, q and dy (64, D) at hand: adds to its dq, and writes its parts of dk and dv.
///
/// The largest score may be a sink's: then it receives `far`, phi.dphi / sqrt(D), here, unless the tile of the sinks is among the near
/// ones, where it receives it.  `words` are exchanged_bytes.
template <int D, class W>
__device__ __forceinline__ void pull_sinks(Fragment<D>& dq, const TileArguments<W>& a, const SinkSource& source,
                                           const TileTable::Tile& tile, int head, const std::byte* q,
                                           const std::byte* dy, const QueryRows& rows, const PerRow& delta,
                                           const PerRow& far, std::uint32_t* words, int warp) {
  constexpr int sinks = static_cast<int>(sinks_of<W>);
  const int stride = a.key_heads * D, row = fragment_row_in_tile(warp, 0);
  const Index at = static_cast<Index>(tile.row) * stride + head / a.group() * D;
  const bool apart = a.window.far(tile.index) > 0;
  float* const parts = source.parts ? source.parts + a.record(head, tile, tile.index) * (2 * sinks * D) : nullptr;
#pragma unroll 1
  for (int first = 0; first < ::min(sinks, tile.length); first += sinks_per_round) {
    const int counted = ::min(sinks_per_round, ::min(sinks, tile.length) - first);
    const SinkRows<D> keys{source.k + at + first * stride, stride, counted},
        values{source.v + at + first * stride, stride, counted};
    Fragment<8> s, g;  // (64, 8): scores, then weights / den; gradients of weights, then of scores
    keys.multiply(s, shared_address(q), row);
    values.multiply(g, shared_address(dy), row);
    const int lane = lane_id();
#pragma unroll
    for (int e = 0; e < s.size; ++e) {
      const int r = fragment_row(e), column = fragment_column(e, lane), sink = first + column;
      const bool seen = column < counted && sink < rows.begin[r];
      s.x[e] = seen ? cuda::exp2_approx(fmaf(s.x[e], score_exponent<D>, rows.shift.of[r])) : 0.0F;
      g.x[e] = seen ? score_scale<D> * s.x[e] * (g.x[e] - delta.of[r]) : 0.0F;
      if (seen && apart && sink == rows.at[r]) g.x[e] += far.of[r];
    }
    std::uint32_t p[2], ds[2];
    pack(s, p);
    pack(g, ds);
    std::uint32_t pairs[D / 8];
    keys.fetch(pairs);
    keys.mix(dq.x, ds, pairs);
    if (parts) {
      sum_over_rows<D, sinks>(parts, first, q, ds, words, warp);
      sum_over_rows<D, sinks>(parts + sinks * D, first, dy, p, words, warp);
    }
  }
}

}  // namespace lolcats::hopper::tile_pass
