// Tiles of 64 x 64 floats in shared memory and their products: the arithmetic of the general attention kernels.
#pragma once

#include <lolcats/backend/cuda_numbers.cuh>

#include <cstdint>
#include <type_traits>

namespace lolcats::general {

inline constexpr int tile = 64;         // rows and columns of a tile
inline constexpr int tile_stride = 68;  // elements from row to row: 4 more than 64, so that a column meets 8 banks
inline constexpr int tile_floats = tile * tile_stride;
inline constexpr int tile_threads = 256;  // threads of a block that works on tiles

/// Rows that a block reads: `width` columns of T, and one more that is made up, if wanted.
///
/// A negative stride reads a sequence backwards.  Row r counts from `data`.
template <class T>
struct Rows {
  const T* data = nullptr;
  std::int64_t stride = 0;
  int width = 0;
  const float* factors = nullptr;  // every row is multiplied by one of these, `factor_stride` apart
  std::int64_t factor_stride = 0;
  /// The further column: `extra` times the row's, or `extra` alone, or none where it is 0.
  const float* extras = nullptr;
  std::int64_t extra_stride = 0;
  float extra = 0;

  __device__ __forceinline__ const T* row(int r) const { return data + r * stride; }
  __device__ __forceinline__ bool aligned() const {  // for loads of four elements
    return stride % 4 == 0 && reinterpret_cast<std::uintptr_t>(data) % (4 * sizeof(T)) == 0;
  }
  __device__ __forceinline__ bool has_extra() const { return extra != 0; }
  __device__ __forceinline__ float extra_of(int r) const { return extras ? extra * extras[r * extra_stride] : extra; }
  __device__ __forceinline__ bool has_factors() const { return factors != nullptr; }
  __device__ __forceinline__ float factor_of(int r) const { return factors[r * factor_stride]; }
};

/// The same from anywhere: a pointer per row of the tile.
template <class T>
struct GatheredRows {
  const T* const* rows = nullptr;
  int width = 0;
  bool whole = false;  // are all rows aligned for loads of four elements?

