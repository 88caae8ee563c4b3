// Passes by tiles, the backward pass and the forward pass of any window (forward_tiles.cuh): what their kernels are given, and
// how a window looks in tiles of 64.  The backward pass:
//
//   states<keys>     walks over key tiles: S and z before every tile that someone reads      tile_states.cuh
//   queries          per query tile: dphi_q from S, then dq; what the key side must know     backward_queries.cuh
//     and sinks        what sinks before a window add to dq, and to dk and dv by tiles       backward_sinks.cuh
//     or maps          the same, then dW_q                                                   backward_maps.cuh
//     and factors      the gradient of gamma                                                 backward_factors.cuh
//   states<queries>  walks back over query tiles: R and r behind every tile                  tile_states.cuh
//   keys             per key tile: dphi_k from R, then dk and dv of the group                backward_keys.cuh
//     or maps          the same, then dW_k                                                   backward_maps.cuh
//
// States go through device memory in bf16, so that all tiles are independent but for the walks, which fill the chip by
// heads, sequences and chunks.  Nothing is added atomically: the same bits at each run.  Formulas:
// docs/math/attention.md.
#pragma once

#include <lolcats/ops/attention/attention.hpp>
#include <lolcats/ops/attention/hopper/fragment.cuh>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>

namespace lolcats::hopper::tile_pass {

/// Rows of a tile: tokens of one sequence from a multiple of 64 on.
inline constexpr int tile_rows = 64;

/// 1 / sqrt(D), its logarithm to base 2, and what makes an exponent of two of a product q.k.
template <int D>
inline constexpr float score_scale = D == 128 ? 0.08838834764831845F : 0.125F;
template <int D>
inline constexpr float log2_score_scale = D == 128 ? -3.5F : -3.0F;
template <int D>
inline constexpr float score_exponent = score_scale<D>* std::numbers::log2e_v<float>;

/// Which tokens a kernel has in its rows: queries look back at a state of keys, keys forward at a state of queries.
enum class Side { queries, keys };

/// Sizes that a map and a head size give: f columns of W, F features, D.
template <class Map, int Size>
struct TileSizes {
  static constexpr int D = Size;
  static constexpr int f = static_cast<int>(Map::projected);
  static constexpr int F = f * Map::count;
  static_assert((f == 64 || f == 128) && (F == 64 || F == 128) && (D == 64 || D == 128));

  static constexpr int tile_bytes = tile_rows * D * 2;  // (64, D)
  static constexpr int phi_bytes = tile_rows * F * 2;   // (64, F)
  static constexpr int dz_bytes = tile_rows * f * 2;    // (64, f)
  static constexpr int weight_bytes = D * f * 2;        // (D, f)
  static constexpr int state_bytes = F * D * 2;         // (F, D)
  static constexpr int normalizer_bytes = F * 4;        // (F), fp32
  /// A slot that holds a state, or a pair of tiles: features or rows, and values.
  static constexpr int pair_bytes = std::max({state_bytes, 2 * tile_bytes, phi_bytes + tile_bytes});
};

/// The tiles of up to `capacity` sequences, numbered from 0; small enough to be an argument of a kernel.
struct TileTable {
  static constexpr int capacity = 64;
  int count = 0;       // sequences
  int rows[capacity];  // their first rows
  int lengths[capacity];
  int firsts[capacity + 1];  // their first tiles; then the number of tiles
  int uniform = 0;           // tiles of each sequence, if they agree
  int longest = 0;           // most tiles of a sequence

  void add(const Extent& e) {
    const int all = count ? firsts[count] : 0, own = static_cast<int>((e.length + tile_rows - 1) / tile_rows);
    rows[count] = static_cast<int>(e.row);
    lengths[count] = static_cast<int>(e.length);
    firsts[count] = all;
    firsts[++count] = all + own;
    longest = std::max(longest, own);
    uniform = all + own == longest * count ? longest : 0;
  }

  struct Tile {
    int sequence, row, length, first, tiles;  // of the sequence: its number, first row, length, first tile, tiles
    int index;                                // of the tile in its sequence

    __device__ int position() const { return index * tile_rows; }
    __device__ int first_row() const { return row + position(); }
    /// Rows of the tile that belong to the sequence.
    __device__ int valid() const { return min(tile_rows, length - position()); }
  };

