// Softmax attention of one query per sequence over its key/value cache: decoding with an unbounded window.
//
//   y = sum_j p_j v_j / sum_j p_j,   p_j = exp(q.k_j / sqrt(D) - max_i q.k_i / sqrt(D)),   j over the kept keys
//
// The cache is read once and little is computed on it, so what counts is that the whole GPU reads: the keys of a
// sequence are split over several blocks, whose partial sums a second kernel puts together.  All query heads of a group
// meet a key while it is in registers.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/attention/attention.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <type_traits>

namespace lolcats::cuda {

/// The kept keys of one sequence.
template <class T>
struct DecodeSlot {
  const T* keys;    // (count, G * D)
  const T* values;  // (count, G * D)
  int count;        // at least 1
  int row;          // of q and y
};

namespace detail {

/// Slots as a kernel's parameter: nothing to copy to the device.  Larger batches take several launches.
template <class T>
struct DecodeSlots {
  static constexpr int capacity = 64;
  DecodeSlot<T> slots[capacity];
};

inline constexpr int decode_threads = 128;
inline constexpr float decode_lowest = -1e30F;  // below every score, and its differences are numbers

/// One split's share of a head: sum_j p_j v_j, its largest score and sum_j p_j, scores in log2 units.
struct DecodePartials {
  float* sums;     // (slots, H, splits, D)
  float2* scales;  // (slots, H, splits): largest, sum
};

/// Eight neighbouring elements as they lie in memory, and as floats.
template <class T>
struct Eight {
  static constexpr int words = sizeof(T) / 2;
  uint4 word[words] = {};

  __device__ __forceinline__ void load(const T* from) {
#pragma unroll
    for (int i = 0; i < words; ++i) word[i] = reinterpret_cast<const uint4*>(from)[i];
  }
  __device__ __forceinline__ void unpack(float (&x)[8]) const {
    if constexpr (std::is_same_v<T, bf16>) {
      const unsigned w[4] = {word[0].x, word[0].y, word[0].z, word[0].w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[2 * i] = __uint_as_float(w[i] << 16);
        x[2 * i + 1] = __uint_as_float(w[i] & 0xffff0000U);
      }
    } else {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        x[4 * i] = __uint_as_float(word[i].x);
        x[4 * i + 1] = __uint_as_float(word[i].y);
        x[4 * i + 2] = __uint_as_float(word[i].z);
        x[4 * i + 3] = __uint_as_float(word[i].w);
      }
    }
  }
};

/// Block (split, key head and its batch of R query heads, slot).  `Lanes` lanes share a key, eight columns each.
template <class T, int Lanes, int R>
__global__ __launch_bounds__(decode_threads,
                             sizeof(T) == 2 ? 4 : 3) void softmax_decode(const __grid_constant__ DecodeSlots<T> slots,
                                                                         const T* q, T* y, int query_heads,
                                                                         int key_heads, int size, float scale_log2,
                                                                         DecodePartials partials) {
  constexpr int groups = decode_threads / Lanes;  // of lanes; each takes keys of its own
  constexpr int unroll = 2;                       // keys of a group at once; as many more are on their way
  extern __shared__ float memory[];               // (groups, R, D), then (groups, R) pairs
  const DecodeSlot<T>& slot = slots.slots[blockIdx.z];
  const int group_size = query_heads / key_heads, batches = (group_size + R - 1) / R;
  const int g = static_cast<int>(blockIdx.y) / batches,
            first_head = g * group_size + static_cast<int>(blockIdx.y) % batches * R;
  const int heads = min(R, (g + 1) * group_size - first_head);
  const int splits = static_cast<int>(gridDim.x);
  const int per_split = (slot.count + splits - 1) / splits;
  const int begin = static_cast<int>(blockIdx.x) * per_split, end = min(slot.count, begin + per_split);
  const int own = static_cast<int>(threadIdx.x) / Lanes, column = static_cast<int>(threadIdx.x) % Lanes * 8;
  const bool inside = column < size;
  const Index stride = static_cast<Index>(key_heads) * size;
  const T* keys = slot.keys + g * size + column;
  const T* values = slot.values + g * size + column;

  float query[R][8] = {}, sum[R][8] = {}, largest[R], total[R];
#pragma unroll
  for (int r = 0; r < R; ++r) {
    largest[r] = decode_lowest;
    total[r] = 0;
    if (r < heads && inside) {
      Eight<T> row;
      row.load(q + (static_cast<Index>(slot.row) * query_heads + first_head + r) * size + column);
      row.unpack(query[r]);
#pragma unroll
      for (int i = 0; i < 8; ++i) query[r][i] *= scale_log2;
    }
  }

  Eight<T> next_k[unroll], next_v[unroll];
  const auto fetch = [&](int start) {
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      const int j = start + own + u * groups;
      if (j < end && inside) {
        next_k[u].load(keys + j * stride);
        next_v[u].load(values + j * stride);
      }
    }
  };
  fetch(begin);
  for (int start = begin; start < end; start += groups * unroll) {  // the same for all threads
    Eight<T> k[unroll], v[unroll];
#pragma unroll
    for (int u = 0; u < unroll; ++u) k[u] = next_k[u], v[u] = next_v[u];
    fetch(start + groups * unroll);

    float score[unroll][R];
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      float key[8];
      k[u].unpack(key);
#pragma unroll
      for (int r = 0; r < R; ++r) {
        float s = 0;
#pragma unroll
        for (int i = 0; i < 8; ++i) s = fmaf(query[r][i], key[i], s);
#pragma unroll
        for (int offset = Lanes / 2; offset > 0; offset /= 2) s += __shfl_xor_sync(full_warp, s, offset);
        score[u][r] = start + own + u * groups < end ? s : -INFINITY;
      }
    }
#pragma unroll
    for (int r = 0; r < R; ++r) {
      float top = largest[r];
#pragma unroll
      for (int u = 0; u < unroll; ++u) top = fmaxf(top, score[u][r]);
      if (top > largest[r]) {  // rarely, after the first keys
        const float shrink = cuda::exp2_approx(largest[r] - top);
        largest[r] = top;
        total[r] *= shrink;
#pragma unroll
        for (int i = 0; i < 8; ++i) sum[r][i] *= shrink;
      }
#pragma unroll
      for (int u = 0; u < unroll; ++u) total[r] += score[u][r] = cuda::exp2_approx(score[u][r] - top);
    }
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      float value[8];
      v[u].unpack(value);
#pragma unroll
      for (int r = 0; r < R; ++r) {
#pragma unroll
        for (int i = 0; i < 8; ++i) sum[r][i] = fmaf(score[u][r], value[i], sum[r][i]);
      }
    }
  }

  // The groups of lanes together, through shared memory.
  auto* scales = reinterpret_cast<float2*>(memory + groups * R * size);
