// Caches of far keys on a GPU: which queries find a key near although it has left the window.
#pragma once

#include <lolcats/ops/attention/cuda_segments.cuh>

#include <algorithm>
#include <vector>

namespace lolcats::general {

/// until (key rows, G): queries of the segment before this one find key j near, in the window or in the cache; and the
/// largest of each tile of 64 keys, (key tiles, G).
///
/// Scores are (key rows, G).  A key stays in the cache while fewer than `size` of the keys that have left the window score higher, or as high and came
/// before.  Keys leave the window in order, so the key with whose leaving that many are reached ends it.
/// Grid: tiles of keys, key/value heads.  Block: 64 threads.
template <class T>
__global__ void cache_until(Segments segments, const int* ends, const T* scores, const T* sizes, int most, int sinks,
                            int* until, int* until_most) {
  const int index = segments.index_of(static_cast<int>(blockIdx.x), &Segment::key_tile);
  const Segment s = segments[index];
  const int heads = static_cast<int>(gridDim.y), head = static_cast<int>(blockIdx.y);
  const int j = (static_cast<int>(blockIdx.x) - s.key_tile) * tile + static_cast<int>(threadIdx.x);
  const T* own = scores + static_cast<std::int64_t>(s.k_row) * heads + head;
  const auto score = [&](int i) { return cuda::to_float(own[static_cast<std::int64_t>(i) * heads]); };
  int last = 0;
  if (j < s.keys) {
    const int size = sizes ? min(most, static_cast<int>(cuda::to_float(sizes[head]))) : most;
    if (j < sinks) {
      last = s.queries;
    } else {
      const float mine = score(j);
      int above = 0;
      for (int i = sinks; i < j; ++i) above += score(i) >= mine;
      int at = j;  // the key with which `size` are reached
      while (above < size && ++at < s.keys) above += score(at) > mine;
      last = at < s.keys ? ends[s.k_row + at] : s.queries;
    }
    until[(static_cast<std::int64_t>(s.k_row) + j) * heads + head] = last;
  }
  __shared__ int warps[tile / 32];
  last = __reduce_max_sync(cuda::full_warp, last);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = last;
  __syncthreads();
  if (threadIdx.x == 0) until_most[static_cast<std::int64_t>(blockIdx.x) * heads + head] = max(warps[0], warps[1]);
}

/// The cache of a decoding slot: rows of each key/value head, those of head h from begins[h] to begins[h + 1].  The first
/// `count` of a head are in use before a call, and the first `after` behind it, where it has so many.
template <class T>
struct CacheRows {
  T *keys = nullptr, *values = nullptr, *scores = nullptr;  // (rows, D) twice, (rows)
  const int* begins = nullptr;                              // (G + 1)
  int count = 0;
  int after = 0;
};

/// Where each head's places begin (G + 1), on the host: of `sizes` (G) or, where they are null, of `most` each.
template <class T>
std::vector<Index> places_of_heads(const Cuda<T>& backend, const Weight<Cuda<T>>& sizes, Index heads, Index most) {
  std::vector<double> each(static_cast<std::size_t>(heads), static_cast<double>(most));
  if (sizes) backend.to_host(sizes.value.data, each.data(), heads);
  std::vector<Index> begins{0};
  for (const double size : each) begins.push_back(begins.back() + std::clamp<Index>(static_cast<Index>(size), 0, most));
  return begins;
}

/// Cached keys into their places behind the sinks; a head that keeps fewer has keys of the lowest score there.  Grid: segments,
/// key/value heads.
template <class T>
__global__ void pack_cache(Segments segments, const CacheRows<T>* caches, int width, T* keys, T* values, T* scores) {
  const Segment s = segments[static_cast<int>(blockIdx.x)];
  const CacheRows<T> cache = caches[blockIdx.x];
  const int heads = static_cast<int>(gridDim.y), head = static_cast<int>(blockIdx.y);
  const int begin = cache.begins[head], held = cache.begins[head + 1] - begin;
  const std::int64_t first = static_cast<std::int64_t>(s.k_row) + s.apart - cache.count;
  for (int i = static_cast<int>(threadIdx.x); i < cache.count * width; i += static_cast<int>(blockDim.x)) {
    const int r = i / width, c = i % width;
    const std::int64_t from = static_cast<std::int64_t>(begin + r) * width + c;
    const std::int64_t to = ((first + r) * heads + head) * width + c;
    keys[to] = r < held ? cache.keys[from] : T{};
    values[to] = r < held ? cache.values[from] : T{};
    if (c == 0) scores[(first + r) * heads + head] = r < held ? cache.scores[begin + r] : cuda::from_float<T>(-INFINITY);
  }
}

/// The keys that are in the cache when the next token is read: of those before `leaving`, the best.  Grid: segments,
/// key/value heads.  Block: a warp.
template <class T>
__global__ void store_cache(Segments segments, const CacheRows<T>* caches, int width, const T* keys, const T* values,
                            const T* scores, int sinks) {
  const Segment s = segments[static_cast<int>(blockIdx.x)];
  const CacheRows<T> cache = caches[blockIdx.x];
  const int heads = static_cast<int>(gridDim.y), head = static_cast<int>(blockIdx.y), lane = static_cast<int>(threadIdx.x);
  const std::int64_t rows = cache.begins[head];
  const int kept = cache.begins[head + 1] - cache.begins[head];
  const T* own = scores + static_cast<std::int64_t>(s.k_row) * heads + head;
  const auto score = [&](int i) { return cuda::to_float(own[static_cast<std::int64_t>(i) * heads]); };
  int stored = 0;
  for (int block = sinks; block < s.leaving; block += 32) {
    const int j = block + lane;
    bool member = false;
    if (j < s.leaving && score(j) > -INFINITY) {
      const float mine = score(j);
      int above = 0;
      for (int i = sinks; i < s.leaving; ++i) above += i < j ? score(i) >= mine : score(i) > mine;
      member = above < kept;
    }
    for (unsigned members = __ballot_sync(cuda::full_warp, member); members != 0; members &= members - 1, ++stored) {
      const int key = block + __ffs(static_cast<int>(members)) - 1;
      const std::int64_t from = ((static_cast<std::int64_t>(s.k_row) + key) * heads + head) * width, to = (rows + stored) * width;
      for (int c = lane; c < width; c += 32) {
        cache.keys[to + c] = keys[from + c];
        cache.values[to + c] = values[from + c];
      }
      if (lane == 0) cache.scores[rows + stored] = own[static_cast<std::int64_t>(key) * heads];
    }
  }
  for (; stored < min(kept, cache.after); ++stored) {  // scores of NaN have no order
    for (int c = lane; c < width; c += 32) {
      cache.keys[(rows + stored) * width + c] = cuda::from_float<T>(0.0F);
      cache.values[(rows + stored) * width + c] = cuda::from_float<T>(0.0F);
    }
    if (lane == 0) cache.scores[rows + stored] = cuda::from_float<T>(-INFINITY);
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
