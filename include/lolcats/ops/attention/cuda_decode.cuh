// Decoding one token of many sequences on a GPU: features in one launch, everything else in another.
#pragma once

#include <lolcats/ops/attention/cuda_decay.cuh>
#include <lolcats/ops/attention/cuda_decode_cache.cuh>
#include <lolcats/ops/attention/cuda_forward.cuh>

namespace lolcats::general {

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

/// y of one head of one sequence, and its state moved on, but for its cache, which is read behind the window.  Grid: heads, slots.
///
/// Columns are spread over `across` threads, `Width` each; the 256 / across rows of threads share keys and features.
/// What counts is that memory is busy: S is asked for first, and loads are issued many at a time.
template <class T, int Width, class Caches>
__global__ void __launch_bounds__(tile_threads, 3)
    decode(const __grid_constant__ DecodeSlots<T> slots, const __grid_constant__ Decode<T> p,
           const __grid_constant__ Caches caches) {
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
  const int others = p.near_keys(s);  // near keys that are in no cache
  int near_keys = others;
  if constexpr (Caches::any) near_keys += caches.of[blockIdx.y].held(key_head);
  const auto near_row = [&](const T* sink_rows, const T* ring, const T* inputs, [[maybe_unused]] const T* cached, int i) {
    if constexpr (Caches::any) {
      if (i >= others) return cached + (caches.of[blockIdx.y].first_row(key_head) + i - others) * size;
    }
    return p.near_row(s, sink_rows, ring, inputs, i) + at_k;
  };
  const T *cached_keys = nullptr, *cached_values = nullptr;
  if constexpr (Caches::any) {
    cached_keys = caches.of[blockIdx.y].rows.keys;
    cached_values = caches.of[blockIdx.y].rows.values;
  }
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
    for (int block = 0; block < near_keys; block += decode_keys) {
      const int keys = min(decode_keys, near_keys - block);
      {
        constexpr int each = decode_keys * 8 / tile_threads;  // keys of a group of eight threads
        const T* k[each];
        float sum[each] = {};
#pragma unroll
        for (int i = 0; i < each; ++i)
          k[i] = near_row(s.sink_keys, s.keys, p.k, cached_keys, block + min(thread / 8 + 32 * i, keys - 1));
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
            raw[i] = Values::load(near_row(s.sink_values, s.values, p.v, cached_values, block + min(j + i * down, keys - 1)) + c);
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
    const int early = min(max(s.near_begin - s.leaving_from, 0), s.leaving);
    // With a gate all moves on, and features of keys that leave have decayed (decay_leaving).
    const bool moves = s.leaving > 0 || p.decay;
    const float decay = p.decay ? p.decay[static_cast<int>(blockIdx.y) * p.key_maps + key_map] : 1.0F;
    float* z = s.normalizer + static_cast<std::int64_t>(head) * F;
    float weight = 0;
    for (int f = thread; f < F; f += tile_threads) {
      float sum = decay * z[f];
      for (int j = 0; j < early; ++j) sum += leaving[j * leaving_stride + f];
      weight = fmaf(phi[f], sum, weight);
      if (!moves) continue;
      for (int j = early; j < s.leaving; ++j) sum += leaving[j * leaving_stride + f];
      z[f] = sum;
    }
    if (!moves) {
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
          if (p.decay) {
#pragma unroll
            for (int i = 0; i < at_once; ++i) {
#pragma unroll
              for (int e = 0; e < Width; ++e) x[i].values[e] *= decay;
            }
          }
          const auto add = [&](int j) {
            const Values v(Values::load(p.key_row(s, s.values, p.v, s.leaving_from + j) + at_k + c));
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
  if (!p.near) denominator += static_cast<float>(linear_epsilon);

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
  if (head % p.heads.group == 0) {  // the new key and value go into the ring, and to the sinks
    const auto keep = [&](T* keys, T* values, int at) {
      for (int c = thread; c < size; c += tile_threads) {
        keys[at * p.key_stride() + at_k + c] = p.k[s.row * p.key_stride() + at_k + c];
        values[at * p.key_stride() + at_k + c] = p.v[s.row * p.key_stride() + at_k + c];
      }
    };
    int at = s.start + s.kept;
    if (at >= s.capacity) at -= s.capacity;
    if (s.keys) keep(s.keys, s.values, at);
    if constexpr (Caches::any) {
      float* const scores = caches.of[blockIdx.y].scores;
      if (scores && thread == 0) scores[at * p.heads.keys + key_head] = cuda::to_float(caches.scores[s.row * p.heads.keys + key_head]);
    }
    if (s.sink_row >= 0) keep(s.sink_keys, s.sink_values, s.sink_row);
  }
}

/// What a gate does before `decode` runs: a (slots, sums) of the new token, its logarithm into the ring, and the features of
/// keys that leave as they have decayed since they came.  Grid: sums, slots.
template <GatePolicy Gate, class T>
__global__ void __launch_bounds__(scan_threads)
    decay_leaving(const __grid_constant__ DecodeSlots<T> slots, GateInputs<T> in, float* phi_k, int features, float* decay) {
  const DecodeSlot<T>& s = slots.slots[blockIdx.y];
  const int sum = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const double own = Gate::log_decay(in.z(s.row, sum));
  const auto ring = [&](int key) -> float& { return s.decays[static_cast<std::int64_t>((s.start + key) % s.capacity) * in.sums + sum]; };
  const auto log_of = [&](int key) { return key == s.kept ? own : static_cast<double>(ring(key)); };
  if (thread == 0) decay[static_cast<int>(blockIdx.y) * in.sums + sum] = expf(static_cast<float>(own));
  double since = 0;  // the logarithm of what a key counts by now, from the last to leave on
  if (s.leaving > 0) {
    for (int key = s.leaving_from + s.leaving + thread; key <= s.kept; key += scan_threads) since += log_of(key);
    since = cuda::block_sum<scan_threads>(since);
  }
  for (int j = s.leaving - 1; j >= 0; --j) {
    const float factor = expf(static_cast<float>(since));
    float* phi = phi_k + (static_cast<std::int64_t>(s.leaving_at + j) * in.sums + sum) * features;
    for (int f = thread; f < features; f += scan_threads) phi[f] *= factor;
    if (j > 0) since += log_of(s.leaving_from + j);
  }
  __syncthreads();
  if (thread == 0 && s.decays) ring(s.kept) = static_cast<float>(own);
}

/// Elements of T that a key's row must be a multiple of for the wide loads of `decode`.
template <class T>
inline constexpr Index decode_alignment = 16 / static_cast<Index>(sizeof(T));

/// Head sizes that `decode` has columns for.
inline bool decode_takes(const Heads& heads) { return heads.size <= decode_largest_size; }

}  // namespace lolcats::general
