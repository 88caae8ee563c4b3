// The fused forward pass: the sums before each chunk, where sequences are cut in several.
#pragma once

#include <lolcats/ops/attention/hopper/forward_state.cuh>

namespace lolcats::hopper::forward_pass {

/// Two warpgroups map tiles of keys in turn, a third adds them up, one lane of each of two warps of a fourth fetches them.
inline constexpr int chunk_threads = 512;

/// Shared memory of sum_chunks.
template <class S>
struct ChunkMemory {
  static constexpr int stages = 4;            // even: a mapping warpgroup sees every phase of its slots
  SharedTile<S::D, S::f> key_map;             // (D, f)
  Ring<SharedTile<tile, S::D>, stages> k, v;  // (64, D)
  SharedTile<tile, S::F> phi[2];              // (64, F), one per mapping warpgroup
  alignas(128) std::uint16_t ones[16 * 8];    // (16, 8), without swizzle
  bf16 key_bias[S::f];
  Walk walk;
  typename decltype(k)::Barriers k_barriers, v_barriers;
  Barrier weights_full;
  Barrier phi_full[2], phi_empty[2];
};

/// The sums over the keys that become far within each chunk, into the record of the next chunk; grid (H, chunks).
///
/// The last chunk of a sequence has a next one only if sequences are resumed; then the sums end with the leaving keys.
template <class S>
__global__ __launch_bounds__(chunk_threads,
                             1) void sum_chunks(const __grid_constant__ TensorMaps maps,
                                                const __grid_constant__ Parameters<typename S::Window> p) {
  using Map = typename S::Map;
  extern __shared__ __align__(1024) std::byte shared[];
  auto& memory = *reinterpret_cast<ChunkMemory<S>*>(shared);
  const int h = static_cast<int>(blockIdx.x);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    p.find(memory.walk, static_cast<int>(blockIdx.y));
    memory.weights_full.init(1);
    memory.k_barriers.init(warps);
    memory.v_barriers.init(warps);
    for (Barrier& b : memory.phi_full) b.init(warps);
    for (Barrier& b : memory.phi_empty) b.init(warps);
    barrier_init_fence();
  }
  if (thread < 16 * 8) memory.ones[thread] = 0x3F80;  // 1 in bf16
  load_bias<Map>(memory.key_bias, p.key_bias, p.key_map_head(h), thread, chunk_threads);
  async_proxy_fence();
  __syncthreads();
  const Walk& walk = memory.walk;
  if (walk.last && !p.resumed) return;
  const int first = ::max(walk.begin - S::lag, 0);
  // Keys from the first tile on, and how many tiles they take.
  const int keys = (walk.last ? p.resumed[walk.sequence].leaving : (walk.end - S::lag) * tile) - first * tile;
  const int count = (::max(keys, 0) + tile - 1) / tile;

  const int warpgroup = thread / 128, warp = thread / 32 % warps;
  if (warpgroup == 3) {
    shrink_registers<producer_registers>();
    if (lane_id() == 0 && warp < 2) {
      const int g = h / p.group;
      auto& ring = warp == 0 ? memory.k : memory.v;
      auto& barriers = warp == 0 ? memory.k_barriers : memory.v_barriers;
      const CUtensorMap& map = warp == 0 ? maps.k : maps.v;
      if (warp == 0) {
        memory.weights_full.arrive_expecting(memory.key_map.bytes);
        memory.key_map.load(maps.key_map, p.key_map_head(h) * S::D, 0, memory.weights_full);
      }
      for (int i = 0; i < count; ++i) {
        barriers.wait_empty(i);
        ring.load(i, barriers, map, walk.row + (first + i) * tile, g * S::D);
      }
    }
  } else if (warpgroup == 2) {
    grow_registers<state_registers>();
    FarSums<S> far;
    far.clear();
#pragma unroll 1
    for (int i = 0; i < count; ++i) {
      memory.phi_full[i & 1].wait((i / 2) & 1);
      memory.v_barriers.wait_full(i);
      if ((i + 1) * tile > keys) clear_tail<S::D>(memory.v.at(i), keys - i * tile, 1);
      far.add(memory.phi[i & 1].address(), memory.v.at(i).address(), shared_address(memory.ones));
      arrive_per_warp(memory.phi_empty[i & 1]);
      if (lane_id() == 0) memory.v_barriers.release(i);
    }
    far.store(p.record(walk.chunk + 1, walk.sequence, h, S::state_floats));
  } else {
    grow_registers<output_registers>();
    memory.weights_full.wait(0);
    const Rows rows;
#pragma unroll 1
    for (int i = warpgroup; i < count; i += 2) {
      memory.k_barriers.wait_full(i);
      Fragment<S::f> z;  // (64, f)
      wgmma_fence();
      project<S::D, S::f>(z, memory.k.at(i).address(), memory.key_map.address());
      wgmma_commit();
      wgmma_wait();
      pin(z.x);
      if (lane_id() == 0) memory.k_barriers.release(i);
      std::uint32_t phi[S::F / 4];  // (64, F)
      add_bias<Map>(z, memory.key_bias);
      pack_features<Map>(z, phi);
      drop_sinks<S>(phi, rows, first + i);
      if ((i + 1) * tile > keys) {
#pragma unroll
        for (int j = 0; j < S::F / 4; ++j) {
          if (i * tile + rows.of(j & 1) >= keys) phi[j] = 0;
        }
      }
      if (i >= 2) memory.phi_empty[warpgroup].wait((i / 2 - 1) & 1);
      store_rows<tile, S::F>(memory.phi[warpgroup].address(), 16 * warp, phi);
      publish(memory.phi_full[warpgroup]);
    }
  }
}

/// The records of a sequence's chunks become running sums; grid (elements / 4 / threads, H, sequences).
///
/// Resumed sequences begin with what they have, and have the sums behind the last chunk in the end.
template <class S>
__global__ void accumulate_chunks(const __grid_constant__ Parameters<typename S::Window> p) {
  constexpr int floats = S::state_floats, matrix = S::F * S::D;
  const int element = 4 * static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (element >= floats) return;
  const int h = static_cast<int>(blockIdx.y), n = static_cast<int>(blockIdx.z);
  const auto record = [&](int chunk) -> float4& {
    return *reinterpret_cast<float4*>(p.record(chunk, n, h, floats) + element);
  };
  const int first = p.extents.first_chunk[n], end = p.extents.first_chunk[n + 1] + (p.resumed ? 1 : 0);
  float4 sum{0, 0, 0, 0};
  float4* held = nullptr;
  if (p.resumed) {
    const Resumed& r = p.resumed[n];
    held = reinterpret_cast<float4*>(element < matrix ? r.sums + static_cast<Index>(h) * matrix + element
                                                      : r.normalizer + h * S::F + element - matrix);
    record(first) = sum = *held;
  }
#pragma unroll 4
  for (int chunk = first + 1; chunk < end; ++chunk) {
    const float4 add = record(chunk);
    sum = float4{sum.x + add.x, sum.y + add.y, sum.z + add.z, sum.w + add.w};
    record(chunk) = sum;
  }
  if (held) *held = sum;
}

}  // namespace lolcats::hopper::forward_pass
