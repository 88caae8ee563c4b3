// Numbers in device code: conversions, 16-byte packs, sums over warps and blocks.
#pragma once

#include <lolcats/core/index.hpp>
#include <lolcats/tensor/bf16.hpp>

#include <cuda_bf16.h>

#include <type_traits>

namespace lolcats {

static_assert(sizeof(bf16) == sizeof(__nv_bfloat16) && alignof(bf16) == alignof(__nv_bfloat16));

namespace cuda {

/// The same elements under the type of CUDA's headers.
inline __host__ __device__ __nv_bfloat16* native(bf16* x) { return reinterpret_cast<__nv_bfloat16*>(x); }
inline __host__ __device__ const __nv_bfloat16* native(const bf16* x) {
  return reinterpret_cast<const __nv_bfloat16*>(x);
}

/// Rounded to nearest, ties to even.
template <class T>
__device__ __forceinline__ T from_float(float x) {
  if constexpr (std::is_same_v<T, bf16>) {
    bf16 y;
    y.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
    return y;
  } else {
    return static_cast<T>(x);
  }
}

__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
__device__ __forceinline__ float to_float(float x) { return x; }

/// What 16 bytes hold; loads and stores of it are one instruction.
template <class T>
struct alignas(16) Pack {
  static constexpr int size = 16 / sizeof(T);
  T values[size];

  __device__ __forceinline__ float operator[](int i) const { return to_float(values[i]); }
  __device__ __forceinline__ void set(int i, float x) { values[i] = from_float<T>(x); }
};

constexpr unsigned full_warp = 0xffffffffU;

/// The sum over the lanes of a warp, in all of them and in one order.
template <class T>
__device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(full_warp, x, offset);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(full_warp, x, offset));
  return x;
}

/// The sum over the threads of a block of `Threads` (a multiple of 32), in all of them.  All must call it.
template <int Threads, class T>
__device__ __forceinline__ T block_sum(T x) {
  constexpr int warps = Threads / 32;
  static_assert(Threads % 32 == 0);
  if constexpr (warps == 1) return warp_sum(x);
  __shared__ T partial[warps];
  x = warp_sum(x);
  __syncthreads();  // an earlier sum may still be read
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  T total = 0;
#pragma unroll
  for (int i = 0; i < warps; ++i) total += partial[i];
  return total;
}

}  // namespace cuda

}  // namespace lolcats
