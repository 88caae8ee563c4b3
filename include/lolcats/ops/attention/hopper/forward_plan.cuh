// The fused forward pass: what its kernels are given, how a window looks in tiles of 64, how sequences are cut in chunks.
//
//   forward_output.cuh   output warpgroups: features, scores, weights and outputs of a tile of queries
//   forward_state.cuh    the state warpgroup: S and z over far keys, published for each tile of queries
//   forward_kernel.cuh   shared memory, the producer of tiles, and the two kernels made of these roles
//   forward.cuh          entry points
//
// One block walks over the tiles of one chunk of one sequence for one query head.  Formulas: docs/math/attention.md.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/attention/fused.hpp>
#include <lolcats/ops/attention/hopper/fragment.cuh>
#include <lolcats/ops/attention/hopper/resumed.cuh>

#include <algorithm>
#include <span>
#include <type_traits>

namespace lolcats::hopper::forward_pass {

/// Rows of a tile of queries or keys, counted from the start of a sequence.
inline constexpr int tile = 64;

/// Sinks that these kernels take at most: as many as the narrowest product has columns.
inline constexpr Index most_sinks = 8;

/// How a window looks to a tile of queries.  Key tiles before tile t - lag are far for all of tile t: they are in the
/// state.  The key tiles from t - lag to t are compared key by key.
template <class W>
struct WindowTiles {
  /// Is the window a compile-time fact?  If not, the most general form is compiled.
  static constexpr bool fixed = std::is_empty_v<W>;

  /// f(first query, its begin, begin of the last query) for some tile; true if the window is not known.
  template <class F>
  static constexpr bool for_some_tile(F&& f) {
    if constexpr (fixed) {
      for (Index first = 0; first < 64 * tile; first += tile) {
        if (f(first, W{}.begin(first), W{}.begin(first + tile - 1))) return true;
      }
      return false;
    } else {
      return true;
    }
  }

  static constexpr int lag = for_some_tile([](Index first, Index begin, Index) { return begin < first; }) ? 1 : 0;
  /// Does key tile t - 1, or t, hold keys that are far for some queries of tile t?
  static constexpr bool mixes_previous = lag == 1 && for_some_tile([](Index first, Index, Index last_begin) {
                                           return first > 0 && last_begin > first - tile;
                                         });
  static constexpr bool mixes_own =
      fixed && for_some_tile([](Index first, Index, Index last_begin) { return last_begin > first; });
  static constexpr bool mixes = mixes_previous || mixes_own;

  /// Do the windows of all queries up to `length` start in their own tile or the one before?  And are no keys of the own
  /// tile far, if that was not known?
  static constexpr bool covers(const W& window, Index length) {
    for (Index first = 0; first < length; first += tile) {
      if (window.begin(first) < first - tile) return false;
      if (!mixes_own && window.begin(std::min(first + tile, length) - 1) > first) return false;
    }
    return true;
  }
  /// Is that so whatever the length?
  static constexpr bool always = [] {
    if constexpr (fixed) return covers(W{}, 64 * tile);
    return false;
  }();
};

/// Up to `capacity` sequences; small enough to be an argument of a kernel.
struct Extents {
  static constexpr int capacity = 128;
  int count = 0;
  int row[capacity];  // first row
  int length[capacity];
  int first_chunk[capacity + 1];  // chunks are numbered through; then their number

  int chunks() const { return first_chunk[count]; }
};

/// One block's share: tiles [begin, end) of a sequence.
struct Walk {
  int row, length;             // of the sequence: its keys
  int query_row, first_query;  // row of q and y beside the first key; the first query to be computed
  int begin, end;
  int chunk, sequence;  // numbers among all
  bool first, last;     // of its sequence

  /// Chunk `number` of all, cut into `chunk_tiles` tiles each.
  __device__ __forceinline__ void find(const Extents& extents, int number, int chunk_tiles) {
    chunk = number;
    int low = 0, high = extents.count - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (extents.first_chunk[middle] <= number)
        low = middle;
      else
        high = middle - 1;
    }
    sequence = low;
    row = query_row = extents.row[low];
    first_query = 0;
    length = extents.length[low];
    begin = (number - extents.first_chunk[low]) * chunk_tiles;
    end = ::min(begin + chunk_tiles, (length + tile - 1) / tile);
    first = begin == 0;
    last = number + 1 == extents.first_chunk[low + 1];
  }
};

