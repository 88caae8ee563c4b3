// The backward pass on Hopper: what sinks before a window add to it.
//
// The walks over key tiles know the window alone, and a tile of keys for a few that all queries see would be mostly empty.  So each
// tile of queries has parts of its own of dk and dv, added up in order at the end.  For softmax a block takes a tile, read once, and
// eight sinks, the narrowest product there is: ds of its rows, which give dq, and the parts.  Beside far keys the kernel that
// computes dq makes them (backward_sinks.cuh).
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/attention/fused.hpp>
#include <lolcats/ops/attention/hopper/instructions.cuh>

namespace lolcats::hopper {

/// Rows of a tile of queries here.
inline constexpr int sink_query_tile = 64;

/// q (M, H * D), k and v (M, G * D), and where shares of query tiles go; pieces that nobody wants are null.  `at` numbers
/// query tiles of all heads.
struct SinkShares {
  const bf16 *q = nullptr, *k = nullptr, *v = nullptr;
  int heads = 0, group = 1;
  float scale = 0;         // 1 / sqrt(D), or 1 where ds has it
  float* ds = nullptr;     // (at, 64, sinks)
  float* parts = nullptr;  // (at, 2, sinks, D): of dk / scale and dv
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

/// Sinks of one round of products: the columns of a fragment.
inline constexpr int sinks_at_once = 8;

/// What pull_sinks keeps in shared memory, bf16 as bits.  Rows are 16 bytes longer than D, so that matrices are read without
/// conflicts.
template <int D>
struct SinkTiles {
  static constexpr int pitch = D + 8;
  alignas(16) std::uint16_t rows[2][sink_query_tile][pitch];   // q and dy
  alignas(16) std::uint16_t sinks[2][sinks_at_once][pitch];    // k and v
  float products[2][sink_query_tile][sinks_at_once];  // q.k and dy.v
  alignas(16) std::uint16_t weights[2][sinks_at_once][sink_query_tile + 8];  // ds and p
};

/// ds sqrt(D) and the parts of dk and dv of one query tile of one head, by a block of 256 threads.  `weigh(r, j, q.k, dy.v, p, ds)`
/// gives p / den and ds sqrt(D) of row r and sink j.
///
/// Warps 0 to 3 have q, k, ds and dk, the others dy, v, p and dv; of the products over columns each has 16 rows, of those over
/// rows D / 4 columns.
template <int D, class W, class Weigh>
__device__ __forceinline__ void pull_sinks(const SinkShares& s, const W& window, const SinkExtent& e, int tile, int head,
                                           const bf16* dy, Index at, Weigh&& weigh) {
  constexpr int sinks = static_cast<int>(sinks_of<W>), lanes = D / 8;
  __shared__ SinkTiles<D> t;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32 % 4, which = thread / 128;
  const auto copy = [&](std::uint16_t* to, const bf16* from, int row, int count, int index, int chunk, bool real) {
    uint4 words{0, 0, 0, 0};
    if (real) words = reinterpret_cast<const uint4*>(from + (static_cast<Index>(e.row + row) * count + index) * D)[chunk];
    reinterpret_cast<uint4*>(to)[chunk] = words;
  };
#pragma unroll 4
  for (int i = thread; i < sink_query_tile * lanes; i += 256) {
    const int r = i / lanes, n = tile * sink_query_tile + r;
    copy(t.rows[0][r], s.q, n, s.heads, head, i % lanes, n < e.length);
    copy(t.rows[1][r], dy, n, s.heads, head, i % lanes, n < e.length);
  }
#pragma unroll 1
  for (int first = 0; first < sinks; first += sinks_at_once) {
    for (int i = thread; i < 2 * sinks_at_once * lanes; i += 256) {
      const int j = i / lanes % sinks_at_once, key = first + j;
      copy(t.sinks[i / (sinks_at_once * lanes)][j], i < sinks_at_once * lanes ? s.k : s.v, key, s.heads / s.group,
           head / s.group, i % lanes, key < sinks && key < e.length);
    }
    __syncthreads();
    float c[4] = {};
#pragma unroll
    for (int k = 0; k < D; k += 16) {
      std::uint32_t a[4];
      load_matrices(shared_address(&t.rows[which][16 * warp + lane % 16][k + 8 * (lane / 16)]), a[0], a[1], a[2], a[3]);
      const std::uint16_t* b = &t.sinks[which][lane / 4][k + 2 * (lane % 4)];
      mma(c, a, *reinterpret_cast<const std::uint32_t*>(b), *reinterpret_cast<const std::uint32_t*>(b + 8));
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) t.products[which][16 * warp + lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2] = c[i];
    __syncthreads();
    for (int i = thread; i < sink_query_tile * sinks_at_once; i += 256) {
      const int r = i / sinks_at_once, j = i % sinks_at_once, n = tile * sink_query_tile + r;
      const int seen = n < e.length ? static_cast<int>(::min(sinks_of<W>, window.begin(n))) : 0;
      float p = 0, ds = 0;
      if (first + j < seen) weigh(r, first + j, t.products[0][r][j], t.products[1][r][j], p, ds);
      if (s.ds && first + j < sinks) s.ds[(at * sink_query_tile + r) * sinks + first + j] = ds;
      t.weights[0][j][r] = cuda::from_float<bf16>(ds).bits;
      t.weights[1][j][r] = cuda::from_float<bf16>(p).bits;
    }
    if (!s.parts) continue;
    __syncthreads();
#pragma unroll
    for (int column = warp * D / 4; column < (warp + 1) * D / 4; column += 16) {  // (columns, sinks) = rows^T weights
      float sum[4] = {};
#pragma unroll
      for (int r = 0; r < sink_query_tile; r += 16) {
        std::uint32_t a[4];
        load_matrices_transposed(shared_address(&t.rows[which][r + 8 * (lane / 16) + lane % 8][column + 8 * (lane / 8 % 2)]),
                                 a[0], a[1], a[2], a[3]);
        const std::uint16_t* b = &t.weights[which][lane / 4][r + 2 * (lane % 4)];
        mma(sum, a, *reinterpret_cast<const std::uint32_t*>(b), *reinterpret_cast<const std::uint32_t*>(b + 8));
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int j = first + 2 * (lane % 4) + i % 2, at_column = column + lane / 4 + 8 * (i / 2);
        if (j < sinks) s.parts[((at * 2 + which) * sinks + j) * D + at_column] = sum[i];
      }
    }
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
  const int tiles_here = (e.length + sink_query_tile - 1) / sink_query_tile;
  int unseen = 0;  // tiles that see none come first
  while (unseen < tiles_here && !sees_sinks(window, e.length, unseen)) ++unseen;
  float sum = 0;
#pragma unroll 16
  for (int i = unseen * s.group + slice; i < tiles_here * s.group; i += slices) {
    const int tile = i / s.group, head = g * s.group + i % s.group;
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
