// Causal softmax attention on Hopper, forward: what the producer warp fetches, and where it puts it.
#pragma once

#include <lolcats/ops/attention/hopper/resumed.cuh>
#include <lolcats/ops/attention/hopper/sinks.cuh>
#include <lolcats/ops/attention/hopper/softmax_pipeline.cuh>
#include <lolcats/ops/attention/hopper/softmax_tiles.cuh>
#include <lolcats/tensor/tensor.hpp>

namespace lolcats::hopper {

/// Shared memory of the forward kernel; tiles are panels of (128, 64), swizzled.
template <int D>
struct SoftmaxForwardShared {
  static constexpr int stages = D == 64 ? 4 : 2;
  static constexpr int tile_size = softmax_tile * D;
  bf16 q[2][tile_size];       // (128, D): this item's and the next one's
  bf16 k[stages][tile_size];  // (128, D)
  bf16 v[stages][tile_size];  // (128, D)
  Barrier q_full[2], q_empty[2];
  Barrier k_full[stages], k_empty[stages], v_full[stages], v_empty[stages];
  Barrier raw;  // completes when a tile with a tail has arrived, before it is cleared
};

template <class W>
struct SoftmaxForwardArguments {
  TiledExtents extents;
  W window;
  int query_heads, group;
  float scale;                 // 1 / sqrt(D)
  bf16* y;                     // (M, H * D)
  float* largest;              // (M, H) or null
  float* inverse_denominator;  // (M, H) or null
  const Resumed* resumed;      // per extent as given, or null
};

namespace detail {

/// Where the queries of an extent are: the row of q and y beside its first key, and the first query to be computed.
struct SoftmaxQueries {
  int row, first;

  template <class W>
  __device__ __forceinline__ SoftmaxQueries(const SoftmaxForwardArguments<W>& a, const TiledExtents::Entry& extent)
      : row(extent.row), first(0) {
    if (!a.resumed) return;
    row = a.resumed[extent.number].query_row;
    first = a.resumed[extent.number].first_query;
  }
  /// Does a tile hold none of them?
  __device__ __forceinline__ bool skip(int query_tile) const { return (query_tile + 1) * softmax_tile <= first; }
};

/// The key tiles that a query tile reads: its own, `query_tile`, down to `first`, and the sinks, if they are not among them.
///
/// Where the window of the tile's first query starts behind as many keys of tile `first` as there are sinks, these are in
/// nobody's window, and sinks are fetched in their place.  Else tile 0 comes last.
template <class W>
struct KeyTiles {
  static constexpr int sinks = static_cast<int>(sinks_of<W>);
  int first;
  bool in_place = false;  // of keys that nobody reads
  bool apart = false;     // in tile 0

