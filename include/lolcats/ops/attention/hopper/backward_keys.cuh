// dk and dv of one tile of keys, summed over the query heads of its group in registers.
#pragma once

#include <lolcats/ops/attention/hopper/backward_keys_fetch.cuh>
#include <lolcats/ops/attention/hopper/tile_features.cuh>

namespace lolcats::hopper::tile_pass {

/// Where the kernel puts dk and dv (M, G * D); null if unwanted.
struct KeySinks {
  bf16 *dk = nullptr, *dv = nullptr;
  bool add_k = false, add_v = false;
};

/// Where one of the two warpgroups that consume what `fetch_for_keys` brings stands in it.
template <class Map, int D>
struct KeysPosition {
  RingPosition<2> inputs;
  RingPosition<1> weight, state, ds;
  RingPosition<KeysShared<Map, D>::stages> pair;
};

/// dk or dv (64, D) of a tile.  The far part of dk costs more than that of dv, so the warpgroup of dv computes the
/// gradients of the scores of each head's first near pair for both.
template <bool Values, class Map, int D, class W>
__device__ __forceinline__ void pull_keys(const TileArguments<W>& a, KeysShared<Map, D>& shared,
                                          const TileTable::Tile& tile, int key_head, KeysPosition<Map, D>& at,
                                          Fragment<D>& sum) {
  using Sizes = TileSizes<Map, D>;
  constexpr int F = Sizes::F, f = Sizes::f;
  constexpr bool pure = WindowTiles<W>::pure;
  const int thread = threadIdx.x % group_threads, warp = thread / 32;
  const Partners partners = partners_of<Side::keys>(a.window, tile, a.state.chunk);

  // Every warp releases a slot once its own products have read it; where threads read numbers themselves (statistics,
  // normalizers), every thread does, so that its reads come before what is written next.
  const auto release = [](Barrier& empty) {
    __syncwarp();
    if (lane_id() == 0) empty.arrive();
  };
  const auto release_pair = [&] {
    shared.pair_empty[at.pair.stage].arrive();
    at.pair.advance();
  };
  // Waits for the next pair; rows past the end of the sequence become zero.
  const auto wait_for_pair = [&](int t, bool mixed) {
    at.pair.wait_full(shared.pair_full);
    const int valid = tile.length - t * tile_rows;
    if (valid < tile_rows) {
      std::byte* const slot = shared.pair[at.pair.stage];
      if (Values)
        zero_tail<D>(slot + (mixed ? Sizes::phi_bytes : Sizes::tile_bytes), valid, thread);
      else if (!mixed)
        zero_tail<D>(slot, valid, thread);
      named_barrier(1, 2 * group_threads);
    }
    return shared.pair[at.pair.stage];
  };
  const auto wait_for_state = [&] {
    at.state.wait_full(&shared.state_full);
    at.state.advance();
  };

  at.inputs.wait_full(shared.inputs_full);
  auto& inputs = shared.inputs[at.inputs.stage];
  if (tile.valid() < tile_rows) {
    zero_tail<D>(Values ? inputs.v : inputs.k, tile.valid(), thread);
    named_barrier(1, 2 * group_threads);
  }
#pragma unroll 1
  for (int head = key_head * a.group(); head < (key_head + 1) * a.group(); ++head) {
    if (partners.far()) {
      Fragment<f> z;  // (64, f)
      const auto project = [&] {
        wgmma_fence();
        issue_projection<D>(z, inputs.k, shared.weight);
        wgmma_commit();
      };
      at.weight.wait_full(&shared.weight_full);
      at.weight.advance();
      if constexpr (Values) {
        std::uint32_t phi[F / 4];
        project();
        wgmma_wait();
        pin(z.x);
        release(shared.weight_empty);
        add_bias<Map>(z, a.key_bias, a.key_map_head(head));
        pack_features<Map>(z, phi);  // dv += R^T phi: R of the tiles behind, then the mixed tiles' own pairs
        drop_sinks<W>(phi, tile, warp);
#pragma unroll 1
        for (int part = 0; part < partners.state_parts(); ++part) {
          wait_for_state();
          wgmma_fence();
          issue_row_product<F>(sum, phi, shared.state);
          wgmma_commit();
          wgmma_wait();
          pin(sum.x);
          shared.state_empty.arrive();
        }
#pragma unroll 1
        for (int t = partners.mixed_begin; t < partners.mixed_end; ++t) {
          const std::byte* const features = wait_for_pair(t, true);
          const QueryStatistics& queries = shared.statistics[at.pair.stage];
          Fragment<tile_rows> p;  // (64, 64), far weights / den
          wgmma_fence();
#pragma unroll
          for (int s = 0; s < F / 16; ++s) {
            wgmma<Contiguous::k>(p.x, phi + 4 * s, columns_descriptor<tile_rows>(shared_address(features), s), s > 0);
          }
          wgmma_commit();
          wgmma_wait();
          pin(p.x);
#pragma unroll
          for (int e = 0; e < p.size; ++e) {
            const int key = tile.position() + fragment_row_in_tile(warp, fragment_row(e));
            if (key >= queries.begin[fragment_column(e, lane_id())]) p.x[e] = 0;
          }
          std::uint32_t words[tile_rows / 4];
          pack(p, words);
          wgmma_fence();
          issue_row_product<tile_rows>(sum, words, features + Sizes::phi_bytes);
          wgmma_commit();
          wgmma_wait();
          pin(sum.x);
          release_pair();
        }
      } else {
        // dphi = R v - r, and dz = pullback(z, dphi) goes through the map only once, at the end.
        constexpr bool early = f == 64;                           // there are registers for z beside dphi and scores
        auto dphi = Fragment<F>::from([](int) { return 0.0F; });  // (64, F)
        if (early) project();
#pragma unroll 1
        for (int part = 0; part < partners.state_parts(); ++part) {
          wait_for_state();
          wgmma_fence();
          issue_product<D>(dphi, inputs.v, shared.state, true);
          wgmma_commit();
          wgmma_wait();
          pin(dphi.x);
          subtract_normalizer(dphi, PerRow{{1, 1}}, shared.normalizer);
          shared.state_empty.arrive();
        }
        if (early) {
          wgmma_wait();
          pin(z.x);
        }
#pragma unroll 1
        for (int t = partners.mixed_begin; t < partners.mixed_end; ++t) {
          const std::byte* const features = wait_for_pair(t, true);
          Fragment<tile_rows> g;  // (64, 64), keys by queries: v . dy - delta where far, else 0; 1 / den is in phi_q
          wgmma_fence();
          issue_product<D>(g, inputs.v, features + Sizes::phi_bytes, false);
          wgmma_commit();
          wgmma_wait();
          pin(g.x);
          const int key[2] = {tile.position() + fragment_row_in_tile(warp, 0),
                              tile.position() + fragment_row_in_tile(warp, 1)};
          mask_far_of_keys(g, shared.statistics[at.pair.stage], key);
          std::uint32_t words[tile_rows / 4];
          pack(g, words);
          wgmma_fence();
          issue_row_product<tile_rows>(dphi, words, features);
          wgmma_commit();
          wgmma_wait();
          pin(dphi.x);
          release_pair();
        }
        if (!early) {
          project();
          wgmma_wait();
          pin(z.x);
        }
        add_bias<Map>(z, a.key_bias, a.key_map_head(head));
        drop_sinks<W>(dphi, tile, warp);
        std::uint32_t dz[f / 4];
        pack(pull_features<Map>(z, dphi, nullptr), dz);
        wgmma_fence();
#pragma unroll
        for (int s = 0; s < f / 16; ++s) {
          wgmma<Contiguous::k>(sum.x, dz + 4 * s, columns_descriptor<D>(shared_address(shared.weight), s));
        }
        wgmma_commit();
        wgmma_wait();
        pin(sum.x);
        release(shared.weight_empty);
      }
    }

    // Near queries.  Of the first tile the group of dv, which has no map to go through, computes ds as well and hands it over.
#pragma unroll 1
    for (int t = partners.near_begin; t < partners.near_end; ++t) {
      const std::byte* const q = wait_for_pair(t, false);
      const std::byte* const dy = q + Sizes::tile_bytes;
      const QueryStatistics& queries = shared.statistics[at.pair.stage];
      const bool handed_over = t == partners.near_begin;
      if (!Values && handed_over) {
        at.ds.wait_full(&shared.ds_full);
        wgmma_fence();
#pragma unroll
        for (int s = 0; s < tile_rows / 16; ++s) {
          wgmma<Contiguous::k, Contiguous::mn>(sum.x, columns_descriptor<tile_rows>(shared_address(shared.ds), s),
                                               rows_descriptor<tile_rows>(shared_address(q), s));
        }
        wgmma_commit();
        wgmma_wait();
        pin(sum.x);
        release(shared.ds_empty);
        at.ds.advance();
        release_pair();
        continue;
      }
      Fragment<tile_rows> p, g;  // (64, 64), keys by queries: near weights / den, and their gradients, then the scores'
      wgmma_fence();
      issue_product<D>(p, inputs.k, q, false);
      issue_product<D>(g, inputs.v, dy, false);  // not always needed; a condition here would serialise the products
      wgmma_commit();
      wgmma_wait();
      pin(p.x);
      pin(g.x);
      const int lane = lane_id();
      const bool masked = !pure || t == tile.index;
#pragma unroll
      for (int j = 0; j < tile_rows / 8; ++j) {
        const int column = 8 * j + 2 * (lane & 3);
        const float2 shift = *reinterpret_cast<const float2*>(queries.shift + column);
#pragma unroll
        for (int e = 4 * j; e < 4 * j + 4; ++e)
          p.x[e] = cuda::exp2_approx(fmaf(p.x[e], score_exponent<D>, e & 1 ? shift.y : shift.x));
        if (masked) {
          const int2 begin = *reinterpret_cast<const int2*>(queries.begin + column);
#pragma unroll
          for (int e = 4 * j; e < 4 * j + 4; ++e) {
            const int key = tile.position() + fragment_row_in_tile(warp, fragment_row(e));
            if (key < (e & 1 ? begin.y : begin.x) || key > t * tile_rows + column + (e & 1)) p.x[e] = 0;
          }
        }
      }
      std::uint32_t words[tile_rows / 4];
      if constexpr (Values) {
        pack(p, words);
        wgmma_fence();
        issue_row_product<tile_rows>(sum, words, dy);
        wgmma_commit();
      }
      if (!Values || handed_over) {
#pragma unroll
        for (int j = 0; j < tile_rows / 8; ++j) {
          const int column = 8 * j + 2 * (lane & 3);
          const float2 delta = *reinterpret_cast<const float2*>(queries.delta + column);
          const float2 far = *reinterpret_cast<const float2*>(queries.far + column);
          const int2 largest_at = *reinterpret_cast<const int2*>(queries.at + column);
#pragma unroll
          for (int e = 4 * j; e < 4 * j + 4; ++e) {
            const int key = tile.position() + fragment_row_in_tile(warp, fragment_row(e));
            const float ds = p.x[e] * score_scale<D> * (g.x[e] - (e & 1 ? delta.y : delta.x));
            g.x[e] = key == (e & 1 ? largest_at.y : largest_at.x) ? ds + (e & 1 ? far.y : far.x) : ds;
          }
        }
        std::uint32_t ds[tile_rows / 4];
        pack(g, ds);
        if constexpr (Values) {
          at.ds.wait_empty(&shared.ds_empty);
          at.ds.advance();
          store_tile<tile_rows, tile_rows>(shared.ds, 0, ds, warp);
          async_proxy_fence();
          release(shared.ds_full);
        } else {
          wgmma_fence();
          issue_row_product<tile_rows>(sum, ds, q);
          wgmma_commit();
        }
      }
      wgmma_wait();
      pin(sum.x);
      release_pair();
    }
  }
}

/// dk and dv (64, D) of tiles of one key/value head, with sums over the group's query heads; grid (G, parts), a block
/// takes every `parts`-th tile:
///
///   far    dphi = R v - r, mixed queries pair by pair; dz = pullback; dk += dz W^T; dv += R^T phi
///   near   dk += ds^T q / sqrt(D), ds as in backward_queries.cuh;  dv += (p / den)^T dy
///
/// A warpgroup for dk, one for dv, and a thread that fetches.
template <class Map, int D, class W>
__global__ __launch_bounds__(3 * group_threads, 1) void keys_kernel(const __grid_constant__ TileArguments<W> a,
                                                                    KeySinks sinks) {
  extern __shared__ __align__(1024) std::byte memory[];
  auto& shared = *reinterpret_cast<KeysShared<Map, D>*>(memory);
  const int key_head = blockIdx.x, part = blockIdx.y, parts = gridDim.y;
  const int role = threadIdx.x / group_threads, thread = threadIdx.x % group_threads;
  if (threadIdx.x == 0) {
    constexpr int consumers = 8, threads = 32 * consumers;  // warps
    for (int i = 0; i < 2; ++i) {
      shared.inputs_full[i].init(1);
      shared.inputs_empty[i].init(threads);
    }
    shared.state_full.init(1);
    shared.state_empty.init(threads);
    shared.weight_full.init(1);
    shared.weight_empty.init(consumers);
    shared.ds_full.init(consumers / 2);
    shared.ds_empty.init(consumers / 2);
    for (int i = 0; i < KeysShared<Map, D>::stages; ++i) {
      shared.pair_full[i].init(1);
      shared.pair_empty[i].init(threads);
    }
    barrier_init_fence();
  }
  __syncthreads();
  if (role == 2) {
    shrink_registers<24>();
    if (thread == 0) fetch_for_keys(a, shared, key_head, part, parts);
  } else {
    grow_registers<240>();
    KeysPosition<Map, D> at;
#pragma unroll 1
    for (int i = part; i < a.tiles(); i += parts) {
      const TileTable::Tile tile = a.table.ordered(Side::keys, i);
      auto sum = Fragment<D>::from([](int) { return 0.0F; });  // (64, D)
      if (role == 0)
        pull_keys<false>(a, shared, tile, key_head, at, sum);
      else
        pull_keys<true>(a, shared, tile, key_head, at, sum);
      std::uint32_t words[D / 4];
      pack(sum, words);
      named_barrier(1, 2 * group_threads);  // k and v have been read for the last time
      std::byte* const staged = role == 0 ? shared.inputs[at.inputs.stage].k : shared.inputs[at.inputs.stage].v;
      store_tile<tile_rows, D>(staged, 0, words, thread / 32);
      async_proxy_fence();
      named_barrier(2 + role, group_threads);
      bf16* const out = role == 0 ? sinks.dk : sinks.dv;
      const Index stride = static_cast<Index>(a.key_heads) * D;
      if (out) {
        write_rows<D>(staged, out + static_cast<Index>(tile.first_row()) * stride + key_head * D, stride, tile.valid(),
                      role == 0 ? sinks.add_k : sinks.add_v, thread);
      }
      shared.inputs_empty[at.inputs.stage].arrive();
      at.inputs.advance();
    }
  }
}

}  // namespace lolcats::hopper::tile_pass