  __device__ __forceinline__ Tile sequence(int n) const {
    return {n, rows[n], lengths[n], firsts[n], firsts[n + 1] - firsts[n], 0};
  }
  /// The tiles in an order for kernels that read states: those that the walk has left last, still in the cache, come
  /// first. That is, for queries from the ends of all sequences to their beginnings, for keys the other way.
  __device__ __forceinline__ Tile ordered(Side side, int i) const {
    if (side == Side::queries) i = firsts[count] - 1 - i;
    int low = 0, high = count - 1;
    if (uniform > 0) {
      low = i % count;
    } else {
      while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (firsts[middle] <= i)
          low = middle;
        else
          high = middle - 1;
      }
    }
    Tile found = sequence(low);
    found.index = uniform > 0 ? i / count : i - found.first;
    return found;
  }
};

/// Does `begin` change at multiples of 64 only, and take such values only?  Then a tile of keys is near or far as a
/// whole.
template <class W>
consteval bool has_pure_tiles() {
  const W window{};
  bool pure = W::has_near && window.period() % tile_rows == 0 && window.period() <= 1024;
  for (Index n = 0; pure && n < 4096; ++n) {
    pure = window.begin(n) % tile_rows == 0 && window.begin(n) == window.begin(n - n % tile_rows);
  }
  return pure;
}

/// A window in tiles.
template <class W>
struct WindowTiles {
  static constexpr bool pure = has_pure_tiles<W>();
  W window;

  /// Key tiles before this one are far for every query of tile t.
  __device__ __forceinline__ int far(int t) const {
    return static_cast<int>(window.begin(Index{t} * tile_rows) / tile_rows);
  }
  /// Key tiles in [far(t), mixed_end(t)) are far for some queries of tile t and not for others.
  __device__ __forceinline__ int mixed_end(int t) const {
    if constexpr (pure) return far(t);
    const Index begin = window.begin(Index{t} * tile_rows + tile_rows - 1);
    return min(t + 1, static_cast<int>((begin + tile_rows - 1) / tile_rows));
  }
  /// Query tiles from this one on see every key of tile j as far.
  __device__ __forceinline__ int query_end(int j, int tiles) const {
    int t = j + 1;
    while (t < tiles && far(t) <= j) ++t;
    return t;
  }
  /// Query tiles in [query_mixed_begin(j), query_end(j)) see some keys of tile j as far.
  __device__ __forceinline__ int query_mixed_begin(int j, int end) const {
    if constexpr (pure) return end;
    int t = j;
    while (t < end && mixed_end(t) <= j) ++t;
    return t;
  }
};

/// What later kernels need to know about the queries of a tile, 1.5 KB per (head, tile).  Rows past the end of the
/// sequence weigh nothing.
struct QueryStatistics {
  float weight[tile_rows];  // beta / den_n
  float delta[tile_rows];   // dy_n . y_n
  float shift[tile_rows];   // p_nj / den_n = 2^(q.k log2(e) / sqrt(D) + shift) for near j
  float far[tile_rows];     // phi_q.dphi_q / sqrt(D), what the score of key `at` receives through c_n
  int at[tile_rows];        // the near key with the largest score
  int begin[tile_rows];     // the window's begin
};

/// Sums over tiles as the tensor cores read them: S or R (F, D) in bf16, in panels of (F, 64), swizzled; z or r (F) in
/// fp32.
///
/// A walk starts from zero in each chunk of `chunk` tiles.  `states` and `normalizers` hold, for (head, tile number b
/// of a sequence), the sum over the tiles of b's chunk before b; `prefixes` and `prefix_normalizers`, for (head,
/// sequence, c), the sum over the chunks before c.
struct StateBuffers {
  std::byte* states = nullptr;          // (H, tiles, F * D)
  float* normalizers = nullptr;         // (H, tiles, F)
  std::byte* prefixes = nullptr;        // (H, sequences, chunks, F * D)
  float* prefix_normalizers = nullptr;  // (H, sequences, chunks, F)
  std::byte* features = nullptr;        // (H, tiles, 64 * F), what was folded; windows with mixed tiles only
  int chunk = 1;                        // tiles
  int chunks = 1;                       // most of any sequence
};

/// What a tile meets on the other side: keys for a tile of queries, queries for a tile of keys.
struct Partners {
  int folded;  // tiles in the state that it reads: key tiles from the first on, query tiles from the last back
  int chunk;   // of that state
  int mixed_begin, mixed_end;  // tiles that are far in part
  int near_begin, near_end;    // tiles that are near, in part at least

