// dq of one tile of queries, and the row statistics that the key side needs.
#pragma once

#include <lolcats/ops/attention/hopper/backward_far.cuh>

#include <numbers>

namespace lolcats::hopper {

/// What is known about the two queries of a tile that the calling thread's fragments hold.
template <int D>
struct QueryRows {
  int row[2];      // in the tile
  bool valid[2];   // of the sequence?
  int begin[2];    // the window's begin
  int at[2];       // the near key with the largest score
  PerRow inverse;  // 1 / den_n
  PerRow shift;    // p_nj / den_n = 2^(q.k log2(e) / sqrt(D) + shift)
  PerRow weight;   // beta / den_n

  template <class W>
  __device__ __forceinline__ void load(const BackwardArguments<W>& a, const TileTable::Tile& tile, int head, int warp) {
    const float beta = a.beta(head);
    const float log2_gamma = W::has_near ? __log2f(a.gamma(head)) : 0;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      row[r] = fragment_row_in_tile(warp, r);
      valid[r] = row[r] < tile.valid();
      begin[r] = valid[r] ? static_cast<int>(a.window.window.begin(tile.position() + row[r])) : 0;
      at[r] = -1;
      inverse.of[r] = 0;
      shift.of[r] = -INFINITY;
      if (valid[r]) {
        const Index n = static_cast<Index>(tile.first_row() + row[r]) * a.query_heads + head;
        inverse.of[r] = a.inverse_denominator[n];
        if constexpr (W::has_near) {
          at[r] = a.largest_at[n];
          shift.of[r] = log2_gamma + __log2f(inverse.of[r]) - a.largest[n] * std::numbers::log2e_v<float>;
        }
      }
      weight.of[r] = beta * inverse.of[r];
    }
  }
  /// One lane of those that hold a row writes for it; `far` is phi_q.dphi_q / sqrt(D).
  __device__ __forceinline__ void write(QueryStatistics& to, PerRow delta, PerRow far) const {
    if ((lane_id() & 3) != 0) return;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      to.weight[row[r]] = weight.of[r];
      to.delta[row[r]] = delta.of[r];
      to.shift[row[r]] = shift.of[r];
      to.far[row[r]] = far.of[r];
      to.at[row[r]] = at[r];
      to.begin[row[r]] = begin[r];
    }
  }
};

template <class Map, int D>
struct QueriesShared {
  using Sizes = BackwardSizes<Map, D>;
  alignas(1024) std::byte q[Sizes::tile_bytes];   // (64, D); dq at the end
  alignas(1024) std::byte dy[Sizes::tile_bytes];  // (64, D)
  /// The state, then mixed and near pairs; and the map, then near pairs.
  alignas(1024) std::byte first[Sizes::pair_bytes];
  alignas(1024) std::byte second[std::max(Sizes::pair_bytes, Sizes::weight_bytes)];
  alignas(16) float normalizer[Sizes::F];
  Barrier inputs_full, first_full, second_full;
};

/// Where the kernel puts dq (M, H * D); null if only the statistics are wanted.
struct QuerySink {
  bf16* dq = nullptr;
  bool add = false;
};

