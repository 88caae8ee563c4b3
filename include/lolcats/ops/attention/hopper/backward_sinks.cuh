// What sinks before a window add to dq, dk and dv of an attention that has far keys, too.
#pragma once

#include <lolcats/ops/attention/hopper/backward_queries.cuh>
#include <lolcats/ops/attention/hopper/sinks.cuh>

namespace lolcats::hopper::tile_pass {

static_assert(tile_rows == sink_query_tile);

__device__ __forceinline__ SinkExtent sink_extent(const TileTable& table, int n) {
  return {table.rows[n], table.lengths[n], table.firsts[n]};
}

/// ds of the sinks outside of the windows of a tile of queries, what they add to dq, and the tile's parts of dk and dv; after
/// queries_kernel, whose statistics and dq it takes up.  Grid (tiles, H), 256 threads.
///
/// The largest score may be a sink's: then it receives phi.dphi here, unless the tile of the sinks is among the near ones, where
/// it has received it already.
template <int D, class W>
__global__ __launch_bounds__(256, 4) void sinks_kernel(const __grid_constant__ TileArguments<W> a, SinkShares s,
                                                       const bf16* dy, bf16* dq) {
  const TileTable::Tile tile = a.table.ordered(Side::keys, static_cast<int>(blockIdx.x));
  const int head = blockIdx.y;
  const SinkExtent e = sink_extent(a.table, tile.sequence);
  if (!detail::sees_sinks(a.window.window, e.length, tile.index)) return;
  const Index at = a.record(head, tile, tile.index);
  const QueryStatistics& rows = a.statistics[at];
  const bool apart = a.window.far(tile.index) > 0;
  detail::pull_sinks<D>(s, a.window.window, e, tile.index, head, dy, at,
                        [&](int r, int j, float score, float product, float& p, float& ds) {
                          p = exp2f(fmaf(score, score_exponent<D>, rows.shift[r]));
                          ds = p * (product - rows.delta[r]);
                          if (apart && rows.at[r] == j) ds += rows.far[r] / score_scale<D>;
                        });
  if (!dq) return;
  __syncthreads();
  constexpr int lanes = D / 8;
  for (int i = threadIdx.x; i < tile.valid() * lanes; i += 256) {
    const int r = i / lanes, lane = i % lanes;
    float sum[8] = {};
    detail::add_sinks_dq<D, W>(sum, s, e, head, at, r, 8 * lane);
    auto& out = reinterpret_cast<cuda::Pack<bf16>*>(
        dq + (static_cast<Index>(tile.first_row() + r) * a.query_heads + head) * D)[lane];
    cuda::Pack<bf16> words = out;
#pragma unroll
    for (int c = 0; c < 8; ++c) words.set(c, fmaf(score_scale<D>, sum[c], words[c]));
    out = words;
  }
}

}  // namespace lolcats::hopper::tile_pass
