// Tiles in shared memory, for passes by tiles: fetching, cutting off tails, storing fragments, writing gradients.
#pragma once

#include <lolcats/ops/attention/hopper/tile_plan.cuh>

namespace lolcats::hopper::tile_pass {

/// Threads of a warpgroup.
inline constexpr int group_threads = 128;

/// One thread fetches (Rows, Columns) of a matrix at (row, column), panel by panel.
template <int Rows, int Columns>
__device__ __forceinline__ void load_tile(std::byte* to, const CUtensorMap& map, int row, int column,
                                          Barrier& barrier) {
#pragma unroll
  for (int panel = 0; panel < Columns / panel_columns; ++panel) {
    load_box(to + panel * Rows * panel_row_bytes, map, row, column + panel * panel_columns, barrier);
  }
}
/// Zeroes rows [valid, 64) of a (64, Columns) tile, which belong to nobody or to the next sequence: there may be NaN in
/// them, and 0 * NaN is NaN.  A barrier must follow.
template <int Columns>
__device__ __forceinline__ void zero_tail(std::byte* tile, int valid, int thread) {
  constexpr int chunks = Columns / 8;  // of 16 bytes per row
  for (int i = thread; i < (tile_rows - valid) * chunks; i += group_threads) {
    const int row = valid + i / chunks, chunk = i % chunks;
    *reinterpret_cast<uint4*>(tile + (chunk / 8) * tile_rows * panel_row_bytes + row * panel_row_bytes +
                              chunk % 8 * 16) = uint4{0, 0, 0, 0};
  }
  async_proxy_fence();
}

/// Stores (64, Columns) of a warpgroup, packed as factors, to rows `first_row` ... of a tile of `Rows` rows.
template <int Rows, int Columns>
__device__ __forceinline__ void store_tile(std::byte* tile, int first_row, const std::uint32_t* words, int warp) {
  const int lane = lane_id();
  const int row = first_row + 16 * warp + (lane & 15);
  const std::uint32_t base = shared_address(tile);
#pragma unroll
  for (int s = 0; s < Columns / 16; ++s) {
    const int chunk = 2 * s + (lane >> 4);
    store_matrices(base + (chunk / 8) * Rows * panel_row_bytes + swizzled(row, chunk % 8), words[4 * s],
                   words[4 * s + 1], words[4 * s + 2], words[4 * s + 3]);
  }
}

/// The two rows of a tile that the calling thread's fragments hold.
__device__ __forceinline__ int fragment_row_in_tile(int warp, int r) { return 16 * warp + (lane_id() >> 2) + 8 * r; }

/// Takes the sinks, the first keys of a sequence, out of a tile's packed features, or its gradients of features: they are far
/// for nobody.
template <class W, int Words>
__device__ __forceinline__ void drop_sinks(std::uint32_t (&phi)[Words], const TileTable::Tile& tile, int warp) {
  if constexpr (sinks_of<W> > 0) {
    if (tile.index > 0) return;
#pragma unroll
    for (int j = 0; j < Words; ++j) {
      if (fragment_row_in_tile(warp, j & 1) < sinks_of<W>) phi[j] = 0;
    }
  }
}
template <class W, int F>
__device__ __forceinline__ void drop_sinks(Fragment<F>& dphi, const TileTable::Tile& tile, int warp) {
  if constexpr (sinks_of<W> > 0) {
    if (tile.index > 0) return;
#pragma unroll
    for (int i = 0; i < dphi.size; ++i) {
      if (fragment_row_in_tile(warp, fragment_row(i)) < sinks_of<W>) dphi.x[i] = 0;
    }
  }
}

/// Writes rows [0, valid) of a (64, D) tile to out (rows `stride` elements apart), or adds to what is there.
template <int D>
__device__ __forceinline__ void write_rows(const std::byte* tile, bf16* out, Index stride, int valid, bool add,
                                           int thread) {
  constexpr int chunks = D / 8;
#pragma unroll 4
  for (int i = thread; i < tile_rows * chunks; i += group_threads) {
    const int row = i / chunks, chunk = i % chunks;
    if (row >= valid) break;
    uint4 value =
        *reinterpret_cast<const uint4*>(tile + (chunk / 8) * tile_rows * panel_row_bytes + swizzled(row, chunk % 8));
    auto* to = reinterpret_cast<uint4*>(out + row * stride + chunk * 8);
    if (add) {
      const uint4 before = *to;
      const auto sum = [](std::uint32_t a, std::uint32_t b) {
        return pack_bf16(low_bf16(a) + low_bf16(b), high_bf16(a) + high_bf16(b));
      };
      value = {sum(value.x, before.x), sum(value.y, before.y), sum(value.z, before.z), sum(value.w, before.w)};
    }
    *to = value;
  }
}

/// z (64, f) += b, the bias of one head: none, a vector or one number.
template <class Map>
__device__ __forceinline__ void add_bias(Fragment<Map::projected>& z, const bf16* bias, int head) {
  if constexpr (Map::bias == Bias::vector) {
    const auto* pairs = reinterpret_cast<const std::uint32_t*>(bias + head * Map::projected) + (lane_id() & 3);
#pragma unroll
    for (int j = 0; j < Map::projected / 8; ++j) {
      const std::uint32_t b = __ldg(pairs + 4 * j);
      z.x[4 * j] += low_bf16(b);
      z.x[4 * j + 1] += high_bf16(b);
      z.x[4 * j + 2] += low_bf16(b);
      z.x[4 * j + 3] += high_bf16(b);
    }
  } else if constexpr (Map::bias == Bias::head) {
    z = z + static_cast<double>(static_cast<float>(bias[head]));
  }
}

/// phi (64, F), clamped as the map says, times a number per row, packed as factors; F / 4 words.
template <class Map>
__device__ __forceinline__ void pack_scaled_features(const Fragment<Map::projected>& z, PerRow factor,
                                                     std::uint32_t* words) {
  constexpr int f = static_cast<int>(Map::projected);
  const auto phi = Map::features(z);
#pragma unroll
  for (int c = 0; c < Map::count; ++c) {
    const auto& part = phi[c];
    pack(Fragment<f>::from([&](int i) {
           const float x = Map::clamped ? fmaxf(part.x[i], static_cast<float>(Map::floor)) : part.x[i];
           return x * factor.of[fragment_row(i)];
         }),
         words + c * (f / 4));
  }
}

}  // namespace lolcats::hopper::tile_pass
