// Before the backward pass of softmax attention on Hopper, for windows with sinks: what it needs per row, and what sinks add.
//
// Sinks need q and dy of every tile of queries, and the kernel of the walk has no registers left for them.  y and dy are read
// for dy.y anyway; q is read here once more.  A warp has 16 rows of all three in registers, and multiplies with sinks from the
// first-level cache.
#pragma once

#include <lolcats/ops/attention/hopper/softmax_backward_rows.cuh>

#include <numbers>

namespace lolcats::hopper::detail {

/// Two rows, lane / 4 and 8 behind it, of 16 rows (16, D) of a warp: of each the chunks of 8 columns 4 i + lane % 4.
template <int D>
struct WarpRows {
  uint4 of[2][D / 32];

  /// `from` is the first of the 16 rows; those from `valid` on are zeros.
  __device__ __forceinline__ void load(const bf16* from, Index stride, int valid) {
    const int lane = lane_id();
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = lane / 4 + 8 * r;
#pragma unroll
      for (int i = 0; i < D / 32; ++i) {
        of[r][i] = uint4{0, 0, 0, 0};
        if (row < valid) of[r][i] = __ldg(reinterpret_cast<const uint4*>(from + row * stride) + 4 * i + lane % 4);
      }
    }
  }
  /// The products of rows with those of `other`, in all lanes that hold them.
  __device__ __forceinline__ PerRow dot(const WarpRows& other) const {
    PerRow result{};
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float sum = 0;
      const auto add = [&sum](std::uint32_t a, std::uint32_t b) {
        sum = fmaf(low_bf16(a), low_bf16(b), sum);
        sum = fmaf(high_bf16(a), high_bf16(b), sum);
      };
#pragma unroll
      for (int i = 0; i < D / 32; ++i) {
        add(of[r][i].x, other.of[r][i].x);
        add(of[r][i].y, other.of[r][i].y);
        add(of[r][i].z, other.of[r][i].z);
        add(of[r][i].w, other.of[r][i].w);
      }
      result.of[r] = quad_sum(sum);
    }
    return result;
  }
  /// product (16, 8) = rows sinks^T; `sink` is the one of number lane / 4.  Columns meet in another order than in memory.
  __device__ __forceinline__ void multiply(float (&product)[4], const bf16* sink) const {
    const auto* const chunks = reinterpret_cast<const uint4*>(sink) + lane_id() % 4;
    product[0] = product[1] = product[2] = product[3] = 0;
#pragma unroll
    for (int i = 0; i < D / 32; ++i) {
      const uint4 &a = of[0][i], &below = of[1][i], b = __ldg(chunks + 4 * i);
      mma(product, {a.x, below.x, a.y, below.y}, b.x, b.y);
      mma(product, {a.z, below.z, a.w, below.w}, b.z, b.w);
    }
  }
  /// sums (sinks, D) = weights^T (sinks, 16) rows, of the sinks below `Count`; the weights are packed and transposed.
  template <int Count>
  __device__ __forceinline__ void sum(float (&sums)[Count][D + 2], std::uint32_t above, std::uint32_t below) const {
    const int lane = lane_id(), sink = 2 * (lane % 4), column = lane / 8 * 8 + lane / 4 % 2;
    const auto store = [&](int from, std::uint32_t a0, std::uint32_t a1, std::uint32_t a2, std::uint32_t a3) {
      float c[4] = {};  // (columns, sinks)
      mma(c, {transposed(a0), transposed(a1), transposed(a2), transposed(a3)}, above, below);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (sink + j % 2 < Count) sums[sink + j % 2][from + column + 2 * (j / 2)] = c[j];
      }
    };
#pragma unroll
    for (int i = 0; i < D / 32; ++i) {
      const uint4 &x = of[0][i], &y = of[1][i];
      store(32 * i, x.x, x.y, y.x, y.y);
      store(32 * i + 4, x.z, x.w, y.z, y.w);
    }
  }
};

inline constexpr int sink_rows_threads = 128;

