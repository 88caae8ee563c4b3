// Rings of kept keys on a GPU: packed in front of new ones, and filled again.
#pragma once

#include <lolcats/ops/attention/cuda_decode.cuh>
#include <lolcats/ops/attention/cuda_segments.cuh>

#include <algorithm>

namespace lolcats::general {

/// One array of kept rows of one sequence, `width` elements each: the row of position p is number p % capacity.  Sinks
/// lie apart.
template <class T>
struct Ring {
  T* rows = nullptr;
  T* sinks = nullptr;  // (sinks, width), or null
  int capacity = 0;
  int start = 0;  // row of the first kept key
  int from = 0;   // first key to be stored, counted from the first kept one

  __device__ __forceinline__ T* row(int key, int width) const {
    return rows + static_cast<std::int64_t>((start + key) % capacity) * width;
  }
};

/// A window of so many keys, or fewer, gets its whole ring with the first token.
inline constexpr Index ring_at_once = 1024;

/// Rows that a ring of `held` should have to hold `kept` keys and one more.
template <Window W>
Index ring_rows(const W& window, Index held, Index kept) {
  const Index span = window.span();
  if (span <= ring_at_once) return span;
  return held > kept ? held : std::min(span, std::max<Index>(2 * (kept + 1), 256));
}

/// f(segment, its ring, key, column) for all numbers of a tile of keys, and where they lie among the rows of all segments.
template <class T, class F>
__device__ __forceinline__ void for_tile_of_keys(const Segments& segments, const Ring<T>* rings, int width, F&& f) {
  const int index = segments.index_of(static_cast<int>(blockIdx.x), &Segment::key_tile);
  const Segment s = segments[index];
  const Ring<T> ring = rings[index];
  const int first = (static_cast<int>(blockIdx.x) - s.key_tile) * tile, count = min(tile, s.keys - first);
  for (std::int64_t i = threadIdx.x; i < static_cast<std::int64_t>(count) * width; i += tile_threads) {
    const int key = first + static_cast<int>(i / width), c = static_cast<int>(i % width);
    f(s, ring, key, c, (static_cast<std::int64_t>(s.k_row) + key) * width + c);
  }
}

/// Keys of all segments, side by side: sinks that lie apart, those in the rings, then the new ones (zeros where `inputs` is null).
/// Grid: tiles of keys.
template <class T, class Input>
__global__ void pack_rows(Segments segments, const Ring<T>* rings, const Input* inputs, int width, int sinks, T* packed) {
  for_tile_of_keys(segments, rings, width, [&](const Segment& s, const Ring<T>& ring, int key, int c, std::int64_t at) {
    T& to = packed[at];
    if (key < s.apart)  // of sinks; their features and scores are not kept, as nobody asks, and cached keys come later
      to = ring.sinks && key < sinks ? ring.sinks[static_cast<std::int64_t>(key) * width + c] : T{};
    else if (key < s.offset)
      to = ring.row(key - s.apart, width)[c];
    else if (!inputs)
      to = T{};
    else if constexpr (std::is_same_v<T, Input>)
      to = inputs[(static_cast<std::int64_t>(s.q_row) + key - s.offset) * width + c];
    else
      to = cuda::from_float<T>(cuda::to_float(inputs[(static_cast<std::int64_t>(s.q_row) + key - s.offset) * width + c]));
  });
}

/// The keys that stay, from `keys` (rows of all segments) into the rings, and those of the first `sinks` that are not there yet.
/// Grid: tiles of keys.
template <class T>
__global__ void store_rows(Segments segments, const Ring<T>* rings, const T* keys, int width, int sinks) {
  for_tile_of_keys(segments, rings, width, [&](const Segment& s, const Ring<T>& ring, int key, int c, std::int64_t at) {
    const T value = keys[at];
    if (ring.rows && key - s.apart >= ring.from) ring.row(key - s.apart, width)[c] = value;
    if (ring.sinks && key >= s.apart && key < sinks) ring.sinks[static_cast<std::int64_t>(key) * width + c] = value;
  });
}

/// The new key and value of every slot into its ring.  Grid: slots.
template <class T>
__global__ void append_rows(const __grid_constant__ DecodeSlots<T> slots, const T* k, const T* v, int width) {
  const DecodeSlot<T>& s = slots.slots[blockIdx.x];
  const std::int64_t to = static_cast<std::int64_t>((s.start + s.kept) % s.capacity) * width;
  for (int c = static_cast<int>(threadIdx.x); c < width; c += static_cast<int>(blockDim.x)) {
    s.keys[to + c] = k[static_cast<std::int64_t>(s.row) * width + c];
    s.values[to + c] = v[static_cast<std::int64_t>(s.row) * width + c];
  }
}

}  // namespace lolcats::general
