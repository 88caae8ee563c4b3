// Caches of far keys on a GPU: which queries find a key near although it has left the window.
#pragma once

#include <lolcats/ops/attention/cuda_segments.cuh>

namespace lolcats::general {

/// until (key rows, G): queries of the segment before this one find key j near, in the window or in the cache; and the
/// largest of each tile of 64 keys, (key tiles, G).
///
/// A key stays in the cache while fewer than `size` of the keys that have left the window score higher, or as high and came
/// before.  Keys leave the window in order, so the key with whose leaving that many are reached ends it.
/// Grid: tiles of keys, key/value heads.  Block: 64 threads.
template <class T>
__global__ void cache_until(Segments segments, const int* ends, const T* scores, const T* sizes, int most, int sinks,
                            int* until, int* until_most) {
  const int index = segments.index_of(static_cast<int>(blockIdx.x), &Segment::key_tile);
  const Segment s = segments[index];
  const int heads = static_cast<int>(gridDim.y), head = static_cast<int>(blockIdx.y);
  const int j = (static_cast<int>(blockIdx.x) - s.key_tile) * tile + static_cast<int>(threadIdx.x);
  const T* own = scores + static_cast<std::int64_t>(s.q_row) * heads + head;
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
