// The fused forward pass: the kernels, made of a producer, output warpgroups and a state warpgroup.
#pragma once

#include <lolcats/ops/attention/hopper/forward_output.cuh>
#include <lolcats/ops/attention/hopper/forward_state.cuh>

namespace lolcats::hopper::forward_pass {

/// Threads of the forward kernel: output warpgroups 0 and 1, the state warpgroup, the producer.
inline constexpr int forward_threads = 512;

/// One lane of each of three warps keeps the rings full.
template <class S>
__device__ __forceinline__ void producer_role(ForwardMemory<S>& memory, const TensorMaps& maps,
                                              const Parameters<typename S::Window>& p, const Walk& walk, int h) {
  if (lane_id() != 0) return;
  const int warp = static_cast<int>(threadIdx.x / 32) % warps;
  const int g = h / p.group;
  const int first = ::max(walk.begin - S::lag, 0);  // the tile before the chunk, where windows reach into it
  if (warp == 0) {
    memory.weights_full.arrive_expecting(2 * decltype(memory.query_map)::bytes);
    memory.key_map.load(maps.key_map, p.key_map_head(h) * S::D, 0, memory.weights_full);
    memory.query_map.load(maps.query_map, h * S::D, 0, memory.weights_full);
    for (int i = 0; first + i < walk.end; ++i) {
      memory.k_barriers.wait_empty(i);
      memory.k.load(i, memory.k_barriers, maps.k, walk.row + (first + i) * tile, g * S::D);
    }
  } else if (warp == 1) {
    for (int i = 0; walk.begin + i < walk.end; ++i) {
      if (i >= S::q_stages) memory.q_empty[i % S::q_stages].wait((i / S::q_stages - 1) & 1);
      auto& slot = memory.q[i % S::q_stages];
      Barrier& full = memory.q_full[i & 1];
      full.arrive_expecting(slot.bytes);
      slot.load(maps.q, walk.query_row + (walk.begin + i) * tile, h * S::D, full);
    }
  } else if (warp == 2) {
    for (int i = 0; first + i < walk.end; ++i) {
      memory.v_barriers.wait_empty(i);
      memory.v.load(i, memory.v_barriers, maps.v, walk.row + (first + i) * tile, g * S::D);
    }
  }
}

/// The block's threads zero an object in shared memory.
template <class T>
__device__ __forceinline__ void fill_zero(T& object, int thread) {
  static_assert(sizeof(T) % 16 == 0);
  for (int i = thread; i < static_cast<int>(sizeof(T) / 16); i += forward_threads) {
    reinterpret_cast<uint4*>(&object)[i] = uint4{0, 0, 0, 0};
  }
}

/// y of one chunk of one sequence for one query head; grid (H, chunks).
template <class S>
__global__ __launch_bounds__(forward_threads,
                             1) void forward_kernel(const __grid_constant__ TensorMaps maps,
                                                    const __grid_constant__ Parameters<typename S::Window> p) {
  extern __shared__ __align__(1024) std::byte shared[];
  auto& memory = *reinterpret_cast<ForwardMemory<S>*>(shared);
  const int h = static_cast<int>(blockIdx.x);
  const int thread = static_cast<int>(threadIdx.x);

  if (thread == 32) {
    p.find(memory.walk, static_cast<int>(blockIdx.y));
    if constexpr (S::sinks > 0) memory.sinks.find(p, memory.walk, h);
  }
  if (thread == 64) memory.mixing.find(p.window_factors, h, p.affine);
  if (thread == 0) {
    memory.weights_full.init(1);
    memory.k_barriers.init(S::lag == 1 ? 2 * warps : warps);
    memory.v_barriers.init((S::lag == 1 ? 3 : 2) * warps);
    for (Barrier& b : memory.q_full) b.init(1);
    for (Barrier& b : memory.q_empty) b.init(warps);
    for (Barrier& b : memory.phi_full) b.init(warps);
    for (Barrier& b : memory.phi_empty) b.init(warps);
    for (Barrier& b : memory.sums_full) b.init(warps);
    memory.sums_empty.init(warps);
    barrier_init_fence();
  }
  for (int i = thread; i < 16 * 8; i += forward_threads) memory.ones[i] = 0x3F80;  // 1 in bf16
  fill_zero(memory.sums, thread);
  fill_zero(memory.normalizer, thread);
  load_bias<typename S::Map>(memory.query_bias, p.query_bias, h, thread, forward_threads);
  load_bias<typename S::Map>(memory.key_bias, p.key_bias, p.key_map_head(h), thread, forward_threads);
  async_proxy_fence();
  __syncthreads();

  const Walk& walk = memory.walk;
  const int warpgroup = thread / 128;
  if (warpgroup == 3) {
    shrink_registers<producer_registers>();
    producer_role<S>(memory, maps, p, walk, h);
  } else if (warpgroup == 2) {
    grow_registers<state_registers>();
    const float* initial = nullptr;  // S and z of the chunks before, or of a slot
    if (!walk.first || p.resumed) initial = p.record(walk.chunk, walk.sequence, h, S::state_floats);
    state_role<S>(memory, walk, initial);
  } else {
    grow_registers<output_registers>();
    OutputRole<S> role{memory, p, walk, warpgroup};
    role.run();
  }
}

}  // namespace lolcats::hopper::forward_pass
