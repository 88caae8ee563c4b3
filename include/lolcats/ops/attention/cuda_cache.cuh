// Caches of far keys on a GPU: which queries find a key near although it has left the window.
#pragma once

#include <lolcats/ops/attention/cuda_segments.cuh>

#include <algorithm>
#include <vector>

namespace lolcats::general {

/// The cache of a decoding slot: rows of each key/value head, those of head h from begins[h] to begins[h + 1].  The first
/// `count` of a head are in use before a call, where it has so many.
template <class T>
struct CacheRows {
  T *keys = nullptr, *values = nullptr;  // (rows, D)
  float* scores = nullptr;               // (rows)
  const int* begins = nullptr;           // (G + 1)
  int count = 0;

  __device__ __forceinline__ int places(int head) const { return begins[head + 1] - begins[head]; }
};

/// How many keys the heads keep: as many as a decoding slot has places for, or as the layer says.
template <class T>
struct CacheSizes {
  const CacheRows<T>* slots = nullptr;  // by segment, or null
  const T* sizes = nullptr;             // (G), or null: all keep `most`
  int most = 0;
  int sinks = 0;

  __device__ __forceinline__ int size(int segment, int head) const {
    if (slots) return slots[segment].places(head);
    return sizes ? min(max(static_cast<int>(cuda::to_float(sizes[head])), 0), most) : most;
  }
  /// The first key that may be in the cache of a head: before it are sinks, and room for cached keys of heads that keep more.
  __device__ __forceinline__ int first(const Segment& s, int segment, int head) const {
    return sinks + max(0, s.apart - sinks - size(segment, head));
  }
};

/// How long keys are near: in the window, and then in the cache.
struct CacheLives {
  int* until = nullptr;       // (key rows, G): queries of the segment before this one find key j near
  int* most = nullptr;        // (key tiles, G): the largest of each tile of 64 keys
  int* evicted_by = nullptr;  // (key rows, G): the key with whose leaving the window key j loses its place; the number of keys, if none
  int* evicts = nullptr;      // (key rows, G): the other way round, from that key to key j; null where nobody asks
};

/// The lives of keys, from scores (key rows, G).  A key stays in the cache while fewer than `size` of the keys that have left the
/// window score higher, or as high and came before.  Keys leave the window in order, and once the cache is full each ousts one:
/// itself, or another.  `ends`: with which query a key leaves.
/// Grid: tiles of keys, key/value heads.  Block: 64 threads.
template <class T>
__global__ void cache_lives(Segments segments, CacheSizes<T> sizes, const int* ends, const float* scores, CacheLives to) {
  const int index = segments.index_of(static_cast<int>(blockIdx.x), &Segment::key_tile);
  const Segment s = segments[index];
  const int heads = static_cast<int>(gridDim.y), head = static_cast<int>(blockIdx.y);
  const int j = (static_cast<int>(blockIdx.x) - s.key_tile) * tile + static_cast<int>(threadIdx.x);
  const auto row = [&](int i) { return (static_cast<std::int64_t>(s.k_row) + i) * heads + head; };
  const auto score = [&](int i) { return fmaxf(scores[row(i)], -INFINITY); };  // NaN is less than all numbers
  int last = 0;
  if (j < s.keys) {
    const int size = sizes.size(index, head), first = sizes.first(s, index, head);
    int at = s.keys;  // the key with which `size` are reached
    if (j < sizes.sinks) {
      last = s.queries;
    } else if (j >= first) {
      const float mine = score(j);
      int above = 0;
      for (int i = first; i < j; ++i) above += score(i) >= mine;
      at = j;
      while (above < size && ++at < s.keys) above += score(at) > mine;
      last = at < s.keys ? ends[s.k_row + at] : s.queries;
      if (to.evicts && at < s.keys) to.evicts[row(at)] = j;
    }
    to.until[row(j)] = last;
    to.evicted_by[row(j)] = at;
  }
  __shared__ int warps[tile / 32];
  last = __reduce_max_sync(cuda::full_warp, last);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = last;
  __syncthreads();
  if (threadIdx.x == 0) to.most[static_cast<std::int64_t>(blockIdx.x) * heads + head] = max(warps[0], warps[1]);
}

/// Where each head's places begin (G + 1), on the host: of `sizes` (G) or, where they are null, of `most` each.
template <class T>
std::vector<Index> places_of_heads(const Cuda<T>& backend, const Weight<Cuda<T>>& sizes, Index heads, Index most) {
  std::vector<double> each(static_cast<std::size_t>(heads), static_cast<double>(most));
  if (sizes) backend.to_host(sizes.value.data, each.data(), heads);
  std::vector<Index> begins{0};
  for (const double size : each) begins.push_back(begins.back() + std::clamp<Index>(static_cast<Index>(size), 0, most));
  return begins;
}

/// Cached keys into their places behind the sinks, next to the keys of the window; a head that keeps fewer has zeros before them.
/// Grid: segments, key/value heads.
template <class T>
__global__ void pack_cache(Segments segments, const CacheRows<T>* caches, int width, T* keys, T* values, float* scores) {
  const Segment s = segments[static_cast<int>(blockIdx.x)];
  const CacheRows<T> cache = caches[blockIdx.x];
  const int heads = static_cast<int>(gridDim.y), head = static_cast<int>(blockIdx.y);
  const int begin = cache.begins[head], none = max(0, cache.count - cache.places(head));
  const std::int64_t first = static_cast<std::int64_t>(s.k_row) + s.apart - cache.count;
  for (int i = static_cast<int>(threadIdx.x); i < cache.count * width; i += static_cast<int>(blockDim.x)) {
    const int r = i / width, c = i % width, place = begin + r - none;
    const std::int64_t from = static_cast<std::int64_t>(place) * width + c, to = ((first + r) * heads + head) * width + c;
    keys[to] = r >= none ? cache.keys[from] : cuda::from_float<T>(0.0F);
    values[to] = r >= none ? cache.values[from] : cuda::from_float<T>(0.0F);
    if (c == 0 && r >= none) scores[(first + r) * heads + head] = cache.scores[place];
  }
}

/// The keys that are in the cache when the next token is read: those that have left the window by then and have their place.
/// Grid: segments, key/value heads.  Block: a warp.
template <class T>
__global__ void store_cache(Segments segments, CacheSizes<T> sizes, int width, const T* keys, const T* values, const float* scores,
                            const int* evicted_by) {
  const int index = static_cast<int>(blockIdx.x);
  const Segment s = segments[index];
  const CacheRows<T> cache = sizes.slots[index];
  const int heads = static_cast<int>(gridDim.y), head = static_cast<int>(blockIdx.y), lane = static_cast<int>(threadIdx.x);
  std::int64_t to = cache.begins[head];
  for (int block = sizes.first(s, index, head); block < s.leaving; block += 32) {
    const int j = block + lane;
    const bool stays = j < s.leaving && evicted_by[(static_cast<std::int64_t>(s.k_row) + j) * heads + head] >= s.leaving;
    for (unsigned staying = __ballot_sync(cuda::full_warp, stays); staying != 0; staying &= staying - 1, ++to) {
      const int key = block + __ffs(static_cast<int>(staying)) - 1;
      const std::int64_t from = (static_cast<std::int64_t>(s.k_row) + key) * heads + head;
      for (int c = lane; c < width; c += 32) {
        cache.keys[to * width + c] = keys[from * width + c];
        cache.values[to * width + c] = values[from * width + c];
      }
      if (lane == 0) cache.scores[to] = scores[from];
    }
  }
}

/// The result as kernels read it; null pointers without a cache.
struct CachedKeys {
  const int* until = nullptr;
  const int* most = nullptr;
  int heads = 0;  // G

