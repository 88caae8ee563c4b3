// Gradients of the feature maps: the far part alone, summed over tiles in registers.
#pragma once

#include <lolcats/ops/attention/hopper/backward_rows.cuh>
#include <lolcats/ops/attention/hopper/tile_features.cuh>

namespace lolcats::hopper::tile_pass {

template <class Map, int D>
struct MapsShared {
  using Sizes = TileSizes<Map, D>;
  /// Each of the two warpgroups works on its own tile.
  struct Group {
    alignas(1024) std::byte y[Sizes::tile_bytes];     // (64, D) dy or v
    alignas(1024) std::byte slot[Sizes::pair_bytes];  // the state, then mixed pairs
    alignas(1024) std::byte dz[Sizes::dz_bytes];      // (64, f)
  };
  alignas(1024) std::byte weight[Sizes::weight_bytes];  // (D, f)
  alignas(1024) std::byte x[2][2][Sizes::tile_bytes];   // (step parity, warpgroup): (64, D) q or k
  Group group[2];
  alignas(16) float normalizer[2][Sizes::F];
  alignas(128) std::uint16_t ones[8 * 16];  // (16, 8) ones, unswizzled
  Barrier weight_full, x_full[2][2], y_full[2], slot_full[2];
};

/// Partial sums of each block, added in order by the kernels below.
struct MapPartials {
  int parts = 0;          // blocks per head
  float* map = nullptr;   // (H, parts * map_copies, D * f)
  float* bias = nullptr;  // (H, 2 parts, f)
};
/// At D = 128 the warpgroups of a block divide the rows of dW among them; at 64 each has its tile's sum.
constexpr int map_copies(int D) { return D == 128 ? 1 : 2; }

/// dW (D, f) = sum x^T dz over the tiles of one head, and the bias' sum of dz; grid (H, parts).  Of queries also the row
/// statistics that other kernels need.
///
///   queries   dphi = (beta / den) (S dy - z delta), and mixed keys pair by pair
///   keys      dphi = R v - r, and mixed queries pair by pair
///
/// Two warpgroups walk over the block's tiles two by two and meet for dW.
template <Side side, class Map, int D, class W>
__global__ __launch_bounds__(2 * group_threads, 1) void maps_kernel(const __grid_constant__ TileArguments<W> a,
                                                                    MapPartials partials) {
  using Sizes = TileSizes<Map, D>;
  constexpr int F = Sizes::F, f = Sizes::f;
  constexpr bool queries = side == Side::queries, has_bias = Map::bias != Bias::none;
  extern __shared__ __align__(1024) std::byte memory[];
  auto& shared = *reinterpret_cast<MapsShared<Map, D>*>(memory);
  const int group = threadIdx.x / group_threads, thread = threadIdx.x % group_threads, warp = thread / 32;
  const int head = blockIdx.x, part = blockIdx.y;
  const int map_head = queries ? head : a.key_map_head(head);
  const int x_column = (queries ? head : head / a.group()) * D;
  // Tile i of the block is tile i * parts + part of all.
  const int count = (a.tiles() - part + partials.parts - 1) / partials.parts;
  const int steps = (count + 1) / 2;
  auto& mine = shared.group[group];
  float* const normalizer = shared.normalizer[group];
  Barrier& slot_full = shared.slot_full[group];

  const auto is_work = [&](int step, int of_group) { return 2 * step + of_group < count; };
  const auto tile_at = [&](int step) { return a.table.ordered(side, (2 * step + group) * partials.parts + part); };

  const auto load_x = [&](int step) {
    if (!is_work(step, group)) return;
    Barrier& full = shared.x_full[step & 1][group];
    full.arrive_expecting(Sizes::tile_bytes);
    load_tile<tile_rows, D>(shared.x[step & 1][group], queries ? a.q : a.k, tile_at(step).first_row(), x_column, full);
  };
  const auto load_state = [&](const std::byte* states, const float* normalizers, Index record) {
    slot_full.arrive_expecting(Sizes::state_bytes + Sizes::normalizer_bytes);
    load_linear(mine.slot, states + record * Sizes::state_bytes, Sizes::state_bytes, slot_full);
    load_linear(normalizer, normalizers + record * F, Sizes::normalizer_bytes, slot_full);
  };
  const auto load_mixed = [&](const TileTable::Tile& tile, int partner) {
    slot_full.arrive_expecting(Sizes::phi_bytes + Sizes::tile_bytes);
    load_linear(mine.slot, a.state.features + a.record(head, tile, partner) * Sizes::phi_bytes, Sizes::phi_bytes,
                slot_full);
    load_tile<tile_rows, D>(mine.slot + Sizes::phi_bytes, queries ? a.v : a.dy, tile.row + partner * tile_rows,
                            (queries ? head / a.group() : head) * D, slot_full);
  };
  /// The tile's y and what comes first into the slot.
  const auto load_y = [&](int step) {
    if (!is_work(step, group)) return;
    const TileTable::Tile tile = tile_at(step);
    const Partners partners = partners_of<side>(a.window, tile, a.state.chunk);
    shared.y_full[group].arrive_expecting(Sizes::tile_bytes);
    load_tile<tile_rows, D>(mine.y, queries ? a.dy : a.v, tile.first_row(), x_column, shared.y_full[group]);
    if (partners.folded > 0)
      load_state(a.state.states, a.state.normalizers, a.record(head, tile, partners.folded));
    else if (partners.far())
      load_mixed(tile, partners.mixed_begin);
  };

  if (threadIdx.x == 0) {
    shared.weight_full.init(1);
    for (int g = 0; g < 2; ++g) {
      for (int s = 0; s < 2; ++s) shared.x_full[s][g].init(1);
      shared.y_full[g].init(1);
      shared.slot_full[g].init(1);
    }
    barrier_init_fence();
    shared.weight_full.arrive_expecting(Sizes::weight_bytes);
    load_tile<D, f>(shared.weight, queries ? a.query_map : a.key_map, map_head * D, 0, shared.weight_full);
  }
  if (threadIdx.x < 128) shared.ones[threadIdx.x] = 0x3F80;
  async_proxy_fence();
  __syncthreads();
  if (thread == 0) {
    load_x(0);
    load_x(1);
    load_y(0);
  }

  auto dw = Fragment<f>::from([](int) { return 0.0F; });  // (64, f), rows 64 group ... of dW
  float bias[f / 64][4] = {};                             // (f, 8), equal columns
  int slot_parity = 0;
  // y and the row statistics of a step's queries are read one step ahead.
  RowProducts<D> products;
  RawRows raw;
  const auto load_rows = [&](int step) {
    if (!queries || !is_work(step, group)) return;
    const TileTable::Tile tile = tile_at(step);
    const Index at = (static_cast<Index>(tile.first_row()) * a.query_heads + head) * D;
    products.load(a.y + at, static_cast<Index>(a.query_heads) * D, tile.valid(), warp);
    raw.load(a, tile, head, warp);
  };
  load_rows(0);
  const float beta = a.beta(head), log2_gamma = a.log2_gamma(head);
  shared.weight_full.wait(0);
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    const int stage = step & 1;
    std::byte* const x = shared.x[stage][group];
    if (is_work(step, group)) {
      const TileTable::Tile tile = tile_at(step);
      const Partners partners = partners_of<side>(a.window, tile, a.state.chunk);
      shared.x_full[stage][group].wait((step >> 1) & 1);
      shared.y_full[group].wait(step & 1);
      if (tile.valid() < tile_rows) {
        zero_tail<D>(x, tile.valid(), thread);
        zero_tail<D>(mine.y, tile.valid(), thread);
        named_barrier(1 + group, group_threads);
      }
      PerRow shift{{1, 1}};
      if constexpr (queries) shift = products.dot(mine.y, warp);
      const QueryRows rows(raw, a.window, tile, beta, log2_gamma, warp);

      auto dphi = Fragment<F>::from([](int) { return 0.0F; });  // (64, F)
#pragma unroll 1
      for (int i = 0; i < partners.state_parts(); ++i) {
        slot_full.wait(slot_parity);
        slot_parity ^= 1;
        wgmma_fence();
        issue_product<D>(dphi, mine.y, mine.slot, true);
        wgmma_commit();
        wgmma_wait();
        pin(dphi.x);
        subtract_normalizer(dphi, shift, normalizer);
        named_barrier(1 + group, group_threads);
        if (thread == 0 && i + 1 < partners.state_parts()) {
          load_state(a.state.prefixes, a.state.prefix_normalizers, a.prefix(head, tile, partners.chunk));
        }
      }
      if (thread == 0 && partners.folded > 0 && partners.mixed_begin < partners.mixed_end)
        load_mixed(tile, partners.mixed_begin);
#pragma unroll 1
      for (int partner = partners.mixed_begin; partner < partners.mixed_end; ++partner) {
        slot_full.wait(slot_parity);
        slot_parity ^= 1;
        const int valid = tile.length - partner * tile_rows;
        if (valid < tile_rows) {
          zero_tail<D>(mine.slot + Sizes::phi_bytes, valid, thread);
          named_barrier(1 + group, group_threads);
        }
        Fragment<tile_rows> g;  // (64, 64)
        wgmma_fence();
        issue_product<D>(g, mine.y, mine.slot + Sizes::phi_bytes, false);
        wgmma_commit();
        wgmma_wait();
        pin(g.x);
        if constexpr (queries) {
          const int first_far[2] = {rows.begin[0] - partner * tile_rows, rows.begin[1] - partner * tile_rows};
          mask_far_of_queries(g, shift, first_far);
        } else {
          const int key[2] = {tile.position() + fragment_row_in_tile(warp, 0),
                              tile.position() + fragment_row_in_tile(warp, 1)};
          mask_far_of_keys(g, a.statistics[a.record(head, tile, partner)], key);
        }
        std::uint32_t words[tile_rows / 4];
        pack(g, words);
        wgmma_fence();
        issue_row_product<tile_rows>(dphi, words, mine.slot);
        wgmma_commit();
        wgmma_wait();
        pin(dphi.x);
        named_barrier(1 + group, group_threads);
        if (thread == 0 && partner + 1 < partners.mixed_end) load_mixed(tile, partner + 1);
      }
      // y and the slot have been read, if at all; what the next step needs comes while this one pulls back.
      if (!partners.far()) named_barrier(1 + group, group_threads);
      if (thread == 0) load_y(step + 1);

      Fragment<f> z;  // (64, f)
      wgmma_fence();
      issue_projection<D>(z, x, shared.weight);
      wgmma_commit();
      wgmma_wait();
      pin(z.x);
      add_bias<Map>(z, queries ? a.query_bias : a.key_bias, map_head);
      std::uint32_t dz[f / 4];
      if constexpr (queries) {
        PerRow far;
        pack(pull_features<Map>(z, dphi * rows.weight, &far), dz);
        constexpr float scale = score_scale<D>;
        rows.write(a.statistics[a.record(head, tile, tile.index)], shift, {{far.of[0] * scale, far.of[1] * scale}},
                   warp);
      } else {
        drop_sinks<W>(dphi, tile, warp);
        pack(pull_features<Map>(z, dphi, nullptr), dz);
      }
      store_tile<tile_rows, f>(mine.dz, 0, dz, warp);
      async_proxy_fence();
    } else {  // the block's tiles are odd in number
      zero_tail<D>(x, 0, thread);
      zero_tail<f>(mine.dz, 0, thread);
    }
    load_rows(step + 1);
    const int other = group ^ 1;
    if (is_work(step, other)) shared.x_full[stage][other].wait((step >> 1) & 1);
    named_barrier(3, 2 * group_threads);  // both tiles have dz
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < (D == 128 ? 2 : 1); ++i) {
      const int g = D == 128 ? i : group;
#pragma unroll
      for (int s = 0; s < tile_rows / 16; ++s) {
        wgmma<Contiguous::mn, Contiguous::mn>(
            dw.x, rows_descriptor<tile_rows>(shared_address(shared.x[stage][g]), s, D == 128 ? group : 0),
            rows_descriptor<tile_rows>(shared_address(shared.group[g].dz), s));
      }
    }
    if constexpr (has_bias) {
#pragma unroll
      for (int s = 0; s < tile_rows / 16; ++s) {
#pragma unroll
        for (int p = 0; p < f / 64; ++p) {
          wgmma<Contiguous::mn, Contiguous::k>(bias[p], rows_descriptor<tile_rows>(shared_address(mine.dz), s, p),
                                               plain_descriptor(shared_address(shared.ones), 128, 128));
        }
      }
    }
    wgmma_commit();
    wgmma_wait();
    pin(dw.x);
    if constexpr (has_bias) {
#pragma unroll
      for (int p = 0; p < f / 64; ++p) pin(bias[p]);
    }
    named_barrier(3, 2 * group_threads);  // x and dz have been read
    if (thread == 0) load_x(step + 2);
  }

  const int lane = lane_id();
  const Index copy = (static_cast<Index>(head) * partials.parts + part) * map_copies(D) + (D == 128 ? 0 : group);
  float* const map = partials.map + copy * (D * f) + (D == 128 ? group * 64 * f : 0);