  __device__ __forceinline__ const T* row(int r) const { return rows[r]; }
  __device__ __forceinline__ bool aligned() const { return whole; }
  __device__ __forceinline__ bool has_extra() const { return false; }
  __device__ __forceinline__ float extra_of(int) const { return 0; }
  __device__ __forceinline__ bool has_factors() const { return false; }
  __device__ __forceinline__ float factor_of(int) const { return 1; }
};

/// The power of two, at least 8, to which `stage` fills a tile of `columns` columns with zeros.
__device__ __forceinline__ int padded_bits(int columns) {
  return columns <= 8 ? 3 : columns <= 16 ? 4 : columns <= 32 ? 5 : 6;
}

/// Copies rows [first, first + count) and columns [column, column + 64) to a tile; zeros in all rows and columns that
/// are not there, the latter up to the next power of two.  All threads of the block take part; no barrier.  Not inlined:
/// a kernel calls it up to ten times, and would take minutes to compile.
template <class Source>
__device__ __noinline__ void stage(float* to, const Source& from, int first, int count, int column) {
  using T = std::remove_cvref_t<decltype(*from.row(0))>;
  struct alignas(4 * sizeof(T)) Four {
    T values[4];
  };
  const int there = min(tile, max(0, from.width - column));
  const bool more = from.width - column < tile && from.width >= column && from.has_extra();
  const bool whole = from.aligned();
  if (whole && there == tile && !from.has_factors()) {  // every load in flight before the first store
    const int row = static_cast<int>(threadIdx.x) / 16, at = static_cast<int>(threadIdx.x) % 16 * 4;
    Four fours[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = row + 16 * i;
      fours[i] = r < count ? *reinterpret_cast<const Four*>(from.row(first + r) + column + at) : Four{};
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const T(&x)[4] = fours[i].values;
      *reinterpret_cast<float4*>(to + (row + 16 * i) * tile_stride + at) =
          make_float4(cuda::to_float(x[0]), cuda::to_float(x[1]), cuda::to_float(x[2]), cuda::to_float(x[3]));
    }
    return;
  }
  const int bits = padded_bits(there + (more ? 1 : 0)) - 2;  // of the number of groups of four columns
  for (int i = static_cast<int>(threadIdx.x); i < tile << bits; i += tile_threads) {
    const int row = i >> bits;
    const int at = (i & ((1 << bits) - 1)) * 4;
    float4 values = make_float4(0, 0, 0, 0);
    if (row < count) {
      const T* here = from.row(first + row) + column + at;
      if (whole && at + 4 <= there) {
        const Four four = *reinterpret_cast<const Four*>(here);
        values = make_float4(cuda::to_float(four.values[0]), cuda::to_float(four.values[1]),
                             cuda::to_float(four.values[2]), cuda::to_float(four.values[3]));
      } else {
        const auto value = [&](int j) {
          if (at + j < there) return cuda::to_float(here[j]);
          return more && at + j == there ? from.extra_of(first + row) : 0.0F;
        };
        values = make_float4(value(0), value(1), value(2), value(3));
      }
      if (from.has_factors()) {
        const float factor = from.factor_of(first + row);
        values = make_float4(values.x * factor, values.y * factor, values.z * factor, values.w * factor);
      }
    }
    *reinterpret_cast<float4*>(to + row * tile_stride + at) = values;
  }
}

/// Element (row, column) of a matrix of 64 rows that is kept as tiles side by side.
__device__ __forceinline__ float& wide_at(float* tiles, int row, int column) {
  return tiles[column / tile * tile_floats + row * tile_stride + column % tile];
}

/// Is the index that a product sums over the inner one of an operand's tile?
enum class Depth { inner, outer };

/// Elements (index, depth ... depth + 3) of an operand.
template <Depth D>
__device__ __forceinline__ float4 four_of(const float* operand, int index, int depth) {
  if constexpr (D == Depth::inner) {
    return *reinterpret_cast<const float4*>(operand + index * tile_stride + depth);
  } else {
    const float* first = operand + depth * tile_stride + index;
    return make_float4(first[0], first[tile_stride], first[2 * tile_stride], first[3 * tile_stride]);
  }
}

/// An element rounded to TF32 (10 bits of fraction), as tensor cores take it.
template <Depth D>
__device__ __forceinline__ unsigned rounded(const float* operand, int index, int depth) {
  const float x = D == Depth::inner ? operand[index * tile_stride + depth] : operand[depth * tile_stride + index];
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

/// Calls f(row, column, sum over depth of left(row, depth) right(column, depth)) for 64 rows and at least `columns`
/// columns, each once, from the thread that has computed it.  `depth` is rounded up to a multiple of 8, up to which both
/// operands must be filled.
///
/// The arithmetic is that of T: float multiplies in float; bf16, whose operands have 8 bits, on tensor cores with 11.
/// Either way sums are float.
template <class T, Depth Left, Depth Right, class F>
__device__ __forceinline__ void product(const float* left, const float* right, int depth, int columns, F f) {
  if constexpr (std::is_same_v<T, float>) {
    const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
    float sums[4][4] = {};  // rows y + 16 i, columns x + 16 j
    for (int d = 0; d < depth; d += 4) {
      float4 a[4], b[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i] = four_of<Left>(left, y + 16 * i, d);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (16 * j < columns) b[j] = four_of<Right>(right, x + 16 * j, d);
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (16 * j >= columns) break;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sums[i][j] = fmaf(a[i].x, b[j].x, sums[i][j]);
          sums[i][j] = fmaf(a[i].y, b[j].y, sums[i][j]);
          sums[i][j] = fmaf(a[i].z, b[j].z, sums[i][j]);
          sums[i][j] = fmaf(a[i].w, b[j].w, sums[i][j]);
        }
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (16 * j >= columns) break;
#pragma unroll
      for (int i = 0; i < 4; ++i) f(y + 16 * i, x + 16 * j, sums[i][j]);
    }
  } else {
    // Warp w has rows 16 (w / 2) ... + 15 and columns 32 (w % 2) ... + 31, in four instructions of 16 x 8.
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const int row = warp / 2 * 16 + lane / 4, column = warp % 2 * 32, d0 = lane % 4;
    float sums[4][4] = {};
    for (int d = d0; d < depth + d0; d += 8) {
      const unsigned a[4] = {rounded<Left>(left, row, d), rounded<Left>(left, row + 8, d),
                             rounded<Left>(left, row, d + 4), rounded<Left>(left, row + 8, d + 4)};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (column + 8 * j >= columns) break;
        const int c = column + 8 * j + lane / 4;
        const unsigned b[2] = {rounded<Right>(right, c, d), rounded<Right>(right, c, d + 4)};
        float(&s)[4] = sums[j];
        asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (column + 8 * j >= columns) break;
      const int c = column + 8 * j + 2 * (lane % 4);
      f(row, c, sums[j][0]);
      f(row, c + 1, sums[j][1]);
      f(row + 8, c, sums[j][2]);
      f(row + 8, c + 1, sums[j][3]);
    }
  }
}

/// The four neighbouring threads that share row `threadIdx.x / 4` of a tile: f(column) for every column of the tile, a
/// quarter each, from left to right.
template <class F>
__device__ __forceinline__ void for_row(F f) {
#pragma unroll
  for (int i = 0; i < tile / 4; ++i) f(static_cast<int>(threadIdx.x) % 4 + 4 * i);
}
/// Sum over the four.
__device__ __forceinline__ float row_sum(float x) {
  x += __shfl_xor_sync(cuda::full_warp, x, 1);
  return x + __shfl_xor_sync(cuda::full_warp, x, 2);
}

}  // namespace lolcats::general
