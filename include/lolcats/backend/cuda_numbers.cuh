// Numbers in device code: conversions, 16-byte packs, sums over warps and blocks.
#pragma once

#include <lolcats/core/index.hpp>
#include <lolcats/tensor/bf16.hpp>

#include <cuda_bf16.h>

#include <cstdint>
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

/// 2^x and 1 / x, about two units in the last place of fp32; 2^x is 0 for x = -inf.
__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float reciprocal_approx(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// `Width` neighbours; loads and stores of it are one instruction.  By default it fills 16 bytes, the widest one.
template <class T, int Width = 16 / static_cast<int>(sizeof(T))>
struct alignas(sizeof(T) * Width) Pack {
  static constexpr int size = Width;
  T values[Width];

  __device__ __forceinline__ float operator[](int i) const { return to_float(values[i]); }
  __device__ __forceinline__ void set(int i, float x) { values[i] = from_float<T>(x); }
};
template <class T>
constexpr int widest = 16 / static_cast<int>(sizeof(T));

/// Neighbours of T at `x`, which must be aligned to them.
template <int Width, class T>
__device__ __forceinline__ Pack<T, Width> load_pack(const T* x) {
  return *reinterpret_cast<const Pack<T, Width>*>(x);
}
template <int Width, class T>
__device__ __forceinline__ void store_pack(T* x, const Pack<T, Width>& pack) {
  *reinterpret_cast<Pack<T, Width>*>(x) = pack;
}

/// May rows of `cols` elements from these addresses be read in packs of 16 bytes?
template <class... T>
bool packs_fit(Index cols, const T*... data) {
  return ((reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && cols * static_cast<Index>(sizeof(T)) % 16 == 0) && ...);
}

constexpr unsigned full_warp = 0xffffffffU;

/// The sum over each group of `Lanes` neighbours (a power of two) in a warp, in all of them and in one order.  All lanes
/// of the warp must call it.
template <int Lanes, class T>
__device__ __forceinline__ T lanes_sum(T x) {
  static_assert(Lanes > 0 && Lanes <= 32 && (Lanes & (Lanes - 1)) == 0);
#pragma unroll
  for (int offset = Lanes / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(full_warp, x, offset);
  return x;
}
/// The sum over the lanes of a warp.
template <class T>
__device__ __forceinline__ T warp_sum(T x) {
  return lanes_sum<32>(x);
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

/// The largest over the threads of a block of `Threads`, in all of them.  All must call it.
template <int Threads>
__device__ __forceinline__ float block_max(float x) {
  constexpr int warps = Threads / 32;
  static_assert(Threads % 32 == 0);
  __shared__ float partial[warps];
  x = warp_max(x);
  __syncthreads();  // an earlier one may still be read
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  x = partial[0];
#pragma unroll
  for (int i = 1; i < warps; ++i) x = fmaxf(x, partial[i]);
  return x;
}

}  // namespace cuda

}  // namespace lolcats