#pragma unroll
  for (int e = 0; e < dw.size; e += 2) {
    *reinterpret_cast<float2*>(map + fragment_row_in_tile(warp, fragment_row(e)) * f + fragment_column(e, lane)) =
        float2{dw.x[e], dw.x[e + 1]};
  }
  if constexpr (has_bias) {
    float* const to = partials.bias + ((static_cast<Index>(head) * partials.parts + part) * 2 + group) * f;
    if ((lane & 3) == 0) {
#pragma unroll
      for (int p = 0; p < f / 64; ++p) {
        to[64 * p + fragment_row_in_tile(warp, 0)] = bias[p][0];
        to[64 * p + fragment_row_in_tile(warp, 1)] = bias[p][2];
      }
    }
  }
}

/// gradient (H, size) += sum of `count` partial sums (H, count, size), in order.
template <class = void>
__global__ void add_partials_kernel(const float* partials, int count, int size, float* gradient) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, head = blockIdx.y;
  if (i >= size) return;
  const float* from = partials + static_cast<Index>(head) * count * size + i;
  float sum = 0;
#pragma unroll 4
  for (int c = 0; c < count; ++c) sum += from[static_cast<Index>(c) * size];
  gradient[static_cast<Index>(head) * size + i] += sum;
}

/// gradient (H) += sum of `count` numbers (H, count); a warp per head.
template <class = void>
__global__ void add_numbers_kernel(const float* numbers, int count, float* gradient) {
  const float sum = sum_of_warp(numbers + static_cast<Index>(blockIdx.x) * count, count);
  if (threadIdx.x == 0) gradient[blockIdx.x] += sum;
}

}  // namespace lolcats::hopper::tile_pass
