// Before and after the backward pass of softmax attention on Hopper: what it needs per row, and dq from its sums.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/attention/hopper/fragment.cuh>
#include <lolcats/ops/attention/hopper/sinks.cuh>
#include <lolcats/ops/attention/hopper/softmax_tiles.cuh>

#include <numbers>

namespace lolcats::hopper {

/// Rows of a query tile of the backward pass; its key tiles have softmax_tile rows.
inline constexpr int softmax_query_tile = 64;

/// What the backward pass knows about the rows of one query tile of one head; rows behind the sequence have zeros.
///   p_nj / den_n = exp2(s_nj log2(e) - shift_n),   ds_nj = p_nj / den_n (dy_n.v_j - delta_n)
struct SoftmaxRows {
  float shift[softmax_query_tile];  // (c_n + ln den_n) log2(e)
  float delta[softmax_query_tile];  // dy_n.y_n
};

/// Scratch of the backward pass.  Query tile i of extent e and head h is number h * tiles + 2 e.storage + i.
struct SoftmaxScratch {
  int tiles;          // query tiles of all extents, two per key tile
  SoftmaxRows* rows;  // (H, tiles)
  float* dq;          // (H, tiles, 64 * D), dq sqrt(D) in the order of fragments: see `fragment_order`
  int* turn;          // (H, tiles): the key tile that may add to dq next

