// The backward pass on Hopper: what sinks before a window add to it.
//
// The walks over key tiles know the window alone.  For a few keys that all queries see, tensor cores have nothing to do; what
// costs is to read q and dy.  So a block takes a tile of queries: ds of its rows, which give dq, and its part of dk and dv, added
// up in order at the end.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/attention/attention.hpp>

namespace lolcats::hopper {

/// Sinks that the fused kernels take at most.
inline constexpr Index most_fused_sinks = 64;

/// Rows of a tile of queries here.
inline constexpr int sink_query_tile = 64;

/// q (M, H * D), k and v (M, G * D), and where shares of query tiles go; pieces that nobody wants are null.  `at` numbers
/// query tiles of all heads.
struct SinkShares {
  const bf16 *q = nullptr, *k = nullptr, *v = nullptr;
  int heads = 0, group = 1;
  float scale = 0;         // 1 / sqrt(D)
  float* ds = nullptr;     // (at, 64, sinks)
  float* parts = nullptr;  // (at, 2, sinks, D): of dk sqrt(D) and dv
};

/// A sequence: its first row and number of rows, and the number of its first query tile among those of all.
struct SinkExtent {
  int row, length, first;
};

namespace detail {

/// Does some query of this tile have sinks outside of its window?
template <class W>
__device__ __forceinline__ bool sees_sinks(const W& window, int length, int tile) {
  const int first = tile * sink_query_tile;
  return sinks_of<W> > 0 && first < length && window.begin(::min(length, first + sink_query_tile) - 1) > 0;
}

/// ds sqrt(D) and the parts of dk and dv of one query tile of one head, by a block of 256 threads.  `weigh(r, j, q.k, dy.v, p, ds)`
/// gives p / den and ds sqrt(D) of row r and sink j.
template <int D, class W, class Weigh>
__device__ __forceinline__ void pull_sinks(const SinkShares& s, const W& window, const SinkExtent& e, int tile, int head,
                                           const bf16* dy, Index at, Weigh&& weigh) {
  using Pack = cuda::Pack<bf16>;
  constexpr int sinks = static_cast<int>(sinks_of<W>), lanes = D / 8, at_once = 2, warps = 8;
  __shared__ float sums[warps][2][at_once][D];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % lanes;
  const auto row_of = [&](const bf16* x, int row, int count, int index) {
    return reinterpret_cast<const Pack*>(x + (static_cast<Index>(e.row + row) * count + index) * D)[lane];
  };
#pragma unroll 1
  for (int first = 0; first < sinks; first += at_once) {
    Pack k[at_once], v[at_once];
#pragma unroll
    for (int j = 0; j < at_once; ++j) {
      const int row = ::min(::min(first + j, sinks - 1), e.length - 1);
      k[j] = row_of(s.k, row, s.heads / s.group, head / s.group);
      v[j] = row_of(s.v, row, s.heads / s.group, head / s.group);
    }
    float dk[at_once][8] = {}, dv[at_once][8] = {};
#pragma unroll 2
    for (int r = thread / lanes; r < sink_query_tile; r += 256 / lanes) {
      const int n = tile * sink_query_tile + r;
      const int seen = n < e.length ? static_cast<int>(::min(sinks_of<W>, window.begin(n))) : 0;
      Pack q{}, dy_row{};
      if (n < e.length) {
        q = row_of(s.q, n, s.heads, head);
        dy_row = row_of(dy, n, s.heads, head);
      }
#pragma unroll
      for (int j = 0; j < at_once; ++j) {
        float score = 0, product = 0;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          score = fmaf(q[i], k[j][i], score);
          product = fmaf(dy_row[i], v[j][i], product);
        }
#pragma unroll
        for (int offset = lanes / 2; offset > 0; offset /= 2) {
          score += __shfl_xor_sync(~0U, score, offset);
          product += __shfl_xor_sync(~0U, product, offset);
        }
        float p = 0, ds = 0;
        if (first + j < seen) weigh(r, first + j, score, product, p, ds);
        if (s.ds && lane == 0 && first + j < sinks) s.ds[(at * sink_query_tile + r) * sinks + first + j] = ds;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          dk[j][i] = fmaf(ds, q[i], dk[j][i]);
          dv[j][i] = fmaf(p, dy_row[i], dv[j][i]);
        }
      }
    }
    if (!s.parts) continue;
#pragma unroll
    for (int j = 0; j < at_once; ++j) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
#pragma unroll
        for (int offset = lanes; offset < 32; offset *= 2) {
          dk[j][i] += __shfl_xor_sync(~0U, dk[j][i], offset);
          dv[j][i] += __shfl_xor_sync(~0U, dv[j][i], offset);
        }
        if (thread % 32 < lanes) {
          sums[thread / 32][0][j][8 * lane + i] = dk[j][i];
          sums[thread / 32][1][j][8 * lane + i] = dv[j][i];
        }
      }
    }
    __syncthreads();
    for (int i = thread; i < 2 * at_once * D; i += 256) {
      const int which = i / (at_once * D), j = i / D % at_once, c = i % D;
      float sum = 0;
#pragma unroll
      for (int warp = 0; warp < warps; ++warp) sum += sums[warp][which][j][c];
      if (first + j < sinks) s.parts[((at * 2 + which) * sinks + first + j) * D + c] = sum;
    }
    __syncthreads();
  }
}

