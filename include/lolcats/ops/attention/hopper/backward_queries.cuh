// dq of one tile of queries, and the row statistics that the key side needs.
#pragma once

#include <lolcats/ops/attention/hopper/backward_rows.cuh>
#include <lolcats/ops/attention/hopper/backward_sinks.cuh>
#include <lolcats/ops/attention/hopper/tile_features.cuh>

namespace lolcats::hopper::tile_pass {

template <class Map, int D, class W>
struct QueriesShared {
  using Sizes = TileSizes<Map, D>;
  /// A small map stays; a large one comes anew for each tile, to where the second near pair goes later.
  static constexpr bool keeps_map = Sizes::weight_bytes <= 16384;
  alignas(1024) std::byte q[Sizes::tile_bytes];   // (64, D)
  alignas(1024) std::byte dy[Sizes::tile_bytes];  // (64, D)
  /// The state, then mixed pairs, then near pairs 0, 2, ...; the map if it is large, near pairs 1, 3, ..., then dq.
  alignas(1024) std::byte first[Sizes::pair_bytes];
  alignas(1024) std::byte second[std::max(Sizes::pair_bytes, Sizes::weight_bytes)];
  alignas(1024) std::byte map[keeps_map ? Sizes::weight_bytes : 1024];
  /// The state's, then what warps exchange of sinks.
  alignas(16) float normalizer[std::max(Sizes::F, sinks_of<W> > 0 ? exchanged_bytes / 4 : 0)];
  Barrier inputs_full, first_full, second_full, map_full;
};

/// Where the kernel puts dq (M, H * D); null if only the statistics are wanted.
struct QuerySink {
  bf16* dq = nullptr;
  bool add = false;
};
/// The same where the window has sinks.
struct QuerySinkBesideSinks : QuerySink {
  SinkSource source;
};
template <class W>
using QuerySinkFor = std::conditional_t<(sinks_of<W> > 0), QuerySinkBesideSinks, QuerySink>;

/// dq (64, D) of tiles of one head, one warpgroup per block, grid (H, parts); a block takes every `parts`-th tile:
///
///   far    dphi = (beta / den) (S dy - z delta), mixed keys pair by pair; dz = pullback; dq += dz W^T
///   near   ds = p (dy.v - delta) / den, at the largest score plus phi.dphi; dq += ds k / sqrt(D)
///
/// Slot `first` holds in turn the parts of the state, pairs of mixed tiles (phi_k, v) and near pairs (k, v) 0, 2, ...; slot
/// `second` a large map and near pairs 1, 3, ...  Thread 0 fetches what comes next into a slot as soon as all have read it, the
/// next tile's first contents included, to come while this tile is worked on.
template <class Map, int D, class W>
__global__ __launch_bounds__(group_threads, 2) void queries_kernel(const __grid_constant__ TileArguments<W> a,
                                                                   QuerySinkFor<W> sink) {
  using Sizes = TileSizes<Map, D>;
  using Shared = QueriesShared<Map, D, W>;
  constexpr int F = Sizes::F, f = Sizes::f;
  constexpr float scale = score_scale<D>;
  constexpr bool pure = WindowTiles<W>::pure;
  extern __shared__ __align__(1024) std::byte memory[];
  auto& shared = *reinterpret_cast<Shared*>(memory);
  std::byte* const map = Shared::keeps_map ? shared.map : shared.second;
  const int thread = threadIdx.x, warp = thread / 32;
  const int head = blockIdx.x, parts = gridDim.y;
  const int key_column = head / a.group() * D;
  const Index stride = static_cast<Index>(a.query_heads) * D;

  const auto tile_at = [&](int i) { return a.table.ordered(Side::queries, i); };
  const auto partners_at = [&](const TileTable::Tile& tile) {
    Partners p = partners_of<Side::queries>(a.window, tile, a.state.chunk);
    if (!sink.dq) p.near_end = p.near_begin;
    return p;
  };
  const auto load_inputs = [&](const TileTable::Tile& tile) {
    shared.inputs_full.arrive_expecting(2 * Sizes::tile_bytes);
    load_tile<tile_rows, D>(shared.q, a.q, tile.first_row(), head * D, shared.inputs_full);
    load_tile<tile_rows, D>(shared.dy, a.dy, tile.first_row(), head * D, shared.inputs_full);
  };
  const auto load_map = [&](Barrier& full) {
    full.arrive_expecting(Sizes::weight_bytes);
    load_tile<D, f>(map, a.query_map, head * D, 0, full);
  };
  const auto load_state = [&](const std::byte* states, const float* normalizers, Index record) {
    shared.first_full.arrive_expecting(Sizes::state_bytes + Sizes::normalizer_bytes);
    load_linear(shared.first, states + record * Sizes::state_bytes, Sizes::state_bytes, shared.first_full);
    load_linear(shared.normalizer, normalizers + record * F, Sizes::normalizer_bytes, shared.first_full);
  };
  const auto load_mixed = [&](const TileTable::Tile& tile, int j) {
    shared.first_full.arrive_expecting(Sizes::phi_bytes + Sizes::tile_bytes);
    load_linear(shared.first, a.state.features + a.record(head, tile, j) * Sizes::phi_bytes, Sizes::phi_bytes,
                shared.first_full);
    load_tile<tile_rows, D>(shared.first + Sizes::phi_bytes, a.v, tile.row + j * tile_rows, key_column,
                            shared.first_full);
  };
  const auto load_near = [&](const TileTable::Tile& tile, const Partners& p, int i) {
    const int j = p.near_begin + i;
    if (j >= p.near_end) return;
    std::byte* const slot = i % 2 ? shared.second : shared.first;
    Barrier& full = i % 2 ? shared.second_full : shared.first_full;
    full.arrive_expecting(2 * Sizes::tile_bytes);
    load_tile<tile_rows, D>(slot, a.k, tile.row + j * tile_rows, key_column, full);
    load_tile<tile_rows, D>(slot + Sizes::tile_bytes, a.v, tile.row + j * tile_rows, key_column, full);
  };
  // What a tile wants first in each slot.
  const auto load_first = [&](const TileTable::Tile& tile, const Partners& p) {
    if (p.folded > 0)
      load_state(a.state.states, a.state.normalizers, a.record(head, tile, p.folded));
    else if (p.far())
      load_mixed(tile, p.mixed_begin);
    else
      load_near(tile, p, 0);
  };
  const auto load_second = [&](const TileTable::Tile& tile, const Partners& p) {
    if (!Shared::keeps_map && p.far())
      load_map(shared.second_full);
    else
      load_near(tile, p, 1);
  };
  const auto load_next_first = [&](int i) {
    if (i + parts >= a.tiles()) return;
    const TileTable::Tile next = tile_at(i + parts);
    load_first(next, partners_at(next));
  };

  if (thread == 0) {
    shared.inputs_full.init(1);
    shared.first_full.init(1);
    shared.second_full.init(1);
    shared.map_full.init(1);
    barrier_init_fence();
    const TileTable::Tile tile = tile_at(blockIdx.y);
    const Partners p = partners_at(tile);
    load_inputs(tile);
    load_first(tile, p);
    load_second(tile, p);
    if (Shared::keeps_map) load_map(shared.map_full);
  }
  RowProducts<D> y;
  RawRows raw;
  const auto load_rows = [&](int i) {
    if (i >= a.tiles()) return;
    const TileTable::Tile tile = tile_at(i);
    y.load(a.y + static_cast<Index>(tile.first_row()) * stride + head * D, stride, tile.valid(), warp);
    raw.load(a, tile, head, warp);
  };
  load_rows(blockIdx.y);
  const float beta = a.beta(head), log2_gamma = a.log2_gamma(head);
  __syncthreads();
  if (Shared::keeps_map) shared.map_full.wait(0);

  int inputs_parity = 0, first_parity = 0, second_parity = 0;
#pragma unroll 1
  for (int i = blockIdx.y; i < a.tiles(); i += parts) {
    const TileTable::Tile tile = tile_at(i);
    const Partners p = partners_at(tile);
    shared.inputs_full.wait(inputs_parity);
    inputs_parity ^= 1;
    if (tile.valid() < tile_rows) {
      zero_tail<D>(shared.q, tile.valid(), thread);
      zero_tail<D>(shared.dy, tile.valid(), thread);
      __syncthreads();
    }
    const PerRow delta = y.dot(shared.dy, warp);
    const QueryRows rows(raw, a.window, tile, beta, log2_gamma, warp);
    auto dq = Fragment<D>::from([](int) { return 0.0F; });  // (64, D)
    PerRow far{};                                           // phi.dphi / sqrt(D)

    // Far keys in sums: a walk left S and z of the chunk up to this tile, and those of all chunks before in a prefix.
    if (p.far()) {
      Fragment<f> z;                                            // (64, f)
      auto dphi = Fragment<F>::from([](int) { return 0.0F; });  // (64, F)
      if (!Shared::keeps_map) {
        shared.second_full.wait(second_parity);
        second_parity ^= 1;
      }
      wgmma_fence();
      issue_projection<D>(z, shared.q, map);
      wgmma_commit();
#pragma unroll 1
      for (int part = 0; part < p.state_parts(); ++part) {
        shared.first_full.wait(first_parity);
        first_parity ^= 1;
        wgmma_fence();
        issue_product<D>(dphi, shared.dy, shared.first, true);
        wgmma_commit();
        wgmma_wait();
        pin(dphi.x);
        subtract_normalizer(dphi, delta, shared.normalizer);
        __syncthreads();
        if (thread == 0) {
          if (part + 1 < p.state_parts())
            load_state(a.state.prefixes, a.state.prefix_normalizers, a.prefix(head, tile, p.chunk));
          else if (p.mixed_begin < p.mixed_end)
            load_mixed(tile, p.mixed_begin);
          else if (p.near_begin < p.near_end)
            load_near(tile, p, 0);
          else
            load_next_first(i);
        }
      }
      wgmma_wait();
      pin(z.x);
      // Far keys pair by pair, in tiles that hold near ones, too.
#pragma unroll 1
      for (int j = p.mixed_begin; j < p.mixed_end; ++j) {
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
          if (j + 1 < p.mixed_end)
            load_mixed(tile, j + 1);
          else if (p.near_begin < p.near_end)
            load_near(tile, p, 0);
          else
            load_next_first(i);
        }
      }
      // Back through the map; phi.dphi, which the near part needs, falls out on the way.
      add_bias<Map>(z, a.query_bias, head);
      std::uint32_t dz[f / 4];
      pack(pull_features<Map>(z, dphi * rows.weight, &far), dz);
      far = {{far.of[0] * scale, far.of[1] * scale}};
      wgmma_fence();
#pragma unroll
      for (int s = 0; s < f / 16; ++s)
        wgmma<Contiguous::k>(dq.x, dz + 4 * s, columns_descriptor<D>(shared_address(map), s));
      wgmma_commit();
      wgmma_wait();
      pin(dq.x);
      if (!Shared::keeps_map) {
        __syncthreads();
        if (thread == 0) load_near(tile, p, 1);
      }
    }
    // The key side reads these of every query that sees its keys, and computes none of them again.
    rows.write(a.statistics[a.record(head, tile, tile.index)], delta, far, warp);

    if constexpr (sinks_of<W> > 0) {
      if ((sink.dq || sink.source.parts) && detail::sees_sinks<tile_rows>(a.window.window, tile.length, tile.index)) {
        // Room that nobody needs now: without near pairs the next tile's state may be on its way.
        void* const words = sink.dq ? static_cast<void*>(shared.normalizer) : static_cast<void*>(shared.second);
        pull_sinks<D, W>(dq, a, sink.source, tile, head, shared.q, shared.dy, rows, delta, far,
                         static_cast<std::uint32_t*>(words), warp);
      }
    }

    if constexpr (W::has_near) {
#pragma unroll 1
      for (int j = p.near_begin; j < p.near_end; ++j) {
        const int n = j - p.near_begin;
        std::byte* const keys = n % 2 ? shared.second : shared.first;
        std::byte* const values = keys + Sizes::tile_bytes;
        if (n % 2) {
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
        Fragment<tile_rows> s,
            g;  // (64, 64): scores, then weights / (den sqrt(D)); gradients of weights, then of scores
        wgmma_fence();
        issue_product<D>(s, shared.q, keys, false);
        issue_product<D>(g, shared.dy, values, false);
        wgmma_commit();
        wgmma_wait();
        pin(s.x);
        pin(g.x);
        if (j + 1 == p.near_end) {  // q and dy have been read for the last time
          __syncthreads();
          if (thread == 0 && i + parts < a.tiles()) load_inputs(tile_at(i + parts));
        }
        const int lane = lane_id();
        const float shift[2] = {rows.shift.of[0] + log2_score_scale<D>, rows.shift.of[1] + log2_score_scale<D>};
#pragma unroll
        for (int e = 0; e < s.size; ++e) s.x[e] = cuda::exp2_approx(fmaf(s.x[e], score_exponent<D>, shift[fragment_row(e)]));
        // Where windows start at the edges of tiles, only the diagonal tile holds keys that a query does not see.
        if (!pure || j == tile.index) {
#pragma unroll
          for (int e = 0; e < s.size; ++e) {
            const int r = fragment_row(e), key = j * tile_rows + fragment_column(e, lane);
            if (key < rows.begin[r] || key > tile.position() + fragment_row_in_tile(warp, r)) s.x[e] = 0;
          }
        }
#pragma unroll
        for (int e = 0; e < g.size; ++e) {
          const int r = fragment_row(e);
          const float ds = s.x[e] * (g.x[e] - delta.of[r]);
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
        if (thread == 0) {
          if (j + 2 < p.near_end)
            load_near(tile, p, n + 2);
          else if (n % 2 == 0)
            load_next_first(i);
        }
      }
    }

    load_rows(i + parts);  // not earlier: it would cost registers that there are not
    if (sink.dq) {
      std::uint32_t words[D / 4];
      pack(dq, words);
      store_tile<tile_rows, D>(shared.second, 0, words, warp);
      async_proxy_fence();
      __syncthreads();
      write_rows<D>(shared.second, sink.dq + static_cast<Index>(tile.first_row()) * stride + head * D, stride,
                    tile.valid(), sink.add, thread);
    }
    __syncthreads();
    if (thread == 0 && i + parts < a.tiles()) {
      const TileTable::Tile next = tile_at(i + parts);
      if (p.near_begin == p.near_end) load_inputs(next);
      if (!p.far() && p.near_begin == p.near_end) load_first(next, partners_at(next));
      load_second(next, partners_at(next));
    }
  }
}

}  // namespace lolcats::hopper::tile_pass