  __host__ __device__ Index at(int head, const TiledExtents::Entry& e, int tile) const {
    return static_cast<Index>(head) * tiles + 2 * e.storage + tile;
  }
};

/// Where four neighbouring entries of (64, 64) fragments, columns 8 block ... of thread `thread`, lie, in quads of
/// floats: whole warps touch consecutive memory.
__device__ __forceinline__ int fragment_order(int half, int block, int thread) {
  return (half * 8 + block) * 128 + thread;
}

__device__ __forceinline__ SinkExtent sink_extent(const TiledExtents& extents, int n) {
  const auto& e = extents.entries[n];
  return {e.row, e.length, 2 * e.storage};
}

namespace detail {

/// The extent that query tile `tile` of all tiles belongs to.
__device__ __forceinline__ int find_extent(const TiledExtents& extents, int tile) {
  for (int n = 0; n < extents.count; ++n) {
    const int within = tile - 2 * extents.entries[n].storage;
    if (within >= 0 && within < 2 * extents.tiles(n)) return n;
  }
  return -1;
}

/// One block per (query tile, head) of the extents: shift, delta and the first turn.
template <int D, class W>
__global__ __launch_bounds__(256) void softmax_backward_begin(const __grid_constant__ TiledExtents extents, const W window,
                                                              const bf16* y, const bf16* dy, const float* largest,
                                                              const float* inverse_denominator, SoftmaxScratch scratch) {
  const int n = find_extent(extents, static_cast<int>(blockIdx.x));
  if (n < 0) return;
  const auto& e = extents.entries[n];
  const int tile = static_cast<int>(blockIdx.x) - 2 * e.storage, head = static_cast<int>(blockIdx.y),
            heads = static_cast<int>(gridDim.y);
  SoftmaxRows& rows = scratch.rows[scratch.at(head, e, tile)];
  constexpr int lanes = D / 8;  // of a row, 8 columns each
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  for (int r = static_cast<int>(threadIdx.x) / lanes; r < softmax_query_tile; r += 256 / lanes) {
    const int at = tile * softmax_query_tile + r;
    const bool inside = at < e.length;
    const Index row = static_cast<Index>(e.row + at) * heads + head;
    float sum = 0;
    if (inside) {
      const auto a = reinterpret_cast<const cuda::Pack<bf16>*>(y + row * D)[lane];
      const auto b = reinterpret_cast<const cuda::Pack<bf16>*>(dy + row * D)[lane];
#pragma unroll
      for (int i = 0; i < 8; ++i) sum = fmaf(a[i], b[i], sum);
    }
#pragma unroll
    for (int offset = lanes / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0U, sum, offset);
    if (lane == 0) {
      rows.delta[r] = sum;
      rows.shift[r] = inside ? largest[row] * std::numbers::log2e_v<float> - log2f(inverse_denominator[row]) : 0.0F;
    }
  }
  if (threadIdx.x == 0) {
    scratch.turn[scratch.at(head, e, tile)] =
        static_cast<int>(window.begin(static_cast<Index>(tile) * softmax_query_tile) / softmax_tile);
  }
}

/// Adds the sinks' share of dq sqrt(D) to rows `first`, `first` + step, ... of a query tile, columns [column, column + 8) of each.
template <int D, class W, int Rows>
__device__ __forceinline__ void add_sinks_dq(float (&sums)[Rows][8], const SinkShares& s, const TiledExtents::Entry& e, int head,
                                             int heads, int key_heads, Index at, int first, int step, int column) {
  constexpr int sinks = static_cast<int>(sinks_of<W>);
  const bf16* const keys = s.k + (static_cast<Index>(e.row) * key_heads + head / (heads / key_heads)) * D + column;
  const float* const ds = s.ds + (at * softmax_query_tile + first) * sinks;
#pragma unroll 4
  for (int j = 0; j < ::min(sinks, e.length); ++j) {
    const auto k = *reinterpret_cast<const cuda::Pack<bf16>*>(keys + static_cast<Index>(j) * key_heads * D);
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      const float weight = ds[r * step * sinks + j];
#pragma unroll
      for (int i = 0; i < 8; ++i) sums[r][i] = fmaf(weight, k[i], sums[r][i]);
    }
  }
}

/// One block per (query tile, head): dq (M, H * D) from its sums, and the share of sinks, if there are any.
template <int D, class W>
__global__ __launch_bounds__(256, sinks_of<W> > 0 ? 4 : 1) void softmax_backward_end(
    const __grid_constant__ TiledExtents extents, const W window, SoftmaxScratch scratch, SinkShares sinks, int key_heads,
    float scale, bf16* dq, bool add) {
  __shared__ float tile_rows[softmax_query_tile][D + 4];
  const int n = find_extent(extents, static_cast<int>(blockIdx.x));
  if (n < 0) return;
  const auto& e = extents.entries[n];
  const int tile = static_cast<int>(blockIdx.x) - 2 * e.storage, head = static_cast<int>(blockIdx.y),
            heads = static_cast<int>(gridDim.y);
  const int valid = e.length - tile * softmax_query_tile;
  if (valid <= 0) return;
  const auto* sums = reinterpret_cast<const float4*>(scratch.dq + scratch.at(head, e, tile) * softmax_query_tile * D);
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < softmax_query_tile * D / 4; i += 256) {
    const float4 x = sums[i];
    const int thread = i % 128, row = 16 * (thread / 32) + thread % 32 / 4, column = 8 * (i / 128) + 2 * (thread % 4);
    *reinterpret_cast<float2*>(&tile_rows[row][column]) = {x.x, x.y};
    *reinterpret_cast<float2*>(&tile_rows[row + 8][column]) = {x.z, x.w};
  }
  constexpr int lanes = D / 8, step = 256 / lanes, own_rows = softmax_query_tile / step;
  const int first = static_cast<int>(threadIdx.x) / lanes, column = static_cast<int>(threadIdx.x) % lanes * 8;
  float of_sinks[own_rows][8] = {};  // of rows first, first + step, ...
  if constexpr (sinks_of<W> > 0) {
    if (sees_sinks<softmax_query_tile>(window, e.length, tile)) {
      add_sinks_dq<D, W>(of_sinks, sinks, e, head, heads, key_heads, scratch.at(head, e, tile), first, step, column);
    }
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < own_rows; ++r) {
    const int row = first + r * step;
    if (row >= valid) break;
    auto& out = reinterpret_cast<cuda::Pack<bf16>*>(
        dq + (static_cast<Index>(e.row + tile * softmax_query_tile + row) * heads + head) * D)[column / 8];
    cuda::Pack<bf16> words{};
    if (add) words = out;
    float sum[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) sum[j] = tile_rows[row][column + j] + of_sinks[r][j];
#pragma unroll
    for (int j = 0; j < 8; ++j) words.set(j, fmaf(sum[j], scale, add ? words[j] : 0.0F));
    out = words;
  }
}

}  // namespace detail

}  // namespace lolcats::hopper
