// Decoding one token of many sequences on a GPU: features in one launch, everything else in another.
#pragma once

#include <lolcats/ops/attention/cuda_features.cuh>
#include <lolcats/ops/attention/cuda_forward.cuh>

namespace lolcats::general {

/// One sequence that reads one token.  Kept keys lie in a ring: the key at position p in row p % capacity.
template <class T>
struct DecodeSlot {
  T *keys = nullptr, *values = nullptr;          // (capacity, G * D)
  float *sums = nullptr, *normalizer = nullptr;  // S (H, F, D), z (H, F)
  int row = 0;                                   // of q, k, v and y
  int capacity = 0;
  int start = 0;       // ring row of the first kept key
  int kept = 0;        // keys in the ring before this token; the new one is number `kept`
  int near_begin = 0;  // number of the first near key
  int leaving = 0;     // keys that are far from the next token on
  int leaving_at = 0;  // number of the first of them among those of all slots
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
      rows[r] = p.key_row(s, s.keys, p.k, first + r - s.leaving_at) + static_cast<std::int64_t>(key_head) * size;
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

/// `Width` neighbouring elements as floats.
template <int Width, class T>
struct Elements {
  float values[Width];

  struct alignas(Width * sizeof(T)) Raw {
    T values[Width];
  };
  __device__ __forceinline__ explicit Elements(const Raw& raw) {
#pragma unroll
    for (int i = 0; i < Width; ++i) values[i] = cuda::to_float(raw.values[i]);
  }
  static __device__ __forceinline__ Raw load(const T* from) { return *reinterpret_cast<const Raw*>(from); }
};

inline constexpr int decode_keys = 128;          // near keys per block of scores

/// y of one head of one sequence, and its state moved on.  Grid: heads, slots.
///
/// Columns are spread over `across` threads, `Width` each; the 256 / across rows of threads share keys and features.
/// What counts is that memory is busy: S is asked for first, and loads are issued many at a time.
template <class T, int Width>
__global__ void __launch_bounds__(tile_threads, 3)
    decode(const __grid_constant__ DecodeSlots<T> slots, const __grid_constant__ Decode<T> p) {
  constexpr int steps = decode_largest_size / 32 / Width;  // most columns of a thread, in groups of Width
  constexpr int wide = Width == 1 ? 1 : 16 / static_cast<int>(sizeof(T));  // elements of a key per load
  constexpr int at_once = 8;                                               // values of a thread in flight
  using Values = Elements<Width, T>;
  using State = Elements<Width, float>;
  extern __shared__ float phi[];  // (F)
  __shared__ float scores[decode_keys];
  __shared__ float query[decode_largest_size];
  __shared__ float parts[tile_threads * Width];
  const DecodeSlot<T>& s = slots.slots[blockIdx.y];
  const int head = static_cast<int>(blockIdx.x), key_head = head / p.heads.group,
            thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32, size = p.heads.size, F = p.heads.features;
  const int groups = (size + Width - 1) / Width;  // of columns
  int across = 1;
  while (across < 32 && across < groups) across *= 2;
  const int down = tile_threads / across, own_row = thread / across, own_column = thread % across * Width;
  const std::int64_t at_q = (static_cast<std::int64_t>(s.row) * p.heads.queries + head) * size;
  const std::int64_t at_k = static_cast<std::int64_t>(key_head) * size;
  const auto for_columns = [&](auto f) {  // f(step, column)
#pragma unroll
    for (int step = 0; step < steps; ++step) {
      if (const int c = own_column + step * across * Width; c < size) f(step, c);
    }
  };
  const float gamma = gamma_of(p.window_factors, head), beta = p.affine ? 1.0F - gamma : 1.0F;
  float* state = p.far ? s.sums + static_cast<std::int64_t>(head) * F * size : nullptr;
  if (p.far) prefetch(state, static_cast<std::int64_t>(sizeof(float)) * F * size);

  float sums[steps][Width] = {};
  float denominator = 0;
  for (int c = thread; c < size; c += tile_threads) query[c] = cuda::to_float(p.q[at_q + c]);
  if (p.far) {
    const float* own = p.phi_q + (static_cast<std::int64_t>(blockIdx.y) * p.heads.queries + head) * F;
    for (int f = thread; f < F; f += tile_threads) phi[f] = beta * own[f];
  }
  __syncthreads();

  if (p.near) {
    float largest = -INFINITY, weight = 0;  // the same in all threads
    const float scale = rsqrtf(static_cast<float>(size));
    for (int block = s.near_begin; block <= s.kept; block += decode_keys) {
      const int keys = min(decode_keys, s.kept + 1 - block);
      {
        constexpr int each = decode_keys * 8 / tile_threads;  // keys of a group of eight threads
        const T* k[each];
        float sum[each] = {};
#pragma unroll
        for (int i = 0; i < each; ++i)
          k[i] = p.key_row(s, s.keys, p.k, block + min(thread / 8 + 32 * i, keys - 1)) + at_k;
#pragma unroll 2
        for (int c = thread % 8 * wide; c < size; c += 8 * wide) {
          typename Elements<wide, T>::Raw raw[each];
#pragma unroll
          for (int i = 0; i < each; ++i) raw[i] = Elements<wide, T>::load(k[i] + c);
#pragma unroll
          for (int i = 0; i < each; ++i) {
            const Elements<wide, T> x(raw[i]);
#pragma unroll
            for (int e = 0; e < wide; ++e) sum[i] = fmaf(query[c + e], x.values[e], sum[i]);
          }
        }
#pragma unroll
        for (int i = 0; i < each; ++i) {
#pragma unroll
          for (int offset = 1; offset < 8; offset *= 2) sum[i] += __shfl_xor_sync(cuda::full_warp, sum[i], offset);
          if (thread % 8 == 0) scores[thread / 8 + 32 * i] = thread / 8 + 32 * i < keys ? sum[i] * scale : -INFINITY;
        }
      }
      __syncthreads();
      float own[decode_keys / 32], top = largest;  // every warp looks at all scores
#pragma unroll
      for (int i = 0; i < decode_keys / 32; ++i) {
        own[i] = scores[lane + 32 * i];
        top = fmaxf(top, own[i]);
      }
      top = cuda::warp_max(top);
      const float shrink = expf(largest - top);
      float added = 0;
#pragma unroll
      for (int i = 0; i < decode_keys / 32; ++i) {
        own[i] = expf(own[i] - top);
        added += own[i];
      }
      weight = weight * shrink + cuda::warp_sum(added);
      largest = top;
      __syncthreads();
      if (thread < 32) {
#pragma unroll
        for (int i = 0; i < decode_keys / 32; ++i) scores[lane + 32 * i] = own[i];
      }
      __syncthreads();
#pragma unroll
      for (int step = 0; step < steps; ++step) {
#pragma unroll
        for (int i = 0; i < Width; ++i) sums[step][i] *= shrink;
      }
      for_columns([&](int step, int c) {
        for (int j = own_row; j < keys; j += at_once * down) {
          typename Values::Raw raw[at_once];
#pragma unroll
          for (int i = 0; i < at_once; ++i) {
            raw[i] = Values::load(p.key_row(s, s.values, p.v, block + min(j + i * down, keys - 1)) + at_k + c);
          }
#pragma unroll
          for (int i = 0; i < at_once; ++i) {
            const float weight_j = j + i * down < keys ? scores[j + i * down] : 0.0F;
            const Values v(raw[i]);
#pragma unroll
            for (int e = 0; e < Width; ++e) sums[step][e] = fmaf(weight_j, v.values[e], sums[step][e]);
          }
        }
      });
      __syncthreads();
    }
    denominator = gamma * weight;
#pragma unroll
    for (int step = 0; step < steps; ++step) {
#pragma unroll
      for (int i = 0; i < Width; ++i) sums[step][i] *= gamma;
    }
  }

  if (p.far) {
    const int key_map = p.key_maps == p.heads.queries ? head : key_head;
    const float* leaving = p.phi_k + (static_cast<std::int64_t>(s.leaving_at) * p.key_maps + key_map) * F;
    const std::int64_t leaving_stride = static_cast<std::int64_t>(p.key_maps) * F;
    // Of the keys that leave, these are far for this token already: without a window, its own.
    const int early = min(s.near_begin, s.leaving);
    float* z = s.normalizer + static_cast<std::int64_t>(head) * F;
    float weight = 0;
    for (int f = thread; f < F; f += tile_threads) {
      float sum = z[f];
      for (int j = 0; j < early; ++j) sum += leaving[j * leaving_stride + f];
      weight = fmaf(phi[f], sum, weight);
      if (s.leaving == 0) continue;
      for (int j = early; j < s.leaving; ++j) sum += leaving[j * leaving_stride + f];
      z[f] = sum;
    }
    if (s.leaving == 0) {
      for_columns([&](int step, int c) {
        for (int f = own_row; f < F; f += at_once * down) {
          typename State::Raw raw[at_once];
#pragma unroll
          for (int i = 0; i < at_once; ++i)
            raw[i] = State::load(state + static_cast<std::int64_t>(min(f + i * down, F - 1)) * size + c);
#pragma unroll
          for (int i = 0; i < at_once; ++i) {
            const float own = f + i * down < F ? phi[f + i * down] : 0.0F;
#pragma unroll
            for (int e = 0; e < Width; ++e) sums[step][e] = fmaf(own, raw[i].values[e], sums[step][e]);
          }
        }
      });
    } else {
      for_columns([&](int step, int c) {
        for (int f = own_row; f < F; f += at_once * down) {
          typename State::Raw x[at_once];
#pragma unroll
          for (int i = 0; i < at_once; ++i)
            x[i] = State::load(state + static_cast<std::int64_t>(min(f + i * down, F - 1)) * size + c);
          const auto add = [&](int j) {
            const Values v(Values::load(p.key_row(s, s.values, p.v, j) + at_k + c));
#pragma unroll
            for (int i = 0; i < at_once; ++i) {
              const float weight_j = leaving[j * leaving_stride + min(f + i * down, F - 1)];
#pragma unroll
              for (int e = 0; e < Width; ++e) x[i].values[e] = fmaf(weight_j, v.values[e], x[i].values[e]);
            }
          };
          for (int j = 0; j < early; ++j) add(j);
#pragma unroll
          for (int i = 0; i < at_once; ++i) {
            const float own = f + i * down < F ? phi[f + i * down] : 0.0F;
#pragma unroll
            for (int e = 0; e < Width; ++e) sums[step][e] = fmaf(own, x[i].values[e], sums[step][e]);
          }
          for (int j = early; j < s.leaving; ++j) add(j);  // more than one where a whole tile leaves
#pragma unroll
          for (int i = 0; i < at_once; ++i) {
            if (f + i * down < F) {
              *reinterpret_cast<typename State::Raw*>(state + static_cast<std::int64_t>(f + i * down) * size + c) =
                  x[i];
            }
          }
        }
      });
    }
    denominator += cuda::block_sum<tile_threads>(weight);
  }
  if (!p.near) denominator += linear_epsilon;

  const float inverse = 1.0F / denominator;
#pragma unroll
  for (int step = 0; step < steps; ++step) {
    if (step * across * Width >= size) break;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < Width; ++i) parts[thread * Width + i] = sums[step][i];
    __syncthreads();
    const int columns = min(across * Width, size - step * across * Width);
    for (int c = thread; c < columns; c += tile_threads) {
      float sum = 0;
      for (int r = 0; r < down; ++r) sum += parts[r * across * Width + c];
      p.y[at_q + step * across * Width + c] = cuda::from_float<T>(inverse * sum);
    }
  }
  if (s.keys && head % p.heads.group == 0) {  // the new key and value go into the ring
    int at = s.start + s.kept;
    if (at >= s.capacity) at -= s.capacity;
    for (int c = thread; c < size; c += tile_threads) {
      s.keys[at * p.key_stride() + at_k + c] = p.k[s.row * p.key_stride() + at_k + c];
      s.values[at * p.key_stride() + at_k + c] = p.v[s.row * p.key_stride() + at_k + c];
    }
  }
}

/// Elements of T that a key's row must be a multiple of for the wide loads of `decode`.
template <class T>
inline constexpr Index decode_alignment = 16 / static_cast<Index>(sizeof(T));

/// Head sizes that `decode` has columns for.
inline bool decode_takes(const Heads& heads) { return heads.size <= decode_largest_size; }

}  // namespace lolcats::general