  __device__ __forceinline__ KeyTiles(const W& window, int query_tile) {
    const int begin = static_cast<int>(window.begin(static_cast<Index>(query_tile) * softmax_tile));
    first = begin / softmax_tile;
    if constexpr (sinks > 0) {
      in_place = first > 0 && first < query_tile && begin - first * softmax_tile >= sinks;
      apart = first > 0 && !in_place;
    }
  }
  __device__ __forceinline__ int behind(int tile) const {
    if constexpr (sinks > 0) {
      if (apart && tile == first) return 0;
    }
    return tile - 1;
  }
  __device__ __forceinline__ bool has(int tile) const {
    if constexpr (sinks > 0) return tile >= (apart ? 0 : first);
    return tile >= first;
  }
  /// Are the first keys of this tile sinks?
  __device__ __forceinline__ bool starts_with_sinks(int tile) const {
    if constexpr (sinks > 0) return tile == 0 || (in_place && tile == first);
    return false;
  }
};

/// Keys and values in boxes: a whole tile, and one that starts with sinks, in two pieces.
template <bool Sinks>
struct KeyBoxes {
  CUtensorMap whole;
};
template <>
struct KeyBoxes<true> {
  CUtensorMap whole, sinks, rest;
};

template <class W>
KeyBoxes<(sinks_of<W> > 0)> key_boxes(View<const bf16> x) {
  const auto boxes = [&](Index rows) { return tensor_map(x.data, x.rows(), x.cols(), static_cast<int>(rows)); };
  if constexpr (sinks_of<W> > 0)
    return {boxes(softmax_tile), boxes(sinks_of<W>), boxes(softmax_tile - sinks_of<W>)};
  else
    return {boxes(softmax_tile)};
}

/// One thread fetches a tile of keys or values; `row` is that of the sequence's first key.  The pattern of the swizzle goes by
/// addresses, so a box may start in any row of a tile.
template <int D, class W, class Boxes>
__device__ __forceinline__ void load_key_tile(bf16* to, const Boxes& boxes, const KeyTiles<W>& tiles, int tile, int row,
                                              int column, Barrier& full) {
  const int first = row + tile * softmax_tile;
  if constexpr (KeyTiles<W>::sinks > 0) {
    if (tile > 0 && tiles.starts_with_sinks(tile)) {
      constexpr int sinks = KeyTiles<W>::sinks;
      load_panels<softmax_tile, D>(to, boxes.sinks, row, column, full);
      load_panels<softmax_tile, D>(to + sinks * panel_columns, boxes.rest, first + sinks, column, full);
      return;
    }
  }
  load_panels<softmax_tile, D>(to, boxes.whole, first, column, full);
}

template <int D, class W, class Boxes>
__device__ __forceinline__ void feed_softmax_forward(const SoftmaxForwardArguments<W>& a, const CUtensorMap& q,
                                                     const Boxes& k, const Boxes& v,
                                                     SoftmaxForwardShared<D>& shared) {
  using Shared = SoftmaxForwardShared<D>;
  constexpr int tile_bytes = Shared::tile_size * static_cast<int>(sizeof(bf16));
  const bool leader = lane_id() == 0;
  RingPosition<2> q_at;
  RingPosition<Shared::stages> k_at, v_at;
  int raw_phase = 0;
  for (DearestFirst item(a.extents, a.query_heads); item; item.advance()) {
    const auto& extent = item.extent();
    const SoftmaxQueries queries(a, extent);
    if (queries.skip(item.query_tile())) continue;
    const int query_column = item.head() * D, key_column = item.head() / a.group * D;
    const int last = item.query_tile();
    const KeyTiles tiles(a.window, last);
    const auto load_keys = [&](int tile) {
      shared.k_empty[k_at.stage].wait(k_at.phase ^ 1);
      if (leader) {
        shared.k_full[k_at.stage].arrive_expecting(tile_bytes);
        load_key_tile<D>(shared.k[k_at.stage], k, tiles, tile, extent.row, key_column, shared.k_full[k_at.stage]);
      }
      k_at.advance();
    };
    const auto load_values = [&](int tile) {
      Barrier& full = shared.v_full[v_at.stage];
      bf16* to = shared.v[v_at.stage];
      const int valid = extent.length - tile * softmax_tile;
      const bool whole = valid >= softmax_tile;
      shared.v_empty[v_at.stage].wait(v_at.phase ^ 1);
      if (leader) {
        Barrier& arrived = whole ? full : shared.raw;
        arrived.arrive_expecting(tile_bytes);
        load_key_tile<D>(to, v, tiles, tile, extent.row, key_column, arrived);
      }
      if (!whole) {
        shared.raw.wait(raw_phase);
        raw_phase ^= 1;
        clear_tail<softmax_tile, D>(to, valid);
        if (leader) full.arrive();
      }
      v_at.advance();
    };
    shared.q_empty[q_at.stage].wait(q_at.phase ^ 1);
    if (leader) {
      shared.q_full[q_at.stage].arrive_expecting(tile_bytes);
      load_panels<softmax_tile, D>(shared.q[q_at.stage], q, queries.row + last * softmax_tile, query_column,
                                   shared.q_full[q_at.stage]);
    }
    q_at.advance();
    load_keys(last);
    for (int tile = last; tiles.has(tile); tile = tiles.behind(tile)) {
      if (tiles.has(tiles.behind(tile))) load_keys(tiles.behind(tile));
      load_values(tile);
    }
  }
}

}  // namespace detail

}  // namespace lolcats::hopper