/// What the kernels are given besides tensor maps.
template <class W>
struct Parameters {
  Extents extents;
  W window;
  int heads, group;  // H, H / G
  int chunk_tiles;
  bool key_map_per_group;
  bool affine;
  float score_scale;           // 1 / sqrt(D)
  const bf16* query_bias;      // (H, f) or (H)
  const bf16* key_bias;        // (H or G, f) or (H or G)
  const bf16* window_factors;  // (H), or null
  bf16* y;                     // (M, H * D)
  float* largest;              // (M, H), or null, as the next two
  float* inverse_denominator;
  std::int32_t* largest_at;
  float* states;           // records (H, F * D + F) of sums before each chunk, where a sequence has several
  const Resumed* resumed;  // per sequence, or null; such sequences have one record more, of the sums behind the last chunk
  const bf16 *k, *v;       // (M, G * D), where sinks are read from

  __device__ __forceinline__ int key_map_head(int h) const { return key_map_per_group ? h / group : h; }
  /// The share of head h in the record before chunk `chunk`, which is of sequence n.
  __device__ __forceinline__ float* record(int chunk, int n, int h, int floats) const {
    return states + (static_cast<Index>(chunk + (resumed ? n : 0)) * heads + h) * floats;
  }
  __device__ __forceinline__ void find(Walk& walk, int number) const {
    walk.find(extents, number, chunk_tiles);
    if (!resumed) return;
    walk.query_row = resumed[walk.sequence].query_row;
    walk.first_query = resumed[walk.sequence].first_query;
  }
};

/// Cuts `all` into batches of at most `capacity` extents with chunks of `chunk_tiles` tiles and calls f(batch, first).
template <class F>
void for_batches(std::span<const Extent> all, int chunk_tiles, int capacity, F&& f) {
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t first = at;
    Extents batch;
    batch.first_chunk[0] = 0;
    for (; at < all.size() && batch.count < capacity; ++at, ++batch.count) {
      const int tiles = static_cast<int>((all[at].length + tile - 1) / tile);
      batch.row[batch.count] = static_cast<int>(all[at].row);
      batch.length[batch.count] = static_cast<int>(all[at].length);
      batch.first_chunk[batch.count + 1] = batch.first_chunk[batch.count] + (tiles + chunk_tiles - 1) / chunk_tiles;
    }
    f(batch, first);
  }
}

/// Tiles per chunk.  Whole sequences if they fill the multiprocessors; else chunks, so that blocks come in full waves.
///
/// A chunk costs its outputs and, unless it is the last of its sequence, the state pass, about a third of that.
inline int chunk_tiles(std::span<const Extent> extents, Index heads, int multiprocessors) {
  Index longest = 0, walks = 0;
  for (const Extent& e : extents) longest = std::max(longest, (e.length + tile - 1) / tile), walks += heads;
  Index best = std::max<Index>(longest, 1);
  double best_cost = 0;
  for (Index pieces = 1; pieces <= 64 && pieces <= longest; ++pieces) {
    const Index tiles = (longest + pieces - 1) / pieces;
    Index blocks = 0, folds = 0;
    for (const Extent& e : extents) {
      const Index chunks = ((e.length + tile - 1) / tile + tiles - 1) / tiles;
      blocks += chunks * heads;
      folds += (chunks - 1) * heads;
    }
    const auto waves = [&](Index n) { return static_cast<double>((n + multiprocessors - 1) / multiprocessors); };
    constexpr double start = 3;  // tiles that a block takes to start
    constexpr double pass = 4;   // tiles that the extra launches take
    const double cost = waves(blocks) * (static_cast<double>(tiles) + start) +
                        (folds ? waves(folds) * (static_cast<double>(tiles) + start) / 3 + pass : 0);
    if (pieces == 1 || cost < best_cost) best = tiles, best_cost = cost;
  }
  return static_cast<int>(best);
}

}  // namespace lolcats::hopper::forward_pass