#pragma unroll
  for (int r = 0; r < R; ++r) {
    if (inside) {
      auto* to = reinterpret_cast<float4*>(memory + (own * R + r) * size + column);
      to[0] = {sum[r][0], sum[r][1], sum[r][2], sum[r][3]};
      to[1] = {sum[r][4], sum[r][5], sum[r][6], sum[r][7]};
    }
    if (column == 0) scales[own * R + r] = {largest[r], total[r]};
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < heads * size; i += decode_threads) {
    const int r = i / size, d = i % size;
    float top = decode_lowest;
    for (int n = 0; n < groups; ++n) top = fmaxf(top, scales[n * R + r].x);
    float x = 0, weight = 0;
    for (int n = 0; n < groups; ++n) {
      const float2 scale = scales[n * R + r];
      const float shrink = cuda::exp2_approx(scale.x - top);
      x = fmaf(memory[(n * R + r) * size + d], shrink, x);
      weight = fmaf(scale.y, shrink, weight);
    }
    if (splits == 1) {
      y[(static_cast<Index>(slot.row) * query_heads + first_head + r) * size + d] = from_float<T>(x / weight);
    } else {
      const Index at = (static_cast<Index>(blockIdx.z) * query_heads + first_head + r) * splits + blockIdx.x;
      partials.sums[at * size + d] = x;
      if (d == 0) partials.scales[at] = {top, weight};
    }
  }
}

