// What the backward pass knows about each query: its weights' denominator, its largest score, dy.y.
#pragma once

#include <lolcats/ops/attention/hopper/tile_memory.cuh>

namespace lolcats::hopper::tile_pass {

/// dy_n . y_n of the rows of a tile: dy in shared memory, y in device memory, read early so that it arrives in time;
/// the result is in every lane that holds the row.
template <int D>
struct RowProducts {
  uint4 y[2][D / 32];

  /// Starts reading the thread's share of y: of each of its two rows, every fourth chunk of 16 bytes.
  __device__ __forceinline__ void load(const bf16* rows, Index stride, int valid, int warp) {
    const int lane = lane_id();
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = fragment_row_in_tile(warp, r);
#pragma unroll
      for (int i = 0; i < D / 32; ++i) {
        y[r][i] = uint4{0, 0, 0, 0};
        if (row < valid) y[r][i] = __ldg(reinterpret_cast<const uint4*>(rows + row * stride) + 4 * i + (lane & 3));
      }
    }
  }
  __device__ __forceinline__ PerRow dot(const std::byte* dy, int warp) const {
    const int lane = lane_id();
    PerRow result{};
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float s = 0;
      const auto add = [&s](std::uint32_t a, std::uint32_t b) {
        s = fmaf(low_bf16(a), low_bf16(b), s);
        s = fmaf(high_bf16(a), high_bf16(b), s);
      };
      const int row = fragment_row_in_tile(warp, r);
#pragma unroll
      for (int i = 0; i < D / 32; ++i) {
        const int chunk = 4 * i + (lane & 3);
        const uint4 g =
            load_shared_16(shared_address(dy) + (chunk / 8) * tile_rows * panel_row_bytes + swizzled(row, chunk % 8));
        add(g.x, y[r][i].x);
        add(g.y, y[r][i].y);
        add(g.z, y[r][i].z);
        add(g.w, y[r][i].w);
      }
      result.of[r] = quad_sum(s);
    }
    return result;
  }
};

/// The statistics of the forward pass for the two queries of a tile that the calling thread's fragments hold, as they
/// are in device memory: whoever reads them early must not compute with them, or it would wait for them.
struct RawRows {
  float inverse[2];  // 1 / den_n; 0 for rows past the end of the sequence
  float largest[2];  // c_n
  int at[2];         // the near key that has it

  template <class W>
  __device__ __forceinline__ void load(const TileArguments<W>& a, const TileTable::Tile& tile, int head, int warp) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = fragment_row_in_tile(warp, r);
      inverse[r] = largest[r] = 0;
      at[r] = -1;
      if (row < tile.valid()) {
        const Index n = static_cast<Index>(tile.first_row() + row) * a.query_heads + head;
        inverse[r] = __ldg(a.inverse_denominator + n);
        if constexpr (W::has_near) {
          largest[r] = __ldg(a.largest + n);
          at[r] = __ldg(a.largest_at + n);
        }
      }
    }
  }
};

/// What follows from them.
struct QueryRows {
  PerRow weight;  // beta / den_n
  PerRow shift;   // p_nj / den_n = 2^(q.k log2(e) / sqrt(D) + shift)
  int at[2];
  int begin[2];  // the window's begin

  template <class W>
  __device__ __forceinline__ QueryRows(const RawRows& raw, const WindowTiles<W>& window, const TileTable::Tile& tile,
                                       float beta, float log2_gamma, int warp) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = fragment_row_in_tile(warp, r);
      weight.of[r] = beta * raw.inverse[r];
      shift.of[r] =
          log2_gamma + __log2f(raw.inverse[r]) - raw.largest[r] * std::numbers::log2e_v<float>;  // -inf past the end
      at[r] = raw.at[r];
      begin[r] = row < tile.valid() ? static_cast<int>(window.window.begin(tile.position() + row)) : 0;
    }
  }
  /// One lane of those that hold a row writes for it; `far` is phi_q.dphi_q / sqrt(D).
  __device__ __forceinline__ void write(QueryStatistics& to, PerRow delta, PerRow far, int warp) const {
    if ((lane_id() & 3) != 0) return;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = fragment_row_in_tile(warp, r);
      to.weight[row] = weight.of[r];
      to.delta[row] = delta.of[r];
      to.shift[row] = shift.of[r];
      to.far[row] = far.of[r];
      to.at[row] = at[r];
      to.begin[row] = begin[r];
    }
  }
};

/// The sum of `count` numbers, in the first lane of a warp that is called as a whole.
__device__ __forceinline__ float sum_of_warp(const float* numbers, int count) {
  float sum = 0;
  for (int i = threadIdx.x; i < count; i += 32) sum += numbers[i];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0U, sum, offset);
  return sum;
}

}  // namespace lolcats::hopper::tile_pass
