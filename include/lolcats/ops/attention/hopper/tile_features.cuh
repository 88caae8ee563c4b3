// Features of one tile and gradients through them: products with states, pairs with mixed tiles, the map's pullback.
#pragma once

#include <lolcats/ops/attention/hopper/tile_memory.cuh>

namespace lolcats::hopper::tile_pass {

/// Issues z (64, f) = x W, x (64, D) and W (D, f) in shared memory.
template <int D, int f>
__device__ __forceinline__ void issue_projection(Fragment<f>& z, const std::byte* x, const std::byte* weight) {
#pragma unroll
  for (int s = 0; s < D / 16; ++s) {
    wgmma<Contiguous::k, Contiguous::mn>(z.x, columns_descriptor<tile_rows>(shared_address(x), s),
                                         rows_descriptor<D>(shared_address(weight), s), s > 0);
  }
}

/// Issues a (64, N) (+)= x y^T, x (64, K) and y (N, K) in shared memory: scores, weight gradients, products with
/// states.
template <int K, int N>
__device__ __forceinline__ void issue_product(Fragment<N>& a, const std::byte* x, const std::byte* y, bool accumulate) {
#pragma unroll
  for (int s = 0; s < K / 16; ++s) {
    wgmma<Contiguous::k, Contiguous::k>(a.x, columns_descriptor<tile_rows>(shared_address(x), s),
                                        columns_descriptor<N>(shared_address(y), s), accumulate || s > 0);
  }
}

/// Issues a (64, N) += x y, x (64, K) in registers as factors, y (K, N) in shared memory.
template <int K, int N>
__device__ __forceinline__ void issue_row_product(Fragment<N>& a, const std::uint32_t* x, const std::byte* y) {
#pragma unroll
  for (int s = 0; s < K / 16; ++s) wgmma<Contiguous::mn>(a.x, x + 4 * s, rows_descriptor<K>(shared_address(y), s));
}

/// dphi (64, F) -= shift_n z_f for the normalizer z (F) in shared memory.
template <int F>
__device__ __forceinline__ void subtract_normalizer(Fragment<F>& dphi, PerRow shift, const float* normalizer) {
  const int lane = lane_id();
#pragma unroll
  for (int j = 0; j < F / 8; ++j) {
    const float2 z = *reinterpret_cast<const float2*>(normalizer + 8 * j + 2 * (lane & 3));
    dphi.x[4 * j] = fmaf(-shift.of[0], z.x, dphi.x[4 * j]);
    dphi.x[4 * j + 1] = fmaf(-shift.of[0], z.y, dphi.x[4 * j + 1]);
    dphi.x[4 * j + 2] = fmaf(-shift.of[1], z.x, dphi.x[4 * j + 2]);
    dphi.x[4 * j + 3] = fmaf(-shift.of[1], z.y, dphi.x[4 * j + 3]);
  }
}

/// From dy v^T (queries, keys) of a mixed tile to the gradient of far weights, up to the factor beta / den_n of the
/// row: minus delta_n, and zero where the key is not far.  `begin` counts from the first key of the tile.
__device__ __forceinline__ void mask_far_of_queries(Fragment<tile_rows>& g, PerRow delta, const int (&begin)[2]) {
  const int lane = lane_id();
#pragma unroll
  for (int i = 0; i < g.size; ++i) {
    const int r = fragment_row(i);
    g.x[i] = fragment_column(i, lane) < begin[r] ? g.x[i] - delta.of[r] : 0.0F;
  }
}
/// The same for v dy^T (keys, queries), the factor being in the features that it meets; rows are keys from `key` on.
__device__ __forceinline__ void mask_far_of_keys(Fragment<tile_rows>& g, const QueryStatistics& queries,
                                                 const int (&key)[2]) {
  const int lane = lane_id();
#pragma unroll
  for (int j = 0; j < tile_rows / 8; ++j) {
    const int column = 8 * j + 2 * (lane & 3);
    const float2 delta = *reinterpret_cast<const float2*>(queries.delta + column);
    const int2 begin = *reinterpret_cast<const int2*>(queries.begin + column);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      g.x[4 * j + 2 * r] = key[r] < begin.x ? g.x[4 * j + 2 * r] - delta.x : 0.0F;
      g.x[4 * j + 2 * r + 1] = key[r] < begin.y ? g.x[4 * j + 2 * r + 1] - delta.y : 0.0F;
    }
  }
}

/// dz (64, f) from dphi (64, F): the map's pullback behind the clamp's, which passes nothing where it binds.  `far`
/// becomes phi.dphi per row, if asked for.
template <class Map>
__device__ __forceinline__ Fragment<Map::projected> pull_features(const Fragment<Map::projected>& z,
                                                                  const Fragment<Map::projected * Map::count>& dphi,
                                                                  PerRow* far) {
  constexpr int size = Fragment<Map::projected>::size;
  const auto phi = Map::features(z);
  Features<Fragment<Map::projected>, Map::count> gated;
  float dot[2] = {0, 0};
#pragma unroll
  for (int c = 0; c < Map::count; ++c) {
#pragma unroll
    for (int i = 0; i < size; ++i) {
      const float d = dphi.x[c * size + i];
      if (far) dot[fragment_row(i)] = fmaf(phi[c].x[i], d, dot[fragment_row(i)]);  // what the clamp adds is below 1e-12
      gated[c].x[i] = !Map::clamped || phi[c].x[i] > static_cast<float>(Map::floor) ? d : 0.0F;
    }
  }
  if (far) *far = {{quad_sum(dot[0]), quad_sum(dot[1])}};
  return Map::pullback(z, phi, gated);
}

}  // namespace lolcats::hopper::tile_pass
