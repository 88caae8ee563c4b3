// What the key side of the backward pass has in shared memory, and the thread that brings it there.
#pragma once

#include <lolcats/ops/attention/hopper/ring.cuh>
#include <lolcats/ops/attention/hopper/tile_memory.cuh>

namespace lolcats::hopper::tile_pass {

template <class Map, int D>
struct KeysShared {
  using Sizes = TileSizes<Map, D>;
  static constexpr int stages = Sizes::weight_bytes <= 16384 ? 3 : 2;
  struct Inputs {
    alignas(1024) std::byte k[Sizes::tile_bytes];  // (64, D); dk at the end
    alignas(1024) std::byte v[Sizes::tile_bytes];  // (64, D); dv at the end
  };
  Inputs inputs[2];
  alignas(1024) std::byte state[Sizes::state_bytes];        // (F, D) R, the chunk's part, then the chunks' behind it
  alignas(1024) std::byte weight[Sizes::weight_bytes];      // (D, f)
  alignas(1024) std::byte pair[stages][Sizes::pair_bytes];  // q or phi_q, and dy
  alignas(1024) std::byte ds[tile_rows * tile_rows * 2];    // (64, 64) keys by queries, from one warpgroup to the other
  alignas(16) float normalizer[Sizes::F];                   // r
  alignas(16) QueryStatistics statistics[stages];
  Barrier inputs_full[2], inputs_empty[2], state_full, state_empty, weight_full, weight_empty, pair_full[stages],
      pair_empty[stages];
  Barrier ds_full, ds_empty;
};

/// One thread fetches for all tiles of the block, as far ahead as there is room: the tile, then head by head the map,
/// the states, the mixed and the near pairs.
template <class Map, int D, class W>
__device__ __forceinline__ void fetch_for_keys(const TileArguments<W>& a, KeysShared<Map, D>& shared, int key_head,
                                               int part, int parts) {
  using Sizes = TileSizes<Map, D>;
  constexpr int F = Sizes::F, f = Sizes::f, stages = KeysShared<Map, D>::stages;
  RingPosition<2> inputs;
  RingPosition<1> weight, state;
  RingPosition<stages> pair;
#pragma unroll 1
  for (int i = part; i < a.tiles(); i += parts) {
    const TileTable::Tile tile = a.table.ordered(Side::keys, i);
    const Partners partners = partners_of<Side::keys>(a.window, tile, a.state.chunk);
    inputs.wait_empty(shared.inputs_empty);
    Barrier& inputs_full = shared.inputs_full[inputs.stage];
    inputs_full.arrive_expecting(2 * Sizes::tile_bytes);
    load_tile<tile_rows, D>(shared.inputs[inputs.stage].k, a.k, tile.first_row(), key_head * D, inputs_full);
    load_tile<tile_rows, D>(shared.inputs[inputs.stage].v, a.v, tile.first_row(), key_head * D, inputs_full);
    inputs.advance();

    const auto load_state = [&](const std::byte* from, const float* normalizers, Index record) {
      state.wait_empty(&shared.state_empty);
      state.advance();
      shared.state_full.arrive_expecting(Sizes::state_bytes + Sizes::normalizer_bytes);
      load_linear(shared.state, from + record * Sizes::state_bytes, Sizes::state_bytes, shared.state_full);
      load_linear(shared.normalizer, normalizers + record * F, Sizes::normalizer_bytes, shared.state_full);
    };
    const auto load_pair = [&](int head, int t, bool mixed) {
      pair.wait_empty(shared.pair_empty);
      std::byte* const slot = shared.pair[pair.stage];
      Barrier& full = shared.pair_full[pair.stage];
      const Index record = a.record(head, tile, t);
      const int row = tile.row + t * tile_rows;
      const int front = mixed ? Sizes::phi_bytes : Sizes::tile_bytes;
      full.arrive_expecting(front + Sizes::tile_bytes + static_cast<int>(sizeof(QueryStatistics)));
      if (mixed)
        load_linear(slot, a.state.features + record * Sizes::phi_bytes, Sizes::phi_bytes, full);
      else
        load_tile<tile_rows, D>(slot, a.q, row, head * D, full);
      load_tile<tile_rows, D>(slot + front, a.dy, row, head * D, full);
      load_linear(&shared.statistics[pair.stage], &a.statistics[record], sizeof(QueryStatistics), full);
      pair.advance();
    };
#pragma unroll 1
    for (int head = key_head * a.group(); head < (key_head + 1) * a.group(); ++head) {
      if (partners.far()) {
        weight.wait_empty(&shared.weight_empty);
        weight.advance();
        shared.weight_full.arrive_expecting(Sizes::weight_bytes);
        load_tile<D, f>(shared.weight, a.key_map, a.key_map_head(head) * D, 0, shared.weight_full);
        if (partners.folded > 0) load_state(a.state.states, a.state.normalizers, a.record(head, tile, partners.folded));
        if (partners.state_parts() > 1) {
          load_state(a.state.prefixes, a.state.prefix_normalizers, a.prefix(head, tile, partners.chunk));
        }
      }
#pragma unroll 1
      for (int t = partners.mixed_begin; t < partners.mixed_end; ++t) load_pair(head, t, true);
#pragma unroll 1
      for (int t = partners.near_begin; t < partners.near_end; ++t) load_pair(head, t, false);
    }
  }
}

}  // namespace lolcats::hopper::tile_pass
