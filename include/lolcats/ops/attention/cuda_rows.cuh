// The row algebra on lanes of a warp: the rows of feature maps on a GPU, whatever their width.
#pragma once

#include <lolcats/backend/cuda_numbers.cuh>
#include <lolcats/policy/feature_map/feature_map.hpp>

#include <cmath>

namespace lolcats::general {

/// One number per row, known to every lane that holds a part of the row.
struct PerRow {
  float value;
};

/// A row of `width` numbers spread over `Lanes` neighbouring lanes of a warp: lane l holds entries l, l + Lanes, ...;
/// models RowAlgebra.
///
/// Entries from `width` on are neither read by a reduction nor stored.  Reductions are shuffles of the whole warp, so
/// all of its lanes must take part; the groups of a warp hold different rows of one width.
template <int Lanes, int Count>
struct LaneRow {
  static_assert(Lanes > 0 && Lanes <= 32 && (Lanes & (Lanes - 1)) == 0, "lanes of a row are a power of two");

  float values[Count];
  int width;

  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % Lanes; }
  /// Entry number of values[i].
  static __device__ __forceinline__ int entry(int i) { return lane() + i * Lanes; }

  template <class F>
  __device__ __forceinline__ LaneRow each(F f) const {
    LaneRow result{{}, width};
#pragma unroll
    for (int i = 0; i < Count; ++i) result.values[i] = f(values[i]);
    return result;
  }
  template <class F>
  __device__ __forceinline__ LaneRow each(const LaneRow& b, F f) const {
    LaneRow result{{}, width};
#pragma unroll
    for (int i = 0; i < Count; ++i) result.values[i] = f(values[i], b.values[i]);
    return result;
  }
  /// f over the entries of the row, from `start`.
  template <class F>
  __device__ __forceinline__ PerRow reduce(float start, F f) const {
#pragma unroll
    for (int i = 0; i < Count; ++i) start = entry(i) < width ? f(start, values[i]) : start;
#pragma unroll
    for (int offset = Lanes / 2; offset > 0; offset /= 2) {
      start = f(start, __shfl_xor_sync(cuda::full_warp, start, offset));
    }
    return {start};
  }

  friend __device__ LaneRow operator+(const LaneRow& a, const LaneRow& b) {
    return a.each(b, [](float x, float y) { return x + y; });
  }
  friend __device__ LaneRow operator-(const LaneRow& a, const LaneRow& b) {
    return a.each(b, [](float x, float y) { return x - y; });
  }
  friend __device__ LaneRow operator*(const LaneRow& a, const LaneRow& b) {
    return a.each(b, [](float x, float y) { return x * y; });
  }
  friend __device__ LaneRow operator/(const LaneRow& a, const LaneRow& b) {
    return a.each(b, [](float x, float y) { return x / y; });
  }
  friend __device__ LaneRow operator+(const LaneRow& a, PerRow b) {
    return a.each([b](float x) { return x + b.value; });
  }
  friend __device__ LaneRow operator-(const LaneRow& a, PerRow b) {
    return a.each([b](float x) { return x - b.value; });
  }
  friend __device__ LaneRow operator*(const LaneRow& a, PerRow b) {
    return a.each([b](float x) { return x * b.value; });
  }
  friend __device__ LaneRow operator/(const LaneRow& a, PerRow b) { return a * PerRow{1.0F / b.value}; }
  friend __device__ LaneRow operator+(const LaneRow& a, double c) { return a + PerRow{static_cast<float>(c)}; }
  friend __device__ LaneRow operator-(const LaneRow& a, double c) { return a - PerRow{static_cast<float>(c)}; }
  friend __device__ LaneRow operator*(const LaneRow& a, double c) { return a * PerRow{static_cast<float>(c)}; }
  friend __device__ LaneRow operator/(const LaneRow& a, double c) { return a / PerRow{static_cast<float>(c)}; }
  friend __device__ LaneRow operator-(const LaneRow& a) {
    return a.each([](float x) { return -x; });
  }

  friend __device__ LaneRow exp(const LaneRow& a) {
    return a.each([](float x) { return expf(x); });
  }
  friend __device__ LaneRow maximum(const LaneRow& a, double c) {
    return a.each([c](float x) { return fmaxf(x, static_cast<float>(c)); });
  }
  friend __device__ LaneRow minimum(const LaneRow& a, double c) {
    return a.each([c](float x) { return fminf(x, static_cast<float>(c)); });
  }
  friend __device__ LaneRow positive(const LaneRow& a) {
    return a.each([](float x) { return x > 0 ? 1.0F : 0.0F; });
  }
  friend __device__ PerRow max(const LaneRow& a) {
    return a.reduce(-INFINITY, [](float x, float y) { return fmaxf(x, y); });
  }
  friend __device__ PerRow min(const LaneRow& a) {
    return a.reduce(INFINITY, [](float x, float y) { return fminf(x, y); });
  }
  friend __device__ PerRow sum(const LaneRow& a) {
    return a.reduce(0.0F, [](float x, float y) { return x + y; });
  }
  /// 1 at the first of the largest entries.
  friend __device__ LaneRow is_max(const LaneRow& a) {
    const float largest = max(a).value;
    int first = a.width;
#pragma unroll
    for (int i = Count - 1; i >= 0; --i) first = entry(i) < a.width && a.values[i] == largest ? entry(i) : first;
#pragma unroll
    for (int offset = Lanes / 2; offset > 0; offset /= 2) {
      first = ::min(first, __shfl_xor_sync(cuda::full_warp, first, offset));
    }
    LaneRow found{{}, a.width};
#pragma unroll
    for (int i = 0; i < Count; ++i) found.values[i] = entry(i) == first ? 1.0F : 0.0F;
    return found;
  }
};

static_assert(RowAlgebra<LaneRow<32, 2>> && RowAlgebra<LaneRow<8, 1>>);

}  // namespace lolcats::general
