// Decoding one token of many sequences on a GPU: the sequences, and the features of their queries and leaving keys.
#pragma once

#include <lolcats/ops/attention/cuda_features.cuh>

namespace lolcats::general {

/// One sequence that reads one token.  Kept keys lie in a ring: the key at position p in row p % capacity.  Sinks lie apart;
/// those that are in the ring, too, are read from there by nobody.
template <class T>
struct DecodeSlot {
  T *keys = nullptr, *values = nullptr;          // (capacity, G * D)
  float *sums = nullptr, *normalizer = nullptr;  // S (H, F, D), z (H, F)
  T *sink_keys = nullptr, *sink_values = nullptr;  // (sinks, G * D)
  float* decays = nullptr;                       // log a of the kept keys' tokens (capacity, sums)
  int row = 0;                                   // of q, k, v and y
  int capacity = 0;
  int start = 0;       // ring row of the first kept key
  int kept = 0;        // keys in the ring before this token; the new one is number `kept`
  int sinks = 0;       // that this token reads
  int sink_row = -1;   // of this token, if it is one
  int near_begin = 0;  // number of the first near key that is no sink
  int leaving = 0;     // keys that are far from the next token on
  int leaving_from = 0;  // number of the first of them
  int leaving_at = 0;    // its number among those of all slots
};

/// Slots as a kernel's parameter: nothing to copy to the device.  Larger batches take several launches.
template <class T>
struct DecodeSlots {
  static constexpr int capacity = 64;
  DecodeSlot<T> slots[capacity];
  int count = 0;
  int leaving = 0;  // of all slots
};

/// What both kernels read.
template <class T>
struct Decode {
  HeadRange heads;
  const T *q = nullptr, *k = nullptr, *v = nullptr;  // (M, H * D), (M, G * D) twice
  const T *query_map = nullptr, *key_map = nullptr, *query_bias = nullptr, *key_bias = nullptr;
  int width = 0;     // f
  int key_maps = 0;  // H or G
  int rows = tile;   // that a block of decode_features maps: a tile, or few_rows
  const T* window_factors = nullptr;
  const float* decay = nullptr;  // a of this token (slots, key maps); null without a gate
  bool near = true, far = true, affine = false;
  float* phi_q = nullptr;  // (slots, H, F)
  float* phi_k = nullptr;  // (leaving keys, key maps, F)
  T* y = nullptr;          // (M, H * D)

  __device__ __forceinline__ std::int64_t key_stride() const {
    return static_cast<std::int64_t>(heads.keys) * heads.size;
  }
  /// Row of the slot's key number j, in its ring or, for the newest, among the inputs.
  __device__ __forceinline__ const T* key_row(const DecodeSlot<T>& s, const T* ring, const T* inputs, int j) const {
    if (j == s.kept) return inputs + s.row * key_stride();
    int at = s.start + j;
    if (at >= s.capacity) at -= s.capacity;
    return ring + at * key_stride();
  }
  /// Keys that are near for this token, and the row of number i of them: sinks first.
  static __device__ __forceinline__ int near_keys(const DecodeSlot<T>& s) { return s.sinks + s.kept + 1 - s.near_begin; }
  __device__ __forceinline__ const T* near_row(const DecodeSlot<T>& s, const T* sink_rows, const T* ring, const T* inputs,
                                               int i) const {
    if (i >= s.sinks) return key_row(s, ring, inputs, s.near_begin + i - s.sinks);
    return i == s.sink_row ? inputs + s.row * key_stride() : sink_rows + i * key_stride();
  }
};

inline constexpr int decode_largest_size = 256;  // of a head

/// Asks for `bytes` from `from` on to be in the L2 cache soon.  All threads of the block take part.
__device__ __forceinline__ void prefetch(const void* from, std::int64_t bytes) {
  const char* at = static_cast<const char*>(from);
  for (std::int64_t i = 128LL * threadIdx.x; i < bytes; i += 128LL * tile_threads) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(at + i));
  }
}

/// Rows that `project_few` takes at most.
inline constexpr int few_rows = 4;

