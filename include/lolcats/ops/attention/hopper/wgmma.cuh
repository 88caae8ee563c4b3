// wgmma: products of a warpgroup with operands in shared memory, accumulators in registers.
#pragma once

#include <cstdint>

namespace lolcats::hopper {

/// Which axis of an operand in shared memory is contiguous: its reduction axis K, or its other axis (M of A, N of B).
enum class Contiguous : int { k = 0, mn = 1 };

namespace detail {
__device__ __forceinline__ std::uint64_t descriptor(std::uint32_t low, std::uint32_t high) {
  std::uint64_t word;
  asm("mov.b64 %0, {%1, %2};" : "=l"(word) : "r"(low), "r"(high));
  return word;
}
/// Upper words: eight rows of 128 bytes to the next group of rows; the 128-byte swizzle.
inline constexpr std::uint32_t swizzle_128_high = (1024U >> 4) | (1U << 30);
}  // namespace detail

/// Operands live in tiles of panels: a panel is (rows, 64) bf16, one row 128 bytes, swizzled over 128 bytes as the copy
/// engine and `swizzled` leave it; panels follow each other, columns [64 p, 64 p + 64) in panel p.  Tiles start at
/// multiples of 1024 bytes.
///
/// Step `s` (16 of K) of an operand whose K runs along the tile's columns: (M or N, K) stored row by row.
template <int Rows>
__device__ __forceinline__ std::uint64_t columns_descriptor(std::uint32_t tile, int s) {
  return detail::descriptor((tile >> 4) + static_cast<std::uint32_t>((s / 4) * (Rows * 8) + (s % 4) * 2) + (1U << 16),
                            detail::swizzle_128_high);
}
/// Step `s` (16 of K) of an operand whose K runs along the tile's rows: (K, M or N) stored row by row.  `panel` is the
/// first panel read; wider operands take the panels after it.
template <int Rows>
__device__ __forceinline__ std::uint64_t rows_descriptor(std::uint32_t tile, int s, int panel = 0) {
  return detail::descriptor((tile >> 4) + static_cast<std::uint32_t>(panel * (Rows * 8) + s * 128) +
                                (static_cast<std::uint32_t>(Rows * 8) << 16),
                            detail::swizzle_128_high);
}
/// An operand without swizzle: 8 x 8 cores of 128 contiguous bytes, `k_stride` and `mn_stride` bytes apart.
__device__ __forceinline__ std::uint64_t plain_descriptor(std::uint32_t tile, std::uint32_t k_stride,
                                                          std::uint32_t mn_stride) {
  return detail::descriptor((tile >> 4) | ((k_stride >> 4) << 16), mn_stride >> 4);
}

/// Registers and shared memory written before are visible to the products after it.  Needed before the first product on
/// registers that other instructions touched, and after every wait on a barrier (else ptxas serialises: C7520).
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/// Closes a group of products.
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Waits until at most `Pending` of the latest groups are unfinished.
template <int Pending = 0>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}
/// Keeps the compiler from moving reads and writes of these registers across: call it on accumulators after the wait.
template <class T, int Size>
__device__ __forceinline__ void pin(T (&registers)[Size]) {
#pragma unroll
  for (int i = 0; i < Size; ++i) {
    if constexpr (sizeof(T) == 4 && T(0.5F) != T(0)) {
      asm volatile("" : "+f"(registers[i])::"memory");
    } else {
      asm volatile("" : "+r"(registers[i])::"memory");
    }
  }
}

// Operand lists of 4, 32 and 64 accumulators.
#define LOLCATS_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define LOLCATS_D16(i) LOLCATS_D4(i), LOLCATS_D4(i + 4), LOLCATS_D4(i + 8), LOLCATS_D4(i + 12)
#define LOLCATS_D32 LOLCATS_D16(0), LOLCATS_D16(16)
#define LOLCATS_D64 LOLCATS_D32, LOLCATS_D16(32), LOLCATS_D16(48)
#define LOLCATS_N4 "%0,%1,%2,%3"
#define LOLCATS_N32 \
  LOLCATS_N4        \
      ",%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define LOLCATS_N64                                                                                               \
  LOLCATS_N32                                                                                                     \
      ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57," \
      "%58,%59,%60,%61,%62,%63"