/// dq (64, D) of one tile and head, one warpgroup per block, grid (tiles, H):
///
///   far    dphi = (beta / den) (S dy - z delta), mixed keys pair by pair; dz = pullback; dq += dz W^T
///   near   ds = p (dy.v - delta) / den, at the largest score plus phi.dphi; dq += ds k / sqrt(D)
template <class Map, int D, class W>
__global__ __launch_bounds__(group_threads, 2) void queries_kernel(const __grid_constant__ BackwardArguments<W> a, QuerySink sink) {
  using Sizes = BackwardSizes<Map, D>;
  constexpr int F = Sizes::F, f = Sizes::f;
  constexpr float scale = D == 128 ? 0.08838834764831845F : 0.125F;
  constexpr bool pure = WindowTiles<W>::pure;
  extern __shared__ __align__(1024) std::byte memory[];
  auto& shared = *reinterpret_cast<QueriesShared<Map, D>*>(memory);
  const int thread = threadIdx.x, warp = thread / 32;
  const int head = blockIdx.y;
  const TileTable::Tile tile = a.table.tile(blockIdx.x);
  const int key_column = head / a.group() * D;

  const int folded = a.window.far(tile.index);
  const int mixed_end = a.window.mixed_end(tile.index);
  const bool far_wanted = folded > 0 || folded < mixed_end;
  const int near_count = W::has_near && sink.dq ? tile.index + 1 - folded : 0;  // key tiles folded ... tile.index
  const int chunk = folded > 0 ? (folded - 1) / a.state.chunk : 0;

  const auto load_pair = [&](std::byte* slot, Barrier& full, int j, bool mixed) {
    const int row = tile.row + j * tile_rows;
    std::byte* values = slot + (mixed ? Sizes::phi_bytes : Sizes::tile_bytes);
    full.arrive_expecting(Sizes::tile_bytes + (mixed ? Sizes::phi_bytes : Sizes::tile_bytes));
    if (mixed) {
      const Index record = static_cast<Index>(head) * a.tiles() + tile.first + j;
      load_linear(slot, a.state.features + record * Sizes::phi_bytes, Sizes::phi_bytes, full);
    } else {
      load_tile<tile_rows, D>(slot, a.k, row, key_column, full);
    }
    load_tile<tile_rows, D>(values, a.v, row, key_column, full);
  };
  const auto load_state = [&](const std::byte* states, const float* normalizers, Index record) {
    shared.first_full.arrive_expecting(Sizes::state_bytes + Sizes::normalizer_bytes);
    load_linear(shared.first, states + record * Sizes::state_bytes, Sizes::state_bytes, shared.first_full);
    load_linear(shared.normalizer, normalizers + record * F, Sizes::normalizer_bytes, shared.first_full);
  };
  // Near pairs alternate between the slots.
  const auto load_near = [&](int i) {
    if (i >= near_count) return;
    load_pair(i % 2 ? shared.second : shared.first, i % 2 ? shared.second_full : shared.first_full, folded + i, false);
  };
  if (thread == 0) {
    shared.inputs_full.init(1);
    shared.first_full.init(1);
    shared.second_full.init(1);
    barrier_init_fence();
    shared.inputs_full.arrive_expecting(2 * Sizes::tile_bytes);
    load_tile<tile_rows, D>(shared.q, a.q, tile.first_row(), head * D, shared.inputs_full);
    load_tile<tile_rows, D>(shared.dy, a.dy, tile.first_row(), head * D, shared.inputs_full);
    if (far_wanted) {
      shared.second_full.arrive_expecting(Sizes::weight_bytes);
      load_tile<D, f>(shared.second, a.query_map, head * D, 0, shared.second_full);
      if (folded > 0) {
        load_state(a.state.states, a.state.normalizers, static_cast<Index>(head) * a.tiles() + tile.first + folded);
      } else {
        load_pair(shared.first, shared.first_full, 0, true);
      }
    } else {
      load_near(0);
      load_near(1);
    }
  }
  const Index y_at = (static_cast<Index>(tile.first_row()) * a.query_heads + head) * D;
  RowProducts<D> y;
  y.load(a.y + y_at, static_cast<Index>(a.query_heads) * D, tile.valid(), warp);
  QueryRows<D> rows;
  rows.load(a, tile, head, warp);
  __syncthreads();

  int first_parity = 0, second_parity = 0;
  shared.inputs_full.wait(0);
  if (tile.valid() < tile_rows) {
    zero_tail<D>(shared.q, tile.valid(), thread);
    zero_tail<D>(shared.dy, tile.valid(), thread);
    __syncthreads();
  }
  const PerRow delta = y.dot(shared.dy, warp);
  auto dq = Fragment<D>::from([](int) { return 0.0F; });  // (64, D)
  PerRow far{};                                           // phi.dphi / sqrt(D)

  if (far_wanted) {
    Fragment<f> z;                                            // (64, f)
    auto dphi = Fragment<F>::from([](int) { return 0.0F; });  // (64, F)
    shared.second_full.wait(0);
    second_parity = 1;
    wgmma_fence();
    issue_projection<D>(z, shared.q, shared.second);
    wgmma_commit();
    if (folded > 0) {
      // The chunk's own part of the state, then what the chunks before it have left.
#pragma unroll 1
      for (int part = chunk > 0 ? 0 : 1; part < 2; ++part) {
        shared.first_full.wait(first_parity);
        first_parity ^= 1;
        wgmma_fence();
        issue_product<D>(dphi, shared.dy, shared.first, true);
        wgmma_commit();
        wgmma_wait();
        pin(dphi.x);
        subtract_normalizer(dphi, delta, shared.normalizer);
        __syncthreads();
        if (thread == 0 && part == 0) {
          load_state(a.state.prefixes, a.state.prefix_normalizers,
                     (static_cast<Index>(head) * a.table.count + tile.sequence) * a.state.chunks + chunk);
        }
      }
      if (thread == 0) {
        if (folded < mixed_end) load_pair(shared.first, shared.first_full, folded, true);
        else load_near(0);
      }
    }
    wgmma_wait();
    pin(z.x);
#pragma unroll 1
    for (int j = folded; j < mixed_end; ++j) {
      std::byte* const values = shared.first + Sizes::phi_bytes;
      shared.first_full.wait(first_parity);
      first_parity ^= 1;
      if (j == tile.index && tile.valid() < tile_rows) {
        zero_tail<D>(values, tile.valid(), thread);
        __syncthreads();
      }
      Fragment<tile_rows> g;  // (64, 64)
      wgmma_fence();
      issue_product<D>(g, shared.dy, values, false);
      wgmma_commit();
      wgmma_wait();
      pin(g.x);
      const int begin[2] = {rows.begin[0] - j * tile_rows, rows.begin[1] - j * tile_rows};
      mask_far_of_queries(g, delta, begin);
      std::uint32_t words[tile_rows / 4];
      pack(g, words);
      wgmma_fence();
      issue_row_product<tile_rows>(dphi, words, shared.first);
      wgmma_commit();
      wgmma_wait();
      pin(dphi.x);
      __syncthreads();
      if (thread == 0) {
        if (j + 1 < mixed_end) load_pair(shared.first, shared.first_full, j + 1, true);
        else load_near(0);
      }
    }
    add_bias<Map>(z, a.query_bias, head);
    std::uint32_t dz[f / 4];
    pack(pull_features<Map>(z, dphi * rows.weight, &far), dz);
    far = {{far.of[0] * scale, far.of[1] * scale}};
    wgmma_fence();
#pragma unroll
    for (int s = 0; s < f / 16; ++s) wgmma<Contiguous::k>(dq.x, dz + 4 * s, columns_descriptor<D>(shared_address(shared.second), s));
    wgmma_commit();
    wgmma_wait();
    pin(dq.x);
    __syncthreads();
    if (thread == 0) load_near(1);
  }
  rows.write(a.statistics[head * a.tiles() + tile.number()], delta, far);
  if (!sink.dq) return;

  if constexpr (W::has_near) {
    constexpr float to_exponent = scale * std::numbers::log2e_v<float>;
#pragma unroll 1
    for (int i = 0; i < near_count; ++i) {
      const int j = folded + i;
      std::byte* const keys = i % 2 ? shared.second : shared.first;
      std::byte* const values = keys + Sizes::tile_bytes;
      if (i % 2) {
        shared.second_full.wait(second_parity);
        second_parity ^= 1;
      } else {
        shared.first_full.wait(first_parity);
        first_parity ^= 1;
      }
      if (j == tile.index && tile.valid() < tile_rows) {
        zero_tail<D>(keys, tile.valid(), thread);
        zero_tail<D>(values, tile.valid(), thread);
        __syncthreads();
      }
      Fragment<tile_rows> p, g;  // (64, 64): weights / den, their gradients
      wgmma_fence();
      issue_product<D>(p, shared.q, keys, false);
      issue_product<D>(g, shared.dy, values, false);
      wgmma_commit();
      wgmma_wait();
      pin(p.x);
      pin(g.x);
      const int lane = lane_id();
#pragma unroll
      for (int e = 0; e < p.size; ++e) p.x[e] = exp2_fast(fmaf(p.x[e], to_exponent, rows.shift.of[fragment_row(e)]));
      if (!pure || j == tile.index) {
#pragma unroll
        for (int e = 0; e < p.size; ++e) {
          const int r = fragment_row(e), key = j * tile_rows + fragment_column(e, lane);
          if (key < rows.begin[r] || key > tile.position() + rows.row[r]) p.x[e] = 0;
        }
      }
#pragma unroll
      for (int e = 0; e < g.size; ++e) {
        const int r = fragment_row(e);
        const float ds = p.x[e] * scale * (g.x[e] - delta.of[r]);
        g.x[e] = j * tile_rows + fragment_column(e, lane) == rows.at[r] ? ds + far.of[r] : ds;
      }
      std::uint32_t words[tile_rows / 4];
      pack(g, words);
      wgmma_fence();
      issue_row_product<tile_rows>(dq, words, keys);
      wgmma_commit();
      wgmma_wait();
      pin(dq.x);
      __syncthreads();
      if (thread == 0) load_near(i + 2);
    }
  }

  std::uint32_t words[D / 4];
  pack(dq, words);
  __syncthreads();
  store_tile<tile_rows, D>(shared.q, 0, words, warp);
  __syncthreads();
  write_rows<D>(shared.q, sink.dq + y_at, static_cast<Index>(a.query_heads) * D, tile.valid(), sink.add, thread);
}

}  // namespace lolcats::hopper
