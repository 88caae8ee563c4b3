// The row algebra on accumulator fragments: feature maps in registers.
#pragma once

#include <lolcats/backend/cuda_numbers.cuh>
#include <lolcats/ops/attention/hopper/instructions.cuh>
#include <lolcats/policy/feature_map/feature_map.hpp>

#include <climits>
#include <cstdint>
#include <numbers>

namespace lolcats::hopper {

/// The sum, or largest, of a number over the four lanes that share two rows of an accumulator.
__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(~0U, x, 1);
  return x + __shfl_xor_sync(~0U, x, 2);
}
__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0U, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0U, x, 2));
}
__device__ __forceinline__ float quad_min(float x) { return -quad_max(-x); }

/// One number for each of the two rows that a thread holds.
struct PerRow {
  float of[2];

  friend __device__ __forceinline__ PerRow operator-(PerRow a) { return {{-a.of[0], -a.of[1]}}; }
};

/// The row (0 or 1) of entry i of an accumulator.
constexpr int fragment_row(int i) { return (i >> 1) & 1; }
/// The column of entry i in the accumulator of the calling thread.
__device__ __forceinline__ int fragment_column(int i, int lane) { return 8 * (i >> 2) + 2 * (lane & 3) + (i & 1); }

/// A thread's share of (64, Columns) of an accumulator of wgmma: two rows, Columns / 4 entries of each.
///
/// It models the row algebra (policy/feature_map/row_algebra.hpp), so any map's `features` and `pullback` run on it.
/// Everything here is called by whole warps.
template <int Columns>
struct Fragment {
  static constexpr int size = Columns / 2;
  float x[size];

  /// a - m, not yet computed: exp takes it as one multiply-add per entry, everything else as a fragment.
  struct Difference {
    const Fragment& a;
    PerRow m;
    __device__ __forceinline__ operator Fragment() const {
      return from([&](int i) { return a.x[i] - m.of[fragment_row(i)]; });
    }
  };

  template <class F>
  static __device__ __forceinline__ Fragment from(F&& entry) {
    Fragment y;
#pragma unroll
    for (int i = 0; i < size; ++i) y.x[i] = entry(i);
    return y;
  }

  friend __device__ __forceinline__ Fragment operator+(const Fragment& a, const Fragment& b) {
    return from([&](int i) { return a.x[i] + b.x[i]; });
  }
  friend __device__ __forceinline__ Fragment operator-(const Fragment& a, const Fragment& b) {
    return from([&](int i) { return a.x[i] - b.x[i]; });
  }
  friend __device__ __forceinline__ Fragment operator*(const Fragment& a, const Fragment& b) {
    return from([&](int i) { return a.x[i] * b.x[i]; });
  }
  friend __device__ __forceinline__ Fragment operator/(const Fragment& a, const Fragment& b) {
    return from([&](int i) { return a.x[i] * cuda::reciprocal_approx(b.x[i]); });
  }
  friend __device__ __forceinline__ Fragment operator-(const Fragment& a) {
    return from([&](int i) { return -a.x[i]; });
  }

  friend __device__ __forceinline__ Difference operator+(const Fragment& a, PerRow b) { return {a, -b}; }
  friend __device__ __forceinline__ Difference operator-(const Fragment& a, PerRow b) { return {a, b}; }
  friend __device__ __forceinline__ Fragment operator*(const Fragment& a, PerRow b) {
    return from([&](int i) { return a.x[i] * b.of[fragment_row(i)]; });
  }
  friend __device__ __forceinline__ Fragment operator/(const Fragment& a, PerRow b) {
    return a * PerRow{{cuda::reciprocal_approx(b.of[0]), cuda::reciprocal_approx(b.of[1])}};
  }

  friend __device__ __forceinline__ Fragment operator+(const Fragment& a, double c) {
    return from([&](int i) { return a.x[i] + static_cast<float>(c); });
  }
  friend __device__ __forceinline__ Fragment operator-(const Fragment& a, double c) { return a + (-c); }
  friend __device__ __forceinline__ Fragment operator*(const Fragment& a, double c) {
    return from([&](int i) { return a.x[i] * static_cast<float>(c); });
  }
  friend __device__ __forceinline__ Fragment operator/(const Fragment& a, double c) { return a * (1 / c); }