/// `project` for few rows, given by pointers: the threads share the sums over D, so that W is read at once.  f is a multiple
/// of the elements in 16 bytes; `sums` has room for tile_threads partial sums of as many columns and few_rows rows.
template <class T, FeatureMap M>
__device__ void project_few(float* z, float* sums, const T* const* rows, int count, int size, const Rows<T>& weight,
                            const T* bias) {
  constexpr int Width = cuda::widest<T>;
  __shared__ float x[few_rows][decode_largest_size];
  const int thread = static_cast<int>(threadIdx.x), f = weight.width;
  const int across = f / Width, down = tile_threads / across;  // packs of columns, and threads that share one
  for (int c = thread; c < size; c += tile_threads) {
#pragma unroll
    for (int r = 0; r < few_rows; ++r) x[r][c] = r < count ? cuda::to_float(rows[r][c]) : 0.0F;
  }
  __syncthreads();
  if (thread < across * down) {
    const int column = thread % across * Width, first = thread / across;
    float sum[few_rows][Width] = {};
#pragma unroll 4
    for (int d = first; d < size; d += down) {
      const auto w = cuda::load_pack<Width>(weight.data + d * f + column);
#pragma unroll
      for (int r = 0; r < few_rows; ++r) {
#pragma unroll
        for (int e = 0; e < Width; ++e) sum[r][e] = fmaf(x[r][d], w[e], sum[r][e]);
      }
    }
#pragma unroll
    for (int r = 0; r < few_rows; ++r) {
      auto* to = reinterpret_cast<float4*>(sums + (first * few_rows + r) * f + column);
#pragma unroll
      for (int e = 0; e < Width; e += 4) to[e / 4] = {sum[r][e], sum[r][e + 1], sum[r][e + 2], sum[r][e + 3]};
    }
  }
  __syncthreads();
  for (int i = thread; i < few_rows * f; i += tile_threads) {
    const int r = i / f, c = i % f;
    float sum = 0;
#pragma unroll 8
    for (int part = 0; part < down; ++part) sum += sums[part * few_rows * f + i];
    if constexpr (M::bias != Bias::none) sum += cuda::to_float(bias[M::bias == Bias::head ? 0 : c]);
    if (M::skip && c < size) sum += x[r][c];
    wide_at(z, r, c) = sum;
  }
  __syncthreads();
}

/// phi of the queries and of the keys that leave.  Grid: blocks of `p.rows` rows, query maps and then key maps.
template <class T, FeatureMap M, int Lanes, int Count>
__global__ void __launch_bounds__(tile_threads)
    decode_features(const __grid_constant__ DecodeSlots<T> slots, const __grid_constant__ Decode<T> p) {
  extern __shared__ float4 shared[];
  __shared__ const T* rows[tile];
  float* left = reinterpret_cast<float*>(shared);
  float* right = left + tile_floats;
  float* z = right + tile_floats;
  const bool query = static_cast<int>(blockIdx.y) < p.heads.queries;
  const int m = static_cast<int>(blockIdx.y) - (query ? 0 : p.heads.queries);
  const int all = query ? slots.count : slots.leaving, first = static_cast<int>(blockIdx.x) * p.rows,
            count = min(p.rows, all - first);
  if (count <= 0) return;
  const int size = p.heads.size;
  const std::int64_t map_at = static_cast<std::int64_t>(m) * size * p.width;
  const Rows<T> weight{(query ? p.query_map : p.key_map) + map_at, p.width, p.width};
  if (p.rows == few_rows) prefetch(weight.data, static_cast<std::int64_t>(sizeof(T)) * size * p.width);
  for (int r = static_cast<int>(threadIdx.x); r < count; r += tile_threads) {
    if (query) {
      rows[r] = p.q + (static_cast<std::int64_t>(slots.slots[first + r].row) * p.heads.queries + m) * size;
    } else {
      int low = 0,
          high = slots.count;  // the last slot whose first leaving key is not behind this one, and that has any
      while (high - low > 1) {
        const int middle = (low + high) / 2;
        (slots.slots[middle].leaving_at <= first + r ? low : high) = middle;
      }
      const DecodeSlot<T>& s = slots.slots[low];
      const int key_head = p.key_maps == p.heads.queries ? m / p.heads.group : m;
      rows[r] = p.key_row(s, s.keys, p.k, s.leaving_from + first + r - s.leaving_at) + static_cast<std::int64_t>(key_head) * size;
    }
  }
  const T* bias = nullptr;
  if constexpr (M::bias != Bias::none) {
    bias = (query ? p.query_bias : p.key_bias) + static_cast<std::int64_t>(m) * (M::bias == Bias::head ? 1 : p.width);
  }
  if (p.rows == few_rows) {
    __syncthreads();
    project_few<T, M>(z, left, rows, count, size, weight, bias);
  } else {
    project<T, M>(z, left, right, GatheredRows<T>{rows, size, size % 4 == 0}, count, weight, bias);
  }
  float* phi = query ? p.phi_q : p.phi_k;
  const std::int64_t maps = query ? p.heads.queries : p.key_maps;
  for_rows<Lanes, Count>(z, p.width, p.rows, [&](int r, const LaneRow<Lanes, Count>& zr) {
    const auto f = M::features(zr);
    if (r < count) store_features<M, Lanes, Count>(f, p.width, phi + ((first + r) * maps + m) * M::count * p.width);
  });
}

}  // namespace lolcats::general
