// Caches of decoding slots on a GPU while they read one token each: read beside the window, and what a key that leaves it does.
#pragma once

#include <lolcats/ops/attention/cuda_cache.cuh>
#include <lolcats/ops/attention/cuda_decode_features.cuh>

#include <algorithm>

namespace lolcats::general {

/// The cache of a slot, and the scores (capacity, G) of the keys in its ring where keys are scored when they are read.
template <class T>
struct DecodeCache {
  CacheRows<T> rows;
  float* scores = nullptr;

  /// Keys of a head that are in its cache.
  __device__ __forceinline__ int held(int head) const { return min(rows.places(head), rows.count); }
  __device__ __forceinline__ std::int64_t first_row(int head) const { return rows.begins[head]; }
};

template <class T, class Slot>
DecodeCache<T> decode_cache_of(Slot& slot, Index sinks) {
  const Index in_use = std::min(slot.most_places(), std::max<Index>(0, slot.first - sinks));
  return {{.keys = slot.cache_keys.data(),
           .values = slot.cache_values.data(),
           .scores = slot.cache_scores.data(),
           .begins = slot.cache_begins_there.data(),
           .count = static_cast<int>(in_use)},
          slot.scores.data()};
}

/// The caches of all slots of a launch, and the scores of the new keys (M, G) or null.
template <class T>
struct DecodeCaches {
  static constexpr bool any = true;
  DecodeCache<T> of[DecodeSlots<T>::capacity];
  const T* scores = nullptr;
};
struct NoDecodeCaches {
  static constexpr bool any = false;
};

/// The key that leaves the window with this token, if one does, takes its place in the caches of those heads that keep it: behind
/// the others, which move up where the one of the lowest score goes (of equals, the latest).  Nobody asks for that one again.
/// Grid: slots, key/value heads; tile_threads threads.
template <class T>
__global__ void __launch_bounds__(tile_threads)
    cache_leaving(const __grid_constant__ DecodeSlots<T> slots, const __grid_constant__ Decode<T> p,
                  const __grid_constant__ DecodeCaches<T> caches) {
  constexpr int at_once = 8;  // numbers of a thread that are read before any is written
  const DecodeSlot<T>& s = slots.slots[blockIdx.x];
  if (s.leaving == 0) return;
  const DecodeCache<T>& cache = caches.of[blockIdx.x];
  const int head = static_cast<int>(blockIdx.y), thread = static_cast<int>(threadIdx.x), size = p.heads.size;
  const int held = cache.held(head);
  const std::int64_t first = cache.first_row(head);
  const auto number = [](float score) { return fmaxf(score, -INFINITY); };  // NaN is less than all numbers
  const float as_it_is = s.leaving_from == s.kept ? cuda::to_float(caches.scores[s.row * p.heads.keys + head])
                                                  : cache.scores[(s.start + s.leaving_from) % s.capacity * p.heads.keys + head];
  const float score = number(as_it_is);
  int at = held;  // where the key goes
  if (held == cache.rows.places(head)) {
    __shared__ float lowest_scores[tile_threads];
    __shared__ int lowest_at[tile_threads];
    float lowest = INFINITY;
    int victim = -1;
    for (int r = thread; r < held; r += tile_threads) {
      const float other = number(cache.rows.scores[first + r]);
      if (other <= lowest) {
        lowest = other;
        victim = r;
      }
    }
    lowest_scores[thread] = lowest;
    lowest_at[thread] = victim;
    __syncthreads();
    for (int other = 0; other < tile_threads; ++other) {
      if (lowest_scores[other] < lowest || (lowest_scores[other] == lowest && lowest_at[other] > victim)) {
        lowest = lowest_scores[other];
        victim = lowest_at[other];
      }
    }
    if (victim < 0 || !(score > lowest)) return;  // the same in all threads
    // Row r + 1 becomes row r from the victim on.
    const auto move_up = [&](auto* numbers, std::int64_t width) {
      auto* const to = numbers + (first + victim) * width;
      const std::int64_t count = (held - 1 - victim) * width;
      for (std::int64_t block = 0; block < count; block += at_once * tile_threads) {
        std::remove_cvref_t<decltype(*to)> values[at_once];
#pragma unroll
        for (int i = 0; i < at_once; ++i) {
          if (const std::int64_t n = block + i * tile_threads + thread; n < count) values[i] = to[n + width];
        }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < at_once; ++i) {
          if (const std::int64_t n = block + i * tile_threads + thread; n < count) to[n] = values[i];
        }
      }
    };
    move_up(cache.rows.keys, size);
    move_up(cache.rows.values, size);
    __syncthreads();  // everyone has read the scores
    move_up(cache.rows.scores, 1);
    at = held - 1;
    __syncthreads();
  }
  const auto put = [&](const T* ring, const T* inputs, T* rows) {
    const T* const from = p.key_row(s, ring, inputs, s.leaving_from) + static_cast<std::int64_t>(head) * size;
    for (int c = thread; c < size; c += tile_threads) rows[(first + at) * size + c] = from[c];
  };
  put(s.keys, p.k, cache.rows.keys);
  put(s.values, p.v, cache.rows.values);
  if (thread == 0) cache.rows.scores[first + at] = as_it_is;
}

}  // namespace lolcats::general