  __host__ __device__ explicit operator bool() const { return until != nullptr; }
  /// For key row k_row and those behind it, `heads` apart.
  __device__ __forceinline__ const int* of(std::int64_t k_row, int head) const {
    return until ? until + k_row * heads + head : nullptr;
  }
  __device__ __forceinline__ int most_of(int key_tile, int head) const {
    return most[static_cast<std::int64_t>(key_tile) * heads + head];
  }
};

/// The keys of a call: which are near beside the window, and the far ones in the order in which they become so.
template <class T>
struct KeySets {
  CachedKeys cached;
  const T *far_k = nullptr, *far_v = nullptr;  // (key rows, G * D): row j of the key that becomes far when key j leaves the window
  const int* starts = nullptr;                 // of FarStart
  const int* evicted_by = nullptr;             // (key rows, G), with a cache
};

/// The blocks of at most 64 near keys that the queries of a tile read, from `first` on; their window starts at `window`.
struct NearBlocks {
  CachedKeys cached;
  int sinks = 0;
  int window = 0;
  int end = 0;  // keys from here on are in everyone's future
  int first = 0;
  int key_tile = 0;  // of the segment's first key
  int head = 0;      // key/value head

  __device__ __forceinline__ int begin() const { return cached ? skip(0) : first_near_block(sinks, window); }
  __device__ __forceinline__ int stop(int block) const {
    return cached ? min(block + tile, end) : near_block_end(block, sinks, end);
  }
  __device__ __forceinline__ int next(int stop) const { return cached ? skip(stop) : next_near_block(stop, sinks, window); }

 private:
  /// Tiles of keys that none of these queries finds near.
  __device__ __forceinline__ int skip(int block) const {
    while (block + tile <= window && cached.most_of(key_tile + block / tile, head) <= first) block += tile;
    return block;
  }
};

}  // namespace lolcats::general
