// The gradient of gamma: from far keys where near ones weigh enough, from both where far keys have nearly all the weight.
#pragma once

#include <lolcats/ops/attention/hopper/backward_rows.cuh>
#include <lolcats/ops/attention/hopper/tile_features.cuh>

namespace lolcats::hopper::tile_pass {

/// The near part of a tile is computed where gamma / den_n, the weight of the largest near key, times the root of the number
/// of far keys is below this for some row: y averages over the far keys, so its rounding shrinks with that root.  Elsewhere
/// the far part alone is within 1%.
inline constexpr float slight_weight = 1.0F / 24;

template <int D>
struct FactorsShared {
  static constexpr int tile_bytes = tile_rows * D * 2;
  alignas(1024) std::byte q[tile_bytes];   // (64, D)
  alignas(1024) std::byte dy[tile_bytes];  // (64, D)
  alignas(1024) std::byte k[tile_bytes];   // (64, D), of one near tile
  alignas(1024) std::byte v[tile_bytes];   // (64, D)
  float sums[group_threads / 32];
  Barrier rows_full, pair_full;
};

/// The sum of gamma dL/dgamma over each tile of queries.
struct FactorSums {
  float* sums = nullptr;           // (H, tiles)
  std::uint8_t* slight = nullptr;  // (H, tiles): is the near part needed?
};

/// Which tiles need the near part, and the sums of those that do not; a warp per tile, grid (tiles / 4, H).
template <int D, class W>
__global__ __launch_bounds__(group_threads) void sort_tiles_kernel(const __grid_constant__ TileArguments<W> a,
                                                                   FactorSums to) {
  const int i = static_cast<int>(blockIdx.x) * (group_threads / 32) + static_cast<int>(threadIdx.x) / 32;
  const int head = blockIdx.y, lane = lane_id();
  if (i >= a.tiles()) return;
  const TileTable::Tile tile = a.table.ordered(Side::queries, i);
  const float gamma = a.gamma(head);
  float sum = 0;
  bool slight = false;
  if (partners_of<Side::queries>(a.window, tile, 1).far()) {  // else phi_q.dphi_q is zero
    const QueryStatistics& statistics = a.statistics[a.record(head, tile, tile.index)];
#pragma unroll
    for (int row = lane; row < tile_rows; row += 32) {
      if (row >= tile.valid() || statistics.begin[row] == 0) continue;  // without far keys there is nothing to know
      const float inverse = a.inverse_denominator[static_cast<Index>(tile.first_row() + row) * a.query_heads + head];
      sum -= statistics.far[row] / score_scale<D>;
      slight |= gamma * inverse * sqrtf(static_cast<float>(statistics.begin[row])) < slight_weight;
    }
  }
  slight = __any_sync(~0U, slight);
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0U, sum, offset);
  if (lane != 0) return;
  const Index at = static_cast<Index>(head) * a.tiles() + i;
  to.sums[at] = sum;
  to.slight[at] = slight;
}

