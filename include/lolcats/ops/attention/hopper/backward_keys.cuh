// dk and dv of one tile of keys, summed over the query heads of its group in registers.
#pragma once

#include <lolcats/ops/attention/hopper/backward_far.cuh>

#include <numbers>

namespace lolcats::hopper {

template <class Map, int D>
struct KeysShared {
  using Sizes = BackwardSizes<Map, D>;
  static constexpr int stages = 3;
  alignas(1024) std::byte k[Sizes::tile_bytes];           // (64, D); dk at the end
  alignas(1024) std::byte v[Sizes::tile_bytes];           // (64, D); dv at the end
  alignas(1024) std::byte state[Sizes::state_bytes];      // (F, D) R, the chunk's part, then the chunks' behind it
  alignas(1024) std::byte weight[Sizes::weight_bytes];    // (D, f)
  alignas(1024) std::byte pair[stages][Sizes::pair_bytes];  // q or phi_q, and dy
  alignas(16) float normalizer[Sizes::F];                 // r
  alignas(16) QueryStatistics statistics[stages];
  Barrier inputs_full, state_full, state_empty, weight_full, weight_empty, pair_full[stages], pair_empty[stages];
};

/// Where the kernel puts dk and dv (M, G * D); null if unwanted.
struct KeySinks {
  bf16 *dk = nullptr, *dv = nullptr;
  bool add_k = false, add_v = false;
};

/// What a key tile meets, the same for every query head of its group.
struct KeyPartners {
  int folded;                        // query tiles in the state that it reads
  int chunk;                         // of that state
  int mixed_begin, near_begin, end;  // query tiles [mixed_begin, end) are mixed, [near_begin, end) near