/// The sinks' share of dq sqrt(D): 8 columns from `column` on of row r of a query tile.
template <int D, class W>
__device__ __forceinline__ void add_sinks_dq(float (&sum)[8], const SinkShares& s, const SinkExtent& e, int head, Index at,
                                             int r, int column) {
  constexpr int sinks = static_cast<int>(sinks_of<W>);
#pragma unroll 4
  for (int j = 0; j < ::min(sinks, e.length); ++j) {
    const float ds = s.ds[(at * sink_query_tile + r) * sinks + j];
    const auto k = reinterpret_cast<const cuda::Pack<bf16>*>(
        s.k + (static_cast<Index>(e.row + j) * (s.heads / s.group) + head / s.group) * D)[column / 8];
#pragma unroll
    for (int i = 0; i < 8; ++i) sum[i] = fmaf(ds, k[i], sum[i]);
  }
}

/// One block of sink_threads per (extent, key/value head, sink of dk and then of dv): adds the parts of all query tiles to what
/// the window has left there.  `tiles`: of all sequences.  Sequence n of `extents` is sink_extent(extents, n).
inline constexpr int sink_threads = 1024;
template <int D, class W, class Extents>
__global__ __launch_bounds__(sink_threads) void add_sinks(const __grid_constant__ Extents extents, const W window,
                                                          SinkShares s, int tiles, bf16* dk, bf16* dv) {
  constexpr int sinks = static_cast<int>(sinks_of<W>), slices = sink_threads / D;
  __shared__ float sums[slices][D];
  const SinkExtent e = sink_extent(extents, static_cast<int>(blockIdx.x));
  const int g = static_cast<int>(blockIdx.y), which = static_cast<int>(blockIdx.z) / sinks,
            j = static_cast<int>(blockIdx.z) % sinks;
  bf16* const to = which == 0 ? dk : dv;
  if (!to || j >= e.length) return;
  const int c = static_cast<int>(threadIdx.x) % D, slice = static_cast<int>(threadIdx.x) / D;
  const int items = (e.length + sink_query_tile - 1) / sink_query_tile * s.group;
  float sum = 0;
#pragma unroll 4
  for (int i = slice; i < items; i += slices) {
    const int tile = i / s.group, head = g * s.group + i % s.group;
    if (!sees_sinks(window, e.length, tile)) continue;
    const Index at = static_cast<Index>(head) * tiles + e.first + tile;
    sum += s.parts[((at * 2 + which) * sinks + j) * D + c];
  }
  sums[slice][c] = sum;
  __syncthreads();
  if (slice != 0) return;
  for (int other = 1; other < slices; ++other) sum += sums[other][c];
  bf16& out = to[(static_cast<Index>(e.row + j) * (s.heads / s.group) + g) * D + c];
  out = cuda::from_float<bf16>(cuda::to_float(out) + (which == 0 ? s.scale * sum : sum));
}

}  // namespace detail

}  // namespace lolcats::hopper
