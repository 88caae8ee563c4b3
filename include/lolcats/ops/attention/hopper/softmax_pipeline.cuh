// What the softmax kernels share: clean tails, turns between warpgroups, rows on their way out.
#pragma once

#include <lolcats/ops/attention/hopper/ring.cuh>

namespace lolcats::hopper {

inline constexpr int warpgroup = 128;  // threads

/// Arrives at the block's barrier `id` without waiting; `threads` counts those who wait too.
__device__ __forceinline__ void named_barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/// One thread fetches (Rows, D) from `row`, `column` on into a tile of panels; `full` has been told of the bytes.
template <int Rows, int D>
__device__ __forceinline__ void load_panels(bf16* tile, const CUtensorMap& map, int row, int column, Barrier& full) {
#pragma unroll
  for (int panel = 0; panel < D / panel_columns; ++panel) {
    load_box(tile + panel * Rows * panel_columns, map, row, column + panel * panel_columns, full);
  }
}

/// A warp sets rows from `valid` on of a tile (Rows, D) to zero.  They lie behind the end of the sequence, are somebody
/// else's and may hold NaN: a weight of zero would not silence that.
template <int Rows, int D>
__device__ __forceinline__ void clear_tail(bf16* tile, int valid) {
  for (int i = valid * (panel_row_bytes / 16) + lane_id(); i < Rows * (panel_row_bytes / 16); i += 32) {
#pragma unroll
    for (int panel = 0; panel < D / panel_columns; ++panel) {
      reinterpret_cast<uint4*>(tile + panel * Rows * panel_columns)[i] = uint4{0, 0, 0, 0};
    }
  }
  async_proxy_fence();
  __syncwarp();
}

/// A warp's 16 rows of accumulators (64, D), scaled per row, through its rows of a tile in shared memory, to rows of
/// `stride` elements in device memory; of the 16 rows those from `first` up to `valid` are written.
///
/// `tile` is the shared address of a tile of panels of `Rows` rows, `row` the first of the warp's rows in it.
template <int Rows, int D, bool Add = false>
__device__ __forceinline__ void store_rows(const float (&x)[D / 2], float scale_0, float scale_1, std::uint32_t tile,
                                           int row, bf16* to, Index stride, int valid, bool add = false,
                                           int first = 0) {
  const int lane = lane_id();
  const int matrix = lane >> 3;
  const int own = row + (matrix & 1) * 8 + (lane & 7);
#pragma unroll
  for (int i = 0; i < D / 16; ++i) {
    const int chunk = 2 * i + (matrix >> 1);
    store_matrices(tile + static_cast<std::uint32_t>((chunk >> 3) * Rows * panel_row_bytes) + swizzled(own, chunk & 7),
                   pack_bf16(x[8 * i] * scale_0, x[8 * i + 1] * scale_0),
                   pack_bf16(x[8 * i + 2] * scale_1, x[8 * i + 3] * scale_1),
                   pack_bf16(x[8 * i + 4] * scale_0, x[8 * i + 5] * scale_0),
                   pack_bf16(x[8 * i + 6] * scale_1, x[8 * i + 7] * scale_1));
  }
  __syncwarp();
  constexpr int chunks = D / 8;      // of 16 bytes in a row
  constexpr int rows = 32 / chunks;  // that a warp writes at once
  const int chunk = lane % chunks;
#pragma unroll
  for (int i = 0; i < 16 / rows; ++i) {
    const int r = i * rows + lane / chunks;
    uint4 words = load_shared_16(tile + static_cast<std::uint32_t>((chunk >> 3) * Rows * panel_row_bytes) +
                                 swizzled(row + r, chunk & 7));
    if (r >= first && r < valid) {
      auto* target = reinterpret_cast<uint4*>(to + r * stride + chunk * 8);
      if constexpr (Add) {
        if (add) {
          const uint4 before = *target;
          const auto sum = [](std::uint32_t a, std::uint32_t b) {
            return pack_bf16(low_bf16(a) + low_bf16(b), high_bf16(a) + high_bf16(b));
          };
          words = {sum(words.x, before.x), sum(words.y, before.y), sum(words.z, before.z), sum(words.w, before.w)};
        }
      }
      *target = words;
    }
  }
}

}  // namespace lolcats::hopper