  template <class W>
  __device__ __forceinline__ KeyPartners(const BackwardArguments<W>& a, const TileTable::Tile& tile) {
    end = a.window.query_end(tile.index, tile.tiles);
    mixed_begin = a.window.query_mixed_begin(tile.index, end);
    near_begin = W::has_near ? tile.index : end;
    folded = tile.tiles - end;
    chunk = folded > 0 ? (folded - 1) / a.state.chunk : 0;
  }
  __device__ __forceinline__ bool far() const { return folded > 0 || mixed_begin < end; }
  __device__ __forceinline__ int parts() const { return folded == 0 ? 0 : chunk == 0 ? 1 : 2; }
};

/// One thread of the kernel below fetches, head by head, the map, the states, the mixed and the near pairs.
template <class Map, int D, class W>
__device__ __forceinline__ void fetch_for_keys(const BackwardArguments<W>& a, KeysShared<Map, D>& shared, const TileTable::Tile& tile,
                                               const KeyPartners& partners, int key_head) {
  using Sizes = BackwardSizes<Map, D>;
  constexpr int F = Sizes::F, f = Sizes::f, stages = KeysShared<Map, D>::stages;
  shared.inputs_full.arrive_expecting(2 * Sizes::tile_bytes);
  load_tile<tile_rows, D>(shared.k, a.k, tile.first_row(), key_head * D, shared.inputs_full);
  load_tile<tile_rows, D>(shared.v, a.v, tile.first_row(), key_head * D, shared.inputs_full);
  int weights = 0, states = 0, pairs = 0;
  const auto load_pair = [&](int head, int t, bool mixed) {
    const int stage = pairs % stages, lap = pairs / stages;
    ++pairs;
    if (lap > 0) shared.pair_empty[stage].wait((lap - 1) & 1);
    const Index record = static_cast<Index>(head) * a.tiles() + tile.first + t;
    const int row = tile.row + t * tile_rows;
    const int front = mixed ? Sizes::phi_bytes : Sizes::tile_bytes;
    Barrier& full = shared.pair_full[stage];
    full.arrive_expecting(front + Sizes::tile_bytes + static_cast<int>(sizeof(QueryStatistics)));
    if (mixed) load_linear(shared.pair[stage], a.state.features + record * Sizes::phi_bytes, Sizes::phi_bytes, full);
    else load_tile<tile_rows, D>(shared.pair[stage], a.q, row, head * D, full);
    load_tile<tile_rows, D>(shared.pair[stage] + front, a.dy, row, head * D, full);
    load_linear(&shared.statistics[stage], &a.statistics[record], sizeof(QueryStatistics), full);
  };
  const auto load_state = [&](const std::byte* from, const float* normalizers, Index record) {
    if (states > 0) shared.state_empty.wait((states - 1) & 1);
    ++states;
    shared.state_full.arrive_expecting(Sizes::state_bytes + Sizes::normalizer_bytes);
    load_linear(shared.state, from + record * Sizes::state_bytes, Sizes::state_bytes, shared.state_full);
    load_linear(shared.normalizer, normalizers + record * F, Sizes::normalizer_bytes, shared.state_full);
  };
#pragma unroll 1
  for (int head = key_head * a.group(); head < (key_head + 1) * a.group(); ++head) {
    if (partners.far()) {
      if (weights > 0) shared.weight_empty.wait((weights - 1) & 1);
      ++weights;
      shared.weight_full.arrive_expecting(Sizes::weight_bytes);
      load_tile<D, f>(shared.weight, a.key_map, head * D, 0, shared.weight_full);
      if (partners.folded > 0) {
        load_state(a.state.states, a.state.normalizers, static_cast<Index>(head) * a.tiles() + tile.first + partners.folded);
        if (partners.chunk > 0) {
          load_state(a.state.prefixes, a.state.prefix_normalizers,
                     (static_cast<Index>(head) * a.table.count + tile.sequence) * a.state.chunks + partners.chunk);
        }
      }
#pragma unroll 1
      for (int t = partners.mixed_begin; t < partners.end; ++t) load_pair(head, t, true);
    }
#pragma unroll 1
    for (int t = partners.near_begin; t < partners.end; ++t) load_pair(head, t, false);
  }
}

/// One of the two warpgroups that consume what `fetch_for_keys` brings: dk or dv (64, D) of the tile.
template <bool Values, class Map, int D, class W>
__device__ __forceinline__ void pull_keys(const BackwardArguments<W>& a, KeysShared<Map, D>& shared, const TileTable::Tile& tile,
                                          const KeyPartners& partners, int key_head, Fragment<D>& sum) {
  using Sizes = BackwardSizes<Map, D>;
  constexpr int F = Sizes::F, f = Sizes::f, stages = KeysShared<Map, D>::stages;
  constexpr float scale = D == 128 ? 0.08838834764831845F : 0.125F;
  constexpr float to_exponent = scale * std::numbers::log2e_v<float>;
  constexpr bool pure = WindowTiles<W>::pure;
  const int thread = threadIdx.x % group_threads, warp = thread / 32;
  int weights = 0, states = 0, pairs = 0;

  // Every warp releases a slot once its own products have read it.
  const auto release = [](Barrier& empty) {
    __syncwarp();
    if (lane_id() == 0) empty.arrive();
  };
  // Waits for the next pair; rows past the end of the sequence become zero.
  const auto next_pair = [&](int t, bool mixed) {
    const int stage = pairs % stages;
    shared.pair_full[stage].wait((pairs / stages) & 1);
    ++pairs;
    const int valid = tile.length - t * tile_rows;
    if (valid < tile_rows) {
      if (Values) zero_tail<D>(shared.pair[stage] + (mixed ? Sizes::phi_bytes : Sizes::tile_bytes), valid, thread);
      else if (!mixed) zero_tail<D>(shared.pair[stage], valid, thread);
      named_barrier(1, 2 * group_threads);
    }
    return stage;
  };

  shared.inputs_full.wait(0);
  if (tile.valid() < tile_rows) {
    zero_tail<D>(Values ? shared.v : shared.k, tile.valid(), thread);
    named_barrier(1, 2 * group_threads);
  }
#pragma unroll 1
  for (int head = key_head * a.group(); head < (key_head + 1) * a.group(); ++head) {
    if (partners.far()) {
      Fragment<f> z;  // (64, f)
      const auto project = [&] {
        wgmma_fence();
        issue_projection<D>(z, shared.k, shared.weight);
        wgmma_commit();
      };
      shared.weight_full.wait(weights & 1);
      ++weights;
      if constexpr (Values) {
        std::uint32_t phi[F / 4];
        project();
        wgmma_wait();
        pin(z.x);
        release(shared.weight_empty);
        add_bias<Map>(z, a.key_bias, head);
        pack_features<Map>(z, phi);
#pragma unroll 1
        for (int part = 0; part < partners.parts(); ++part) {
          shared.state_full.wait(states & 1);
          ++states;
          wgmma_fence();
          issue_row_product<F>(sum, phi, shared.state);
          wgmma_commit();
          wgmma_wait();
          pin(sum.x);
          release(shared.state_empty);
        }
#pragma unroll 1
        for (int t = partners.mixed_begin; t < partners.end; ++t) {
          const int stage = next_pair(t, true);
          const QueryStatistics& queries = shared.statistics[stage];
          Fragment<tile_rows> p;  // (64, 64), far weights / den
          wgmma_fence();
#pragma unroll
          for (int s = 0; s < F / 16; ++s) {
            wgmma<Contiguous::k>(p.x, phi + 4 * s, columns_descriptor<tile_rows>(shared_address(shared.pair[stage]), s), s > 0);
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
          issue_row_product<tile_rows>(sum, words, shared.pair[stage] + Sizes::phi_bytes);
          wgmma_commit();
          wgmma_wait();
          pin(sum.x);
          release(shared.pair_empty[stage]);
        }
      } else {
        constexpr bool early = f == 64;  // there are registers for z beside dphi and scores
        auto dphi = Fragment<F>::from([](int) { return 0.0F; });  // (64, F)
        if (early) project();
#pragma unroll 1
        for (int part = 0; part < partners.parts(); ++part) {
          shared.state_full.wait(states & 1);
          ++states;
          wgmma_fence();
          issue_product<D>(dphi, shared.v, shared.state, true);
          wgmma_commit();
          wgmma_wait();
          pin(dphi.x);
          subtract_normalizer(dphi, PerRow{{1, 1}}, shared.normalizer);
          release(shared.state_empty);
        }
        if (early) {
          wgmma_wait();
          pin(z.x);
        }
#pragma unroll 1
        for (int t = partners.mixed_begin; t < partners.end; ++t) {
          const int stage = next_pair(t, true);
          Fragment<tile_rows> g;  // (64, 64)
          wgmma_fence();
          issue_product<D>(g, shared.v, shared.pair[stage] + Sizes::phi_bytes, false);
          wgmma_commit();
          wgmma_wait();
          pin(g.x);
          const int key[2] = {tile.position() + fragment_row_in_tile(warp, 0), tile.position() + fragment_row_in_tile(warp, 1)};
          mask_far_of_keys(g, shared.statistics[stage], key);
          std::uint32_t words[tile_rows / 4];
          pack(g, words);
          wgmma_fence();
          issue_row_product<tile_rows>(dphi, words, shared.pair[stage]);
          wgmma_commit();
          wgmma_wait();
          pin(dphi.x);
          release(shared.pair_empty[stage]);
        }
        if (!early) {
          project();
          wgmma_wait();
          pin(z.x);
        }
        add_bias<Map>(z, a.key_bias, head);
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

#pragma unroll 1
    for (int t = partners.near_begin; t < partners.end; ++t) {
      const int stage = next_pair(t, false);
      const QueryStatistics& queries = shared.statistics[stage];
      const std::byte* const q = shared.pair[stage];
      const std::byte* const dy = q + Sizes::tile_bytes;
      Fragment<tile_rows> p;  // (64, 64), keys by queries: near weights / den, then what meets q or dy
      Fragment<tile_rows> g;  // (64, 64), gradients of the weights
      wgmma_fence();
      issue_product<D>(p, shared.k, q, false);
      if constexpr (!Values) issue_product<D>(g, shared.v, dy, false);
      wgmma_commit();
      wgmma_wait();
      pin(p.x);
      if constexpr (!Values) pin(g.x);
      const int lane = lane_id();
      const bool masked = !pure || t == tile.index;
#pragma unroll
      for (int j = 0; j < tile_rows / 8; ++j) {
        const int column = 8 * j + 2 * (lane & 3);
        const float2 shift = *reinterpret_cast<const float2*>(queries.shift + column);
#pragma unroll
        for (int e = 4 * j; e < 4 * j + 4; ++e) p.x[e] = exp2_fast(fmaf(p.x[e], to_exponent, e & 1 ? shift.y : shift.x));
        if (masked) {
          const int2 begin = *reinterpret_cast<const int2*>(queries.begin + column);
#pragma unroll
          for (int e = 4 * j; e < 4 * j + 4; ++e) {
            const int key = tile.position() + fragment_row_in_tile(warp, fragment_row(e));
            if (key < (e & 1 ? begin.y : begin.x) || key > t * tile_rows + column + (e & 1)) p.x[e] = 0;
          }
        }
        if constexpr (!Values) {
          const float2 delta = *reinterpret_cast<const float2*>(queries.delta + column);
          const float2 far = *reinterpret_cast<const float2*>(queries.far + column);
          const int2 at = *reinterpret_cast<const int2*>(queries.at + column);
#pragma unroll
          for (int e = 4 * j; e < 4 * j + 4; ++e) {
            const int key = tile.position() + fragment_row_in_tile(warp, fragment_row(e));
            const float ds = p.x[e] * scale * (g.x[e] - (e & 1 ? delta.y : delta.x));
            p.x[e] = key == (e & 1 ? at.y : at.x) ? ds + (e & 1 ? far.y : far.x) : ds;
          }
        }
      }
      std::uint32_t words[tile_rows / 4];
      pack(p, words);
      wgmma_fence();
      issue_row_product<tile_rows>(sum, words, Values ? dy : q);
      wgmma_commit();
      wgmma_wait();
      pin(sum.x);
      release(shared.pair_empty[stage]);
    }
  }
}

/// dk and dv (64, D) of one tile and key/value head, grid (tiles, G), with sums over the group's query heads:
///
///   far    dphi = R v - r, mixed queries pair by pair; dz = pullback; dk += dz W^T; dv += R^T phi
///   near   dk += ds^T q / sqrt(D), ds as in backward_queries.cuh;  dv += (p / den)^T dy
///
/// A warpgroup for dk, one for dv, and a thread that fetches.
template <class Map, int D, class W>
__global__ __launch_bounds__(3 * group_threads, 1) void keys_kernel(const __grid_constant__ BackwardArguments<W> a, KeySinks sinks) {
  extern __shared__ __align__(1024) std::byte memory[];
  auto& shared = *reinterpret_cast<KeysShared<Map, D>*>(memory);
  const int key_head = blockIdx.y;
  const TileTable::Tile tile = a.table.tile(blockIdx.x);
  const KeyPartners partners(a, tile);
  const int role = threadIdx.x / group_threads, thread = threadIdx.x % group_threads;
  if (threadIdx.x == 0) {
    constexpr int consumers = 8;  // warps
    shared.inputs_full.init(1);
    shared.state_full.init(1);
    shared.state_empty.init(consumers);
    shared.weight_full.init(1);
    shared.weight_empty.init(consumers);
    for (int i = 0; i < KeysShared<Map, D>::stages; ++i) {
      shared.pair_full[i].init(1);
      shared.pair_empty[i].init(consumers);
    }
    barrier_init_fence();
  }
  __syncthreads();
  if (role == 2) {
    shrink_registers<24>();
    if (thread == 0) fetch_for_keys<Map, D>(a, shared, tile, partners, key_head);
  } else {
    grow_registers<240>();
    auto sum = Fragment<D>::from([](int) { return 0.0F; });  // (64, D)
    std::uint32_t words[D / 4];
    const Index at = (static_cast<Index>(tile.first_row()) * a.key_heads + key_head) * D;
    const Index stride = static_cast<Index>(a.key_heads) * D;
    if (role == 0) pull_keys<false>(a, shared, tile, partners, key_head, sum);
    else pull_keys<true>(a, shared, tile, partners, key_head, sum);
    pack(sum, words);
    named_barrier(1, 2 * group_threads);  // k and v have been read for the last time
    std::byte* const staged = role == 0 ? shared.k : shared.v;
    store_tile<tile_rows, D>(staged, 0, words, thread / 32);
    named_barrier(2 + role, group_threads);
    bf16* const out = role == 0 ? sinks.dk : sinks.dv;
    if (out) write_rows<D>(staged, out + at, stride, tile.valid(), role == 0 ? sinks.add_k : sinks.add_v, thread);
  }
}

}  // namespace lolcats::hopper
