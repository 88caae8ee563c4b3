// A few keys or values, the sinks, as factors of products by single warps.
//
// Beside tiles of queries and keys shared memory has no room for sinks, and products of eight columns are too small for a
// warpgroup.  So each warp multiplies its own 16 rows of a tile of queries, with sinks from device memory; they stay in the
// first-level cache.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/attention/hopper/fragment.cuh>

namespace lolcats::hopper {

/// Rows of one head and sequence, at most eight.  Columns of a product behind these mean nothing, and weights there must be zero.
template <int D>
struct SinkRows {
  static constexpr int tile_rows = 64;  // of a tile of queries, and so of its panels
  const bf16* first;                    // aligned to 16 bytes
  int stride;                           // to the next
  int count;

  /// product (64, 8) = x (64, D) rows^T, x in shared memory; `row` is the thread's first of x.
  ///
  /// Columns of x and of the rows meet in another order than in memory: a thread reads 16 bytes of each at once, without
  /// conflicts.
  __device__ __forceinline__ void multiply(Fragment<8>& product, std::uint32_t x, int row) const {
    const int lane = lane_id();
    const auto* const chunks = reinterpret_cast<const uint4*>(of_lane(lane));
#pragma unroll
    for (float& sum : product.x) sum = 0;
#pragma unroll
    for (int i = 0; i < D / 32; ++i) {
      const int panel = i / 2, chunk = 2 * (lane & 3) + i % 2;
      const std::uint32_t at =
          x + static_cast<std::uint32_t>(panel * tile_rows * panel_row_bytes) + swizzled(row, chunk);
      const uint4 a = load_shared_16(at), below = load_shared_16(at + 8 * panel_row_bytes),
                  b = __ldg(chunks + 8 * panel + chunk);
      mma(product.x, {a.x, below.x, a.y, below.y}, b.x, b.y);
      mma(product.x, {a.z, below.z, a.w, below.w}, b.z, b.w);
    }
  }

  /// What mix needs, read here and not earlier or later.
  __device__ __forceinline__ void fetch(std::uint32_t (&pairs)[D / 8]) const {
    const int lane = lane_id();
    const auto* const from = reinterpret_cast<const std::uint32_t*>(of_lane(lane)) + (lane & 3);
#pragma unroll
    for (int i = 0; i < D / 8; ++i) asm volatile("ld.global.nc.b32 %0, [%1];" : "=r"(pairs[i]) : "l"(from + 4 * i));
  }
  /// y (64, D) += weights (64, 8) rows; the weights are packed, the rows fetched.
  static __device__ __forceinline__ void mix(float (&y)[D / 2], const std::uint32_t (&weights)[2],
                                             const std::uint32_t (&pairs)[D / 8]) {
#pragma unroll
    for (int i = 0; i < D / 8; ++i) {
      float columns[4] = {y[4 * i], y[4 * i + 1], y[4 * i + 2], y[4 * i + 3]};
      mma(columns, weights, transposed(pairs[i]));
#pragma unroll
      for (int j = 0; j < 4; ++j) y[4 * i + j] = columns[j];
    }
  }

 private:
  /// Row lane / 4, or the last: rows behind it may not be there.
  __device__ __forceinline__ const bf16* of_lane(int lane) const { return first + ::min(lane / 4, count - 1) * stride; }
};

}  // namespace lolcats::hopper
