// The fused forward pass: the state warpgroup, which sums over far keys.
#pragma once

#include <lolcats/ops/attention/hopper/forward_memory.cuh>

namespace lolcats::hopper::forward_pass {

/// S (F, D) and z (F) in the registers of one warpgroup, fp32.
template <class S>
struct FarSums {
  static constexpr int blocks = S::F / 64;
  float sums[blocks][S::D / 2];  // (64, D) each
  float normalizer[blocks][4];   // (64, 8), equal columns

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int b = 0; b < blocks; ++b) {
#pragma unroll
      for (int i = 0; i < S::D / 2; ++i) sums[b][i] = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) normalizer[b][i] = 0;
    }
  }

  /// S += phi^T v, z += phi^T 1, for phi (64, F) and v (64, D) in shared memory.
  __device__ __forceinline__ void add(std::uint32_t phi, std::uint32_t v, std::uint32_t ones) {
    wgmma_fence();
#pragma unroll
    for (int s = 0; s < tile / 16; ++s) {
#pragma unroll
      for (int b = 0; b < blocks; ++b) {
        const std::uint64_t features = rows_descriptor<tile>(phi, s, b);
        wgmma<Contiguous::mn, Contiguous::mn>(sums[b], features, rows_descriptor<tile>(v, s));
        wgmma<Contiguous::mn, Contiguous::k>(normalizer[b], features, plain_descriptor(ones, 128, 128));
      }
    }
    wgmma_commit();
    wgmma_wait();
#pragma unroll
    for (int b = 0; b < blocks; ++b) pin(sums[b]), pin(normalizer[b]);
  }

  /// Writes S rounded to bf16, and z in parts, as factors of the output's product.
  __device__ __forceinline__ void store(SharedTile<S::F, S::D>& to, SplitNormalizer<S::F>& z) const {
    const int row = 16 * (static_cast<int>(threadIdx.x / 32) % warps);
#pragma unroll
    for (int b = 0; b < blocks; ++b) {
      std::uint32_t words[S::D / 4];
#pragma unroll
      for (int i = 0; i < S::D / 4; ++i) words[i] = pack_bf16(sums[b][2 * i], sums[b][2 * i + 1]);
      store_rows<S::F, S::D>(to.address(), 64 * b + row, words);
      const int lane = lane_id();
      if ((lane & 3) == 0) {
        z.store(64 * b + row + lane / 4, normalizer[b][0]);
        z.store(64 * b + row + lane / 4 + 8, normalizer[b][2]);
      }
    }
  }

  /// The same in fp32 device memory: S (F, D), then z (F).
  __device__ __forceinline__ void store(float* to) const {
    each([&](int b, int i, int row, int column) {
      *reinterpret_cast<float2*>(to + row * S::D + column) = float2{sums[b][i], sums[b][i + 1]};
    });
    const int lane = lane_id();
    if ((lane & 3) == 0) each_row([&](int b, int i, int row) { to[S::F * S::D + row] = normalizer[b][i]; });
  }
  __device__ __forceinline__ void load(const float* from) {
    each([&](int b, int i, int row, int column) {
      const float2 pair = *reinterpret_cast<const float2*>(from + row * S::D + column);
      sums[b][i] = pair.x, sums[b][i + 1] = pair.y;
    });
    each_row([&](int b, int i, int row) { normalizer[b][i] = normalizer[b][i + 1] = from[S::F * S::D + row]; });
#pragma unroll
    for (int b = 0; b < blocks; ++b) pin(sums[b]), pin(normalizer[b]);
  }

 private:
  template <class Visit>
  static __device__ __forceinline__ void each_row(Visit&& visit) {
    const int row = 16 * (static_cast<int>(threadIdx.x / 32) % warps) + lane_id() / 4;
#pragma unroll
    for (int b = 0; b < blocks; ++b) visit(b, 0, 64 * b + row), visit(b, 2, 64 * b + row + 8);
  }
  template <class Visit>
  static __device__ __forceinline__ void each(Visit&& visit) {
    const int column = 2 * (lane_id() & 3);
    each_row([&](int b, int r, int row) {
#pragma unroll
      for (int j = 0; j < S::D / 8; ++j) visit(b, 4 * j + r, row, 8 * j + column);
    });
  }
};

/// Sums over the keys that become far in this walk, and publishes them for each tile of queries in turn.
///
/// The output warpgroup of tile t maps key tile t - lag; its queries read the sums over the tiles before that one.  In shared
/// memory they start as zeros.
template <class S>
__device__ __forceinline__ void state_role(ForwardMemory<S>& memory, const Walk& walk, const float* initial) {
  FarSums<S> far;
  far.clear();
  if (initial) {
    far.load(initial);
    far.store(memory.sums, memory.normalizer);
  }
  const int first = ::max(walk.begin, S::lag);  // the tiles of queries before this one map nothing
  publish(memory.sums_full[0]);
  if (first > walk.begin) {
    memory.sums_empty.wait(0);
    publish(memory.sums_full[1]);
  }

#pragma unroll 1
  for (int t = first; t < walk.end - 1; ++t) {
    const int i = t - first;  // uses of the rings; the two output warpgroups take turns
    const int by = (t - walk.begin) & 1;
    memory.phi_full[by].wait((i / 2) & 1);
    memory.v_barriers.wait_full(i);
    far.add(memory.phi[by].address(), memory.v.at(i).address(), shared_address(memory.ones));
    arrive_per_warp(memory.phi_empty[by]);
    if (lane_id() == 0) memory.v_barriers.release(i);
    memory.sums_empty.wait(by);
    far.store(memory.sums, memory.normalizer);
    publish(memory.sums_full[1 - by]);
  }
}

}  // namespace lolcats::hopper::forward_pass