/// softmax_backward_begin beside sinks, one block per (query tile, key/value head): for each query head of the group, ds of the
/// tile's rows and sinks; over all of them, in order, the tile's parts of dk and dv.
template <int D, class W>
__global__ __launch_bounds__(sink_rows_threads, 4) void softmax_backward_begin_with_sinks(
    const __grid_constant__ TiledExtents extents, const W window, const bf16* q, const bf16* y, const bf16* dy,
    const float* largest, const float* inverse_denominator, SoftmaxScratch scratch, SinkShares s, int group, float scale) {
  constexpr int sinks = static_cast<int>(sinks_of<W>), at_once = sinks < 8 ? sinks : 8;
  __shared__ float sums[sink_rows_threads / 32][2][at_once][D + 2];
  const int n = find_extent(extents, static_cast<int>(blockIdx.x));
  if (n < 0) return;
  const auto& e = extents.entries[n];
  const int tile = static_cast<int>(blockIdx.x) - 2 * e.storage, key_head = static_cast<int>(blockIdx.y);
  const Index stride = static_cast<Index>(gridDim.y) * group * D, key_stride = static_cast<Index>(gridDim.y) * D;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32, pair = lane % 4;
  const int row = tile * softmax_query_tile + 16 * warp;  // the warp's first
  const int counted = ::min(sinks, e.length);
  const bool seen = sees_sinks<softmax_query_tile>(window, e.length, tile);
  const float scale_log2 = scale * std::numbers::log2e_v<float>;
#pragma unroll 1
  for (int i = 0; i < group; ++i) {
    const int head = key_head * group + i;
    const Index at = scratch.at(head, e, tile), first_entry = (e.row + row) * stride + head * D;
    WarpRows<D> queries, gradients, outputs;
    outputs.load(y + first_entry, stride, e.length - row);
    gradients.load(dy + first_entry, stride, e.length - row);
    queries.load(q + first_entry, stride, seen ? e.length - row : 0);
    PerRow shift{};
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int own = row + lane / 4 + 8 * r;
      if (own < e.length) {
        const Index entry = static_cast<Index>(e.row + own) * gridDim.y * group + head;
        shift.of[r] = largest[entry] * std::numbers::log2e_v<float> - log2f(inverse_denominator[entry]);
      }
    }
    const PerRow delta = gradients.dot(outputs);
    if (pair == 0) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        scratch.rows[at].delta[16 * warp + lane / 4 + 8 * r] = delta.of[r];
        scratch.rows[at].shift[16 * warp + lane / 4 + 8 * r] = shift.of[r];
      }
    }
    if (thread == 0) scratch.turn[at] = static_cast<int>(window.begin(static_cast<Index>(tile) * softmax_query_tile) / softmax_tile);
    if (!seen) continue;
#pragma unroll 1
    for (int first = 0; first < sinks; first += at_once) {
      const Index of_lane = (e.row + ::min(first + lane / 4, counted - 1)) * key_stride + key_head * D;  // later ones may not be there
      float p[4], ds[4];  // (16, 8): scores, then weights; gradients of weights, then of scores
      queries.multiply(p, s.k + of_lane);
      gradients.multiply(ds, s.v + of_lane);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int r = lane / 4 + 8 * (j / 2), sink = first + 2 * pair + j % 2;
        const bool sees = row + r < e.length && sink < ::min(static_cast<Index>(sinks), window.begin(row + r));
        p[j] = sees ? cuda::exp2_approx(fmaf(p[j], scale_log2, -shift.of[j / 2])) : 0.0F;
        ds[j] = p[j] * (ds[j] - delta.of[j / 2]);
        if (s.ds && sink < sinks) s.ds[(at * softmax_query_tile + 16 * warp + r) * sinks + sink] = ds[j];
      }
      if (!s.parts) continue;
      queries.sum(sums[warp][0], transposed(pack_bf16(ds[0], ds[1])), transposed(pack_bf16(ds[2], ds[3])));
      gradients.sum(sums[warp][1], transposed(pack_bf16(p[0], p[1])), transposed(pack_bf16(p[2], p[3])));
      __syncthreads();
      float* const parts = s.parts + (static_cast<Index>(key_head) * scratch.tiles + 2 * e.storage + tile) * (2 * sinks * D);
#pragma unroll
      for (int entry = thread; entry < 2 * at_once * D; entry += sink_rows_threads) {
        const int which = entry / (at_once * D), j = entry / D % at_once, column = entry % D;
        if (first + j >= sinks) continue;
        float& to = parts[(which * sinks + first + j) * D + column];  // this thread's alone
        float sum = i == 0 ? 0 : to;
#pragma unroll
        for (int w = 0; w < sink_rows_threads / 32; ++w) sum += sums[w][which][j][column];
        to = sum;
      }
      __syncthreads();
    }
  }
}

}  // namespace lolcats::hopper::detail