/// Block (head, slot): the splits put together, `decode_parts` threads per column taking every so many of them.
inline constexpr int decode_parts = 4;
template <class T>
__global__ void softmax_decode_join(const __grid_constant__ DecodeSlots<T> slots, T* y, int splits, int size,
                                    DecodePartials partials) {
  extern __shared__ float2 shares[];  // (decode_parts, D): sum and weight
  const int query_heads = static_cast<int>(gridDim.x), part = static_cast<int>(threadIdx.y);
  const int d = static_cast<int>(threadIdx.x);
  const Index at = (static_cast<Index>(blockIdx.y) * query_heads + blockIdx.x) * splits;
  float top = decode_lowest;
  for (int n = d % 32; n < splits; n += 32) top = fmaxf(top, partials.scales[at + n].x);
  top = warp_max(top);
  if (d < size) {
    float x = 0, weight = 0;
#pragma unroll 4
    for (int n = part; n < splits; n += decode_parts) {
      const float2 scale = partials.scales[at + n];
      const float shrink = cuda::exp2_approx(scale.x - top);
      x = fmaf(partials.sums[(at + n) * size + d], shrink, x);
      weight = fmaf(scale.y, shrink, weight);
    }
    shares[part * size + d] = {x, weight};
  }
  __syncthreads();
  if (part > 0 || d >= size) return;
  float2 total{0, 0};
#pragma unroll
  for (int n = 0; n < decode_parts; ++n) {
    total.x += shares[n * size + d].x;
    total.y += shares[n * size + d].y;
  }
  y[(static_cast<Index>(slots.slots[blockIdx.y].row) * query_heads + blockIdx.x) * size + d] =
      from_float<T>(total.x / total.y);
}

}  // namespace detail

/// Heads of any multiple of eight up to 256.
inline bool softmax_decode_takes(const Heads& heads) { return heads.size % 8 == 0 && heads.size <= 256; }

/// y (M, H * D) in the rows of `slots` of q (M, H * D); every pointer is aligned to 16 bytes.
template <class T>
void softmax_decode(cudaStream_t stream, const Heads& heads, std::span<const DecodeSlot<T>> slots, const T* q, T* y) {
  require<ShapeError>(softmax_decode_takes(heads), "softmax_decode: head size {}, expected a multiple of 8 up to 256",
                      heads.size);
  const int H = static_cast<int>(heads.queries), G = static_cast<int>(heads.keys), D = static_cast<int>(heads.size);
  const int group = H / G;
  const float scale_log2 = std::numbers::log2e_v<float> / std::sqrt(static_cast<float>(D));
  for (std::size_t first = 0; first < slots.size(); first += detail::DecodeSlots<T>::capacity) {
    const int count = static_cast<int>(std::min<std::size_t>(detail::DecodeSlots<T>::capacity, slots.size() - first));
    detail::DecodeSlots<T> some{};
    std::copy_n(slots.begin() + static_cast<std::ptrdiff_t>(first), count, some.slots);
    int longest = 1;
    for (int n = 0; n < count; ++n) longest = std::max(longest, some.slots[n].count);

    const auto run = [&]<int Lanes, int R>() {
      const int batches = (group + R - 1) / R;
      // About four blocks per multiprocessor, and at least 64 keys for each.
      const int splits = std::clamp(4 * device().multiprocessors / (count * G * batches), 1, std::max(1, longest / 64));
      Scratch<float> sums(splits > 1 ? static_cast<Index>(count) * H * splits * D : 0, stream);
      Scratch<float2> scales(splits > 1 ? static_cast<Index>(count) * H * splits : 0, stream);
      const detail::DecodePartials partials{sums.data(), scales.data()};
      const std::size_t shared = sizeof(float) * (detail::decode_threads / Lanes) * R * static_cast<std::size_t>(D + 2);
      launch("softmax_decode", detail::softmax_decode<T, Lanes, R>,
             {dim3(static_cast<unsigned>(splits), static_cast<unsigned>(G * batches), static_cast<unsigned>(count)),
              detail::decode_threads, stream, shared},
             some, q, y, H, G, D, scale_log2, partials);
      if (splits > 1) {
        launch("softmax_decode_join", detail::softmax_decode_join<T>,
               {dim3(static_cast<unsigned>(H), static_cast<unsigned>(count)),
                dim3(static_cast<unsigned>((D + 31) / 32 * 32), detail::decode_parts), stream,
                sizeof(float2) * detail::decode_parts * static_cast<std::size_t>(D)},
               some, y, splits, D, partials);
      }
    };
    const auto with_batch = [&]<int Lanes>() {
      if (group == 1) {
        run.template operator()<Lanes, 1>();
      } else if (group == 2) {
        run.template operator()<Lanes, 2>();
      } else {
        run.template operator()<Lanes, 4>();
      }
    };
    if (D <= 8) {
      with_batch.template operator()<1>();
    } else if (D <= 32) {
      with_batch.template operator()<4>();
    } else if (D <= 64) {
      with_batch.template operator()<8>();
    } else if (D <= 128) {
      with_batch.template operator()<16>();
    } else {
      with_batch.template operator()<32>();
    }
  }
}

}  // namespace lolcats::cuda