  friend __device__ __forceinline__ Fragment exp(const Fragment& a) {
    return from([&](int i) { return cuda::exp2_approx(a.x[i] * log2_e); });
  }
  friend __device__ __forceinline__ Fragment exp(const Difference& d) {
    const float shift[2] = {d.m.of[0] * log2_e, d.m.of[1] * log2_e};
    return from([&](int i) { return cuda::exp2_approx(d.a.x[i] * log2_e - shift[fragment_row(i)]); });
  }
  friend __device__ __forceinline__ Fragment maximum(const Fragment& a, double c) {
    return from([&](int i) { return fmaxf(a.x[i], static_cast<float>(c)); });
  }
  friend __device__ __forceinline__ Fragment minimum(const Fragment& a, double c) {
    return from([&](int i) { return fminf(a.x[i], static_cast<float>(c)); });
  }
  friend __device__ __forceinline__ Fragment positive(const Fragment& a) {
    return from([&](int i) { return a.x[i] > 0 ? 1.0F : 0.0F; });
  }

  friend __device__ __forceinline__ PerRow max(const Fragment& a) {
    float m[2] = {a.x[0], a.x[2]};
#pragma unroll
    for (int i = 0; i < size; ++i) m[fragment_row(i)] = fmaxf(m[fragment_row(i)], a.x[i]);
    return {{quad_max(m[0]), quad_max(m[1])}};
  }
  friend __device__ __forceinline__ PerRow min(const Fragment& a) {
    float m[2] = {a.x[0], a.x[2]};
#pragma unroll
    for (int i = 0; i < size; ++i) m[fragment_row(i)] = fminf(m[fragment_row(i)], a.x[i]);
    return {{quad_min(m[0]), quad_min(m[1])}};
  }
  friend __device__ __forceinline__ PerRow sum(const Fragment& a) {
    float s[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < size; ++i) s[fragment_row(i)] += a.x[i];
    return {{quad_sum(s[0]), quad_sum(s[1])}};
  }
  friend __device__ __forceinline__ Fragment is_max(const Fragment& a) {
    const PerRow m = max(a);
    const int lane = lane_id();
    int first[2] = {INT_MAX, INT_MAX};
#pragma unroll
    for (int i = size - 1; i >= 0; --i) {
      if (a.x[i] == m.of[fragment_row(i)]) first[fragment_row(i)] = fragment_column(i, lane);
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      first[r] = ::min(first[r], __shfl_xor_sync(~0U, first[r], 1));
      first[r] = ::min(first[r], __shfl_xor_sync(~0U, first[r], 2));
    }
    return from([&](int i) { return fragment_column(i, lane) == first[fragment_row(i)] ? 1.0F : 0.0F; });
  }

 private:
  static constexpr float log2_e = std::numbers::log2e_v<float>;
};

/// Accumulators (64, Columns) as bf16 factors of a product: words [4 s, 4 s + 4) are step s (16 columns) of A.
template <int Columns>
__device__ __forceinline__ void pack(const Fragment<Columns>& a, std::uint32_t* words) {
#pragma unroll
  for (int i = 0; i < Columns / 4; ++i) words[i] = pack_bf16(a.x[2 * i], a.x[2 * i + 1]);
}

/// phi (64, F) of z (64, f) as bf16 factors, clamped from below as the map says; F / 4 words.
///
/// The clamp acts on the rounded features, two at a time; bf16 holds 1e-12 to 0.2%, as it holds every feature.
template <class Map>
__device__ __forceinline__ void pack_features(const Fragment<Map::projected>& z, std::uint32_t* words) {
  const auto phi = Map::features(z);
#pragma unroll
  for (int c = 0; c < Map::count; ++c) {
    std::uint32_t* part = words + c * (Map::projected / 4);
    pack(phi[c], part);
    if constexpr (Map::clamped) {
      const std::uint32_t floor = pack_bf16(static_cast<float>(Map::floor), static_cast<float>(Map::floor));
#pragma unroll
      for (int i = 0; i < Map::projected / 4; ++i) part[i] = max_bf16(part[i], floor);
    }
  }
}

}  // namespace lolcats::hopper