/// The tile's sum of gamma dL/dgamma = sum_n sum_j p_nj g_nj over near j, g_nj = (dy_n.v_j - delta_n) / den_n, for the tiles
/// that need them.  One warpgroup per block; tiles of all heads are dealt out in turn, as those of a head whose gamma is small
/// may all be slight.
///
/// The weights of a row sum to one, so the sum over near j is minus phi_q.dphi_q, which is known.  But delta_n = dy_n.y_n
/// takes y as it was rounded: if it is off by e, and near keys weigh N in all, the near sum is off by -e N and phi_q.dphi_q
/// by -e (1 - N), which may be more than there is.  Hence (1 - N) near - N phi_q.dphi_q, which is free of e.
template <int D, class W>
__global__ __launch_bounds__(group_threads, 3) void factors_kernel(const __grid_constant__ TileArguments<W> a,
                                                                   FactorSums to) {
  using Shared = FactorsShared<D>;
  extern __shared__ __align__(1024) std::byte memory[];
  auto& shared = *reinterpret_cast<Shared*>(memory);
  const int thread = threadIdx.x, warp = thread / 32, lane = lane_id();
  const int all = a.query_heads * a.tiles(), block = blockIdx.x, blocks = gridDim.x;

  const auto load_pair = [&](const TileTable::Tile& tile, int key_column, int j) {
    shared.pair_full.arrive_expecting(2 * Shared::tile_bytes);
    load_tile<tile_rows, D>(shared.k, a.k, tile.row + j * tile_rows, key_column, shared.pair_full);
    load_tile<tile_rows, D>(shared.v, a.v, tile.row + j * tile_rows, key_column, shared.pair_full);
  };
  if (thread == 0) {
    shared.rows_full.init(1);
    shared.pair_full.init(1);
    barrier_init_fence();
  }
  __syncthreads();

  int rows_parity = 0, pair_parity = 0;
  // All warps look at 32 tiles at once and take those that are slight.
  std::uint32_t slight = 0;
  int seen = 0;  // tiles of this block
#pragma unroll 1
  while (true) {
    while (slight == 0 && block + seen * blocks < all) {
      const int own = block + (seen + lane) * blocks;
      slight = __ballot_sync(~0U, own < all && to.slight[own] != 0);
      seen += 32;
    }
    if (slight == 0) break;
    const int at = block + (seen - 32 + __ffs(static_cast<int>(slight)) - 1) * blocks;
    slight &= slight - 1;
    const int head = at / a.tiles(), key_column = head / a.group() * D;
    const TileTable::Tile tile = a.table.ordered(Side::queries, at % a.tiles());
    const Partners partners = partners_of<Side::queries>(a.window, tile, 1);
    const QueryStatistics& statistics = a.statistics[a.record(head, tile, tile.index)];
    PerRow far{}, near{}, weight{};
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = fragment_row_in_tile(warp, r);
      if (row < tile.valid() && statistics.begin[row] != 0) far.of[r] = statistics.far[row] / score_scale<D>;
    }
    if (thread == 0) {
      shared.rows_full.arrive_expecting(2 * Shared::tile_bytes);
      load_tile<tile_rows, D>(shared.q, a.q, tile.first_row(), head * D, shared.rows_full);
      load_tile<tile_rows, D>(shared.dy, a.dy, tile.first_row(), head * D, shared.rows_full);
      load_pair(tile, key_column, partners.template near_or_sinks<W>(0));
    }
    float shift[2], delta[2];
    int begin[2], end[2];  // of the keys that are near
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = fragment_row_in_tile(warp, r);
      shift[r] = statistics.shift[row];
      delta[r] = statistics.delta[row];
      begin[r] = statistics.begin[row];
      end[r] = row < tile.valid() ? tile.position() + row + 1 : 0;
    }
    shared.rows_full.wait(rows_parity);
    rows_parity ^= 1;
#pragma unroll 1
    for (int i = 0; i < partners.template near_and_sinks<W>(); ++i) {
      const int j = partners.template near_or_sinks<W>(i);
      Fragment<tile_rows> s, g;  // (64, 64): scores, dy v^T
      shared.pair_full.wait(pair_parity);
      pair_parity ^= 1;
      wgmma_fence();
      issue_product<D>(s, shared.q, shared.k, false);
      issue_product<D>(g, shared.dy, shared.v, false);
      wgmma_commit();
      wgmma_wait();
      pin(s.x);
      pin(g.x);
      __syncthreads();  // the pair has been read, and q and dy, too, if it was the last
      if (thread == 0 && i + 1 < partners.template near_and_sinks<W>())
        load_pair(tile, key_column, partners.template near_or_sinks<W>(i + 1));
#pragma unroll
      for (int e = 0; e < s.size; ++e) {
        const int r = fragment_row(e), key = j * tile_rows + fragment_column(e, lane);
        // Chosen, not multiplied: behind a sequence there may be NaN.
        const bool is_near = (key >= begin[r] || key < sinks_of<W>) && key < end[r];
        const float p = is_near ? cuda::exp2_approx(fmaf(s.x[e], score_exponent<D>, shift[r])) : 0.0F;
        const float d = is_near ? g.x[e] - delta[r] : 0.0F;
        weight.of[r] += p;
        near.of[r] = fmaf(p, d, near.of[r]);
      }
    }
    float sum = 0;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float n = quad_sum(weight.of[r]), near_sum = quad_sum(near.of[r]);
      if ((lane & 3) == 0) sum += (1 - n) * near_sum - n * far.of[r];
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0U, sum, offset);
    if (lane == 0) shared.sums[warp] = sum;
    __syncthreads();
    if (thread == 0) to.sums[at] = shared.sums[0] + shared.sums[1] + shared.sums[2] + shared.sums[3];
  }
}

/// gradient (H) += the sum of gamma dL/dgamma, times 1 - gamma, gamma (1 - gamma) being the sigmoid's slope; where affine,
/// beta's share makes it the sum itself.  A warp per head.
template <class W>
__global__ void add_factor_kernel(const __grid_constant__ TileArguments<W> a, const float* sums, float* gradient) {
  const int head = blockIdx.x;
  const float sum = sum_of_warp(sums + static_cast<Index>(head) * a.tiles(), a.tiles());
  if (threadIdx.x == 0) gradient[head] += a.affine ? sum : sum * (1 - a.gamma(head));
}

}  // namespace lolcats::hopper::tile_pass
