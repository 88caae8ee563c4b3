// Hopper's instructions, one small function each: barriers, the copy engine, matrix stores, register budgets.
#pragma once

#include <lolcats/ops/attention/hopper/tensor_map.cuh>
#include <lolcats/ops/attention/hopper/wgmma.cuh>

#include <cstdint>

namespace lolcats::hopper {

/// After this many tries of a wait, each up to a microsecond or so, the kernel ends with an error.  Tests define
/// LOLCATS_TRAP_ENDLESS_WAITS so that a lost arrival shows soon; else the count wraps around first, which takes an hour.
#ifdef LOLCATS_TRAP_ENDLESS_WAITS
inline constexpr std::uint32_t tries_of_wait = 1U << 20;
#else
inline constexpr std::uint32_t tries_of_wait = 0;
#endif

/// The address of something in shared memory as the instructions below take it.
__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

/// The lane of the calling thread, read again at each call: a kept copy costs a register in loops that have none left.
__device__ __forceinline__ int lane_id() {
  int lane;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
}

/// A barrier in shared memory.  Its phases complete one after the other, each when `arrivals` have arrived and the bytes
/// expected have been copied.  `wait(p)` returns once the phase of parity p, counting from 0, has completed; so a waiter
/// may lag one phase behind and never two.
struct Barrier {
  std::uint64_t word;

  __device__ __forceinline__ void init(int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(this)), "r"(arrivals) : "memory");
  }
  /// One arrival, which announces that the copy engine will bring `bytes` more in this phase.
  __device__ __forceinline__ void arrive_expecting(int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(this)), "r"(bytes)
                 : "memory");
  }
  __device__ __forceinline__ void arrive() {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(this)) : "memory");
  }
  /// Written in PTX and with a way out: a loop in C++, or one without end, costs the registers of whole kernels.
  __device__ __forceinline__ void wait(int parity) const {
    asm volatile(
        "{.reg .pred p; .reg .u32 tries; mov.u32 tries, 0;\n"
        "again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1; @p bra done;\n"
        "add.u32 tries, tries, 1; setp.eq.u32 p, tries, %2; @p trap; bra again;\n"
        "done:}" ::"r"(shared_address(this)),
        "r"(parity), "n"(tries_of_wait)
        : "memory");
  }
};

/// Makes initialised barriers visible to the copy engine; then synchronise the block.
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/// Shared memory written by ordinary stores before is visible to the tensor cores and the copy engine after a barrier.
/// Every writing thread calls it.
__device__ __forceinline__ void async_proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/// Waits for `threads` threads, a multiple of 32, at the block's barrier `id`; 0 is __syncthreads'.
__device__ __forceinline__ void named_barrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/// One thread has the copy engine fetch the box at (row, column) of `map` to `to`; `barrier` counts its bytes.
__device__ __forceinline__ void load_box(void* to, const CUtensorMap& map, int row, int column, Barrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
          shared_address(to)),
      "l"(&map), "r"(column), "r"(row), "r"(shared_address(&barrier))
      : "memory");
}
/// One thread fetches `bytes`, a multiple of 16, that lie together.
__device__ __forceinline__ void load_linear(void* to, const void* from, int bytes, Barrier& barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(&barrier))
               : "memory");
}
/// One thread writes `bytes` of shared memory behind a fence and a barrier; they must stay until `wait_for_stores`.
__device__ __forceinline__ void store_linear(void* to, const void* from, int bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(shared_address(from)),
               "r"(bytes)
               : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
/// The thread's stores have read their shared memory.
__device__ __forceinline__ void wait_for_stores() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }

/// Gives this warpgroup's registers above `Count` per thread back, or takes up to `Count`; Count is a multiple of 8.
template <int Count>
__device__ __forceinline__ void shrink_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count) : "memory");
}
template <int Count>
__device__ __forceinline__ void grow_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count) : "memory");
}

/// Where 16-byte chunk `chunk` (0 ... 7) of row `row` of a swizzled panel lies, in bytes from the panel's start.
__device__ __forceinline__ std::uint32_t swizzled(int row, int chunk) {
  return static_cast<std::uint32_t>(row * panel_row_bytes + ((chunk ^ (row & 7)) << 4));
}

/// A warp stores four 8 x 8 matrices of bf16; lane 8 m + r gives the address of row r of matrix m, and every lane holds
/// two neighbours of matrix m in word m: row lane / 4, columns 2 (lane % 4) and the next.
__device__ __forceinline__ void store_matrices(std::uint32_t address, std::uint32_t a, std::uint32_t b, std::uint32_t c,
                                               std::uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(a), "r"(b),
               "r"(c), "r"(d)
               : "memory");
}
/// A warp loads four 8 x 8 matrices, the inverse of store_matrices.
__device__ __forceinline__ void load_matrices(std::uint32_t address, std::uint32_t& a, std::uint32_t& b,
                                              std::uint32_t& c, std::uint32_t& d) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
               : "r"(address)
               : "memory");
}

/// The same, each matrix transposed on the way.
__device__ __forceinline__ void load_matrices_transposed(std::uint32_t address, std::uint32_t& a, std::uint32_t& b,
                                                         std::uint32_t& c, std::uint32_t& d) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
               : "r"(address)
               : "memory");
}
/// A warp adds the product of (16, 16) and (16, 8) to c (16, 8), whose entries lie as in a Fragment.
__device__ __forceinline__ void mma(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/// The same with (16, 8) and (8, 8).
__device__ __forceinline__ void mma(float (&c)[4], const std::uint32_t (&a)[2], std::uint32_t b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(b));
}
/// A warp transposes an 8 x 8 matrix that it holds as store_matrices has it.
__device__ __forceinline__ std::uint32_t transposed(std::uint32_t word) {
  std::uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(word));
  return result;
}

/// 16 bytes of shared memory.
__device__ __forceinline__ uint4 load_shared_16(std::uint32_t address) {
  uint4 x;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "r"(address)
               : "memory");
  return x;
}

/// Two floats as bf16, `low` in the lower half; and back.
__device__ __forceinline__ std::uint32_t pack_bf16(float low, float high) {
  std::uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
__device__ __forceinline__ float low_bf16(std::uint32_t word) { return __uint_as_float(word << 16); }
__device__ __forceinline__ float high_bf16(std::uint32_t word) { return __uint_as_float(word & 0xFFFF0000U); }
/// The larger of each half.
__device__ __forceinline__ std::uint32_t max_bf16(std::uint32_t a, std::uint32_t b) {
  std::uint32_t word;
  asm("max.bf16x2 %0, %1, %2;" : "=r"(word) : "r"(a), "r"(b));
  return word;
}

}  // namespace lolcats::hopper
