// The backward pass on Hopper: what sinks before a window add to it.
//
// The walks over key tiles know the window alone, and a tile of keys for a few that all queries see would be mostly empty.  So
// tiles of queries have parts of their own of dk and dv, made where q and dy are at hand and added up in order at the end: those of
// softmax before the walk (softmax_backward_sinks.cuh), those beside far keys in the kernel that computes dq (backward_sinks.cuh).
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/attention/fused.hpp>
#include <lolcats/ops/attention/hopper/instructions.cuh>

namespace lolcats::hopper {

/// k and v (M, G * D), and where shares of sinks go; pieces that nobody wants are null.
struct SinkShares {
  const bf16 *k = nullptr, *v = nullptr;
  float* ds = nullptr;     // (H, query tiles, 64, sinks), ds sqrt(D)
  float* parts = nullptr;  // (G, query tiles, 2, sinks, D): of dk sqrt(D) and dv
};

/// A sequence: its first row and number of rows, and the number of its first tile among those of all.
struct SinkExtent {
  int row, length, first;
};

namespace detail {

/// Does some query of this tile of `Rows` have sinks outside of its window?
template <int Rows, class W>
__device__ __forceinline__ bool sees_sinks(const W& window, int length, int tile) {
  const int first = tile * Rows;
  return sinks_of<W> > 0 && first < length && window.begin(::min(length, first + Rows) - 1) > 0;
}

/// One block of sink_threads per (extent, key/value head, sink of dk and then of dv): adds the parts of all tiles of `Rows` queries
/// to what the window has left there.  Sequence n of `extents` is sink_extent(extents, n), `tiles` are those of all sequences.
/// parts (G, copies, tiles, 2, sinks, D): of dk / scale and dv; a tile has `copies` of them, one or one per query head of the group.
inline constexpr int sink_threads = 1024;
template <int D, int Rows, class W, class Extents>
__global__ __launch_bounds__(sink_threads) void add_sinks(const __grid_constant__ Extents extents, const W window,
                                                          const float* parts, int copies, int tiles, float scale, bf16* dk,
                                                          bf16* dv) {
  constexpr int sinks = static_cast<int>(sinks_of<W>), slices = sink_threads / D;
  __shared__ float sums[slices][D];
  const SinkExtent e = sink_extent(extents, static_cast<int>(blockIdx.x));
  const int g = static_cast<int>(blockIdx.y), which = static_cast<int>(blockIdx.z) / sinks,
            j = static_cast<int>(blockIdx.z) % sinks;
  bf16* const to = which == 0 ? dk : dv;
  if (!to || j >= e.length) return;
  const int c = static_cast<int>(threadIdx.x) % D, slice = static_cast<int>(threadIdx.x) / D;
  const int tiles_here = (e.length + Rows - 1) / Rows;
  int unseen = 0;  // tiles that see none come first
  while (unseen < tiles_here && !sees_sinks<Rows>(window, e.length, unseen)) ++unseen;
  constexpr int ahead = 8;  // reads under way; the number of parts is often no more
  const int end = tiles_here * copies;
  float sum = 0;
  for (int i = unseen * copies + slice; i < end; i += ahead * slices) {
    float x[ahead];
#pragma unroll
    for (int u = 0; u < ahead; ++u) {
      const int part = i + u * slices;
      const Index at = static_cast<Index>(g * copies + part % copies) * tiles + e.first + part / copies;
      x[u] = part < end ? parts[((at * 2 + which) * sinks + j) * D + c] : 0.0F;
    }
#pragma unroll
    for (int u = 0; u < ahead; ++u) sum += x[u];
  }
  sums[slice][c] = sum;
  __syncthreads();
  if (slice != 0) return;
  for (int other = 1; other < slices; ++other) sum += sums[other][c];
  bf16& out = to[(static_cast<Index>(e.row + j) * gridDim.y + g) * D + c];
  out = cuda::from_float<bf16>(cuda::to_float(out) + (which == 0 ? scale * sum : sum));
}

}  // namespace detail

}  // namespace lolcats::hopper