// `a`, `b`, `s`, `ta`, `tb`: the numbers of the operands that follow the accumulators.
#define LOLCATS_SHARED(n, numbers, outputs, a, b, s, ta, tb)                                            \
  asm volatile("{.reg .pred p; setp.ne.b32 p, %" #s                                                     \
               ", 0;\n"                                                                                 \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" numbers "}, %" #a ", %" #b  \
               ", p, 1, 1, %" #ta ", %" #tb ";}\n"                                                      \
               : outputs                                                                                \
               : "l"(a_tile), "l"(b_tile), "r"(static_cast<int>(accumulate)), "n"(static_cast<int>(A)), \
                 "n"(static_cast<int>(B)))
#define LOLCATS_REGISTERS(n, numbers, outputs, a0, a1, a2, a3, b, s, tb)                                          \
  asm volatile("{.reg .pred p; setp.ne.b32 p, %" #s                                                               \
               ", 0;\n"                                                                                           \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" numbers "}, {%" #a0 ",%" #a1 ",%" #a2 \
               ",%" #a3 "}, %" #b ", p, 1, 1, %" #tb ";}\n"                                                       \
               : outputs                                                                                          \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_tile), "r"(static_cast<int>(accumulate)),      \
                 "n"(static_cast<int>(B)))

/// d (64, N) (+)= a (64, 16) b (16, N), all operands bf16 in shared memory, sums in fp32; N = 2 Size is 8, 64 or 128.
///
/// Thread t of the warpgroup, with lane l of warp w, holds of columns 8 j ... 8 j + 7 the entries (16 w + l / 4, 2 (l % 4) + {0, 1}) in
/// d[4 j + {0, 1}], and those eight rows below in d[4 j + {2, 3}].  Asynchronous: fence, issue, commit, wait, pin.
template <Contiguous A, Contiguous B, int Size>
__device__ __forceinline__ void wgmma(float (&d)[Size], std::uint64_t a_tile, std::uint64_t b_tile,
                                      bool accumulate = true) {
  static_assert(Size == 4 || Size == 32 || Size == 64, "wgmma is written for N = 8, 64 and 128");
  if constexpr (Size == 4) {
    LOLCATS_SHARED(8, LOLCATS_N4, LOLCATS_D4(0), 4, 5, 6, 7, 8);
  } else if constexpr (Size == 32) {
    LOLCATS_SHARED(64, LOLCATS_N32, LOLCATS_D32, 32, 33, 34, 35, 36);
  } else {
    LOLCATS_SHARED(128, LOLCATS_N64, LOLCATS_D64, 64, 65, 66, 67, 68);
  }
}

/// The same with a (64, 16) in registers: four words of two bf16 per thread, as `pack` makes them of accumulators.  They
/// must stay untouched until the product is waited for.
template <Contiguous B, int Size>
__device__ __forceinline__ void wgmma(float (&d)[Size], const std::uint32_t* a, std::uint64_t b_tile,
                                      bool accumulate = true) {
  static_assert(Size == 4 || Size == 32 || Size == 64, "wgmma is written for N = 8, 64 and 128");
  if constexpr (Size == 4) {
    LOLCATS_REGISTERS(8, LOLCATS_N4, LOLCATS_D4(0), 4, 5, 6, 7, 8, 9, 10);
  } else if constexpr (Size == 32) {
    LOLCATS_REGISTERS(64, LOLCATS_N32, LOLCATS_D32, 32, 33, 34, 35, 36, 37, 38);
  } else {
    LOLCATS_REGISTERS(128, LOLCATS_N64, LOLCATS_D64, 64, 65, 66, 67, 68, 69, 70);
  }
}

#undef LOLCATS_D4
#undef LOLCATS_D16
#undef LOLCATS_D32
#undef LOLCATS_D64
#undef LOLCATS_N4
#undef LOLCATS_N32
#undef LOLCATS_N64
#undef LOLCATS_SHARED
#undef LOLCATS_REGISTERS

}  // namespace lolcats::hopper