  __device__ __forceinline__ bool far() const { return folded > 0 || mixed_begin < mixed_end; }
  /// Of a tile of queries that reads sinks, too: near tiles, that of the sinks first if it is not among the others.
  template <class W>
  __device__ __forceinline__ int near_and_sinks() const {
    return near_end - near_begin + (sinks_of<W> > 0 && near_begin > 0 && near_begin < near_end ? 1 : 0);
  }
  template <class W>
  __device__ __forceinline__ int near_or_sinks(int i) const {
    if (sinks_of<W> > 0 && near_begin > 0) return i == 0 ? 0 : near_begin + i - 1;
    return near_begin + i;
  }
  /// The chunk's own part of the state, and what the chunks before it have left.
  __device__ __forceinline__ int state_parts() const { return folded == 0 ? 0 : chunk == 0 ? 1 : 2; }
};

template <Side side, class W>
__device__ __forceinline__ Partners partners_of(const WindowTiles<W>& window, const TileTable::Tile& tile, int chunk) {
  Partners p;
  if constexpr (side == Side::queries) {
    p.folded = p.mixed_begin = p.near_begin = window.far(tile.index);
    p.mixed_end = window.mixed_end(tile.index);
    p.near_end = W::has_near ? tile.index + 1 : p.near_begin;
  } else {
    p.mixed_end = p.near_end = window.query_end(tile.index, tile.tiles);
    p.mixed_begin = window.query_mixed_begin(tile.index, p.mixed_end);
    p.near_begin = W::has_near ? tile.index : p.near_end;
    p.folded = tile.tiles - p.mixed_end;
  }
  p.chunk = p.folded > 0 ? (p.folded - 1) / chunk : 0;
  return p;
}
/// Most tiles that a state of this sequence is asked to have folded: by the last queries, or the first keys.
template <Side of, class W>
__device__ __forceinline__ int last_read(const WindowTiles<W>& window, TileTable::Tile tile) {
  tile.index = of == Side::keys ? tile.tiles - 1 : 0;
  return partners_of < of == Side::keys ? Side::queries : Side::keys > (window, tile, 1).folded;
}

/// The arguments of every kernel of the backward pass.
template <class W>
struct TileArguments {
  CUtensorMap q, dy, k, v;         // boxes of (64, 64)
  CUtensorMap query_map, key_map;  // (H * D, f), that of keys perhaps (G * D, f); boxes of (D, 64)
  TileTable table;
  WindowTiles<W> window;
  int query_heads = 0, key_heads = 0;
  bool affine = false;
  bool key_map_per_group = false;        // one map of keys, and bias, per key/value head instead of per query head
  const bf16* y = nullptr;               // (M, H * D)
  const bf16* window_factors = nullptr;  // (H)
  const bf16* query_bias = nullptr;      // (H, f) or (H, 1)
  const bf16* key_bias = nullptr;        // the same, or G of them
  const float* largest = nullptr;              // (M, H)
  const float* inverse_denominator = nullptr;  // (M, H)
  const std::int32_t* largest_at = nullptr;    // (M, H)
  QueryStatistics* statistics = nullptr;       // (H, tiles)
  StateBuffers state;

  __host__ __device__ __forceinline__ int tiles() const { return table.firsts[table.count]; }
  /// Where states, features and statistics of (head, tile `index` of the tile's sequence) lie, and prefixes.
  __device__ __forceinline__ Index record(int head, const TileTable::Tile& tile, int index) const {
    return static_cast<Index>(head) * tiles() + tile.first + index;
  }
  __device__ __forceinline__ Index prefix(int head, const TileTable::Tile& tile, int chunk) const {
    return (static_cast<Index>(head) * table.count + tile.sequence) * state.chunks + chunk;
  }
  __host__ __device__ __forceinline__ int group() const { return query_heads / key_heads; }
  __device__ __forceinline__ int key_map_head(int head) const { return key_map_per_group ? head / group() : head; }
  /// sigmoid of the head's window factor.
  __device__ __forceinline__ float gamma(int head) const {
    if constexpr (!W::has_near) return 0;
    return 1 / (1 + __expf(-static_cast<float>(window_factors[head])));
  }
  __device__ __forceinline__ float log2_gamma(int head) const { return W::has_near ? __log2f(gamma(head)) : 0.0F; }
  __device__ __forceinline__ float beta(int head) const { return affine ? 1 - gamma(head) : 1.0F; }
};

}  // namespace lolcats::hopper::tile_pass
