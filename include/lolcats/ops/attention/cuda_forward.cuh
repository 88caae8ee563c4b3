// Attention forward on a GPU, general path: near keys by blocks with a running maximum, far sums mixed in.
#pragma once

#include <lolcats/ops/attention/cuda_cache.cuh>
#include <lolcats/ops/attention/cuda_far.cuh>
#include <lolcats/ops/attention/cuda_segments.cuh>

#include <cmath>

namespace lolcats::general {

/// gamma of a head; 1 without window factors.
template <class T>
__device__ __forceinline__ float gamma_of(const T* window_factors, int head) {
  return window_factors ? 1.0F / (1.0F + expf(-cuda::to_float(window_factors[head]))) : 1.0F;
}

template <class T>
struct Attend {
  Segments segments;
  const int* begins = nullptr;  // (M)
  HeadRange heads;
  bool near = true;  // are near keys read?
  int sinks = 0;
  CachedKeys cached;
  bool affine = false;
  const T *q = nullptr, *k = nullptr, *v = nullptr;  // (M, H * D), (keys, G * D) twice
  const T* window_factors = nullptr;                 // (H) or null
  const float* far = nullptr;  // (M, heads here, D) and (M, heads here): sums over far keys, or null
  const float* far_weights = nullptr;
  T* y = nullptr;            // (M, H * D)
  float* largest = nullptr;  // (M, H) each, or null
  float* inverse_denominator = nullptr;
  std::int32_t* largest_at = nullptr;

  /// The near keys of queries [first, first + count) of a segment.
  __device__ __forceinline__ NearBlocks near_blocks(const Segment& s, int head, int first, int count) const {
    const int window = begins[static_cast<std::int64_t>(s.q_row) + first];
    return {cached, sinks, window, s.offset + first + count, first, s.key_tile, heads.key_head(head)};
  }
  __device__ __forceinline__ Rows<T> queries(const T* x, int head, std::int64_t row) const {
    const std::int64_t stride = static_cast<std::int64_t>(heads.queries) * heads.size;
    return {x + row * stride + static_cast<std::int64_t>(heads.query_head(head)) * heads.size, stride, heads.size};
  }
  __device__ __forceinline__ Rows<T> keys(const T* x, int key_head, std::int64_t row) const {
    const std::int64_t stride = static_cast<std::int64_t>(heads.keys) * heads.size;
    return {x + row * stride + static_cast<std::int64_t>(key_head) * heads.size, stride, heads.size};
  }
};

/// Shared memory in floats: three tiles, an output of D columns, three numbers per row.
inline std::size_t attend_shared_bytes(int size) {
  return sizeof(float) * static_cast<std::size_t>((3 + (size + tile - 1) / tile) * tile_floats + 4 * tile);
}

/// scores (64, 64) = left right^T over all columns of both, in the arithmetic of T; `a` and `b` are scratch tiles.  Ends
/// with a barrier.
template <class T, class Source>
__device__ __forceinline__ void row_products(float* scores, float* a, float* b, const Source& left, int left_first,
                                             int left_count, const Source& right, int right_first, int right_count) {
  for (int d = 0; d < left.width; d += tile) {
    __syncthreads();
    stage(a, left, left_first, left_count, d);
    stage(b, right, right_first, right_count, d);
    __syncthreads();
    product<T, Depth::inner, Depth::inner>(a, b, min(tile, left.width - d), right_count, [&](int r, int c, float sum) {
      float& to = scores[r * tile_stride + c];
      to = d > 0 ? to + sum : sum;
    });
  }
  __syncthreads();
}

/// y of 64 queries of one head.  Grid: tiles of queries, heads.
template <class T>
__global__ void __launch_bounds__(tile_threads, 2) attend(Attend<T> p) {
  extern __shared__ float4 shared[];
  const int size = p.heads.size;
  float* a = reinterpret_cast<float*>(shared);
  float* b = a + tile_floats;
  float* weights = b + tile_floats;                               // p (64, 64)
  float* sums = weights + tile_floats;                            // near sums (64, D), tiles side by side
  float* shrink = sums + (size + tile - 1) / tile * tile_floats;  // (64)
  float* near_factor = shrink + tile;                             // (64)
  float* far_factor = near_factor + tile;                         // (64)

  const Segment s = p.segments.find(static_cast<int>(blockIdx.x), &Segment::query_tile);
  const int head = static_cast<int>(blockIdx.y);
  const int first = (static_cast<int>(blockIdx.x) - s.query_tile) * tile, count = min(tile, s.queries - first);
  const int thread = static_cast<int>(threadIdx.x), row = thread / 4;
  const std::int64_t q_row = static_cast<std::int64_t>(s.q_row) + first;
  const int h = p.heads.query_head(head);
  const float gamma = gamma_of(p.window_factors, h);
  const float beta = p.affine ? 1.0F - gamma : 1.0F;
  const float scale = rsqrtf(static_cast<float>(size));
  const Rows<T> q = p.queries(p.q, head, q_row);
  const Rows<T> k = p.keys(p.k, p.heads.key_head(head), s.k_row), v = p.keys(p.v, p.heads.key_head(head), s.k_row);

  float largest = -INFINITY, weight = 0;  // of this thread's row; all four threads of a row agree on `largest`
  int largest_at = 0;
  if (p.near) {
    for (int i = thread; i < (size + tile - 1) / tile * tile_floats; i += tile_threads) sums[i] = 0;
    const int begin = row < count ? p.begins[q_row + row] : 0, end = row < count ? s.offset + first + row + 1 : 0;
    const NearBlocks blocks = p.near_blocks(s, head, first, count);
    for (int block = blocks.begin(), stop; block < blocks.end; block = blocks.next(stop)) {
      stop = blocks.stop(block);
      const int keys = stop - block;
      row_products<T>(weights, a, b, q, 0, count, k, block, keys);

      const int lo = block < p.sinks && !p.cached ? 0 : begin - block, hi = min(keys, end - block);
      const int* const until = p.cached.of(s.k_row + block, p.heads.key_head(head));
      const auto sees = [&](int c) {
        return c < hi && (c >= lo || (until && first + row < until[static_cast<std::int64_t>(c) * p.cached.heads]));
      };
      float top = -INFINITY;
      int top_at = 0;
      for_row([&](int c) {
        const float score = weights[row * tile_stride + c] * scale;
        if (sees(c) && score > top) {
          top = score;
          top_at = c;
        }
      });
#pragma unroll
      for (int lanes = 1; lanes <= 2; lanes *= 2) {  // the first of equals
        const float other = __shfl_xor_sync(cuda::full_warp, top, lanes);
        const int other_at = __shfl_xor_sync(cuda::full_warp, top_at, lanes);
        if (other > top || (other == top && other_at < top_at)) {
          top = other;
          top_at = other_at;
        }
      }
      float factor = 1;
      if (top > largest) {
        factor = expf(largest - top);
        largest = top;
        largest_at = block + top_at;
        weight *= factor;
      }
      for_row([&](int c) {
        float& at = weights[row * tile_stride + c];
        at = sees(c) ? expf(at * scale - largest) : 0.0F;
        weight += at;
      });
      if (thread % 4 == 0) shrink[row] = factor;
      for (int d = 0; d < size; d += tile) {
        __syncthreads();
        stage(b, v, block, keys, d);  // (64 keys, 64 of D)
        __syncthreads();
        float* to = sums + d / tile * tile_floats;
        product<T, Depth::inner, Depth::outer>(weights, b, keys, min(tile, size - d), [&](int r, int c, float sum) {
          to[r * tile_stride + c] = to[r * tile_stride + c] * shrink[r] + sum;
        });
      }
    }
    weight = row_sum(weight);
  }

  if (thread % 4 == 0) {
    float denominator = gamma * weight;
    const std::int64_t at = (q_row + row) * p.heads.queries + h;
    if (row < count) {
      if (p.far) denominator += beta * p.far_weights[(q_row + row) * p.heads.count + head];
      if (!p.near) denominator += static_cast<float>(linear_epsilon);
    }
    const float inverse = 1.0F / denominator;
    near_factor[row] = gamma * inverse;
    far_factor[row] = beta * inverse;
    if (row < count && p.inverse_denominator) {
      p.largest[at] = largest;
      p.inverse_denominator[at] = inverse;
      p.largest_at[at] = largest_at;
    }
  }
  __syncthreads();
  if (!p.y) return;
  const Rows<T> y = p.queries(p.y, head, q_row);
  for (int i = thread; i < count * size; i += tile_threads) {
    const int r = i / size, c = i % size;
    float value = p.near ? near_factor[r] * wide_at(sums, r, c) : 0.0F;
    if (p.far) value += far_factor[r] * p.far[((q_row + r) * p.heads.count + head) * size + c];
    const_cast<T*>(y.data)[r * y.stride + c] = cuda::from_float<T>(value);
  }
}

template <class T>
void launch_attend(cudaStream_t stream, const Attend<T>& p, const Plan& plan) {
  const std::size_t shared = attend_shared_bytes(p.heads.size);
  require<ConfigError>(shared <= cuda::device().shared_per_block,
                       "attention: heads of size {} need {} bytes of shared memory, expected at most {}", p.heads.size,
                       shared, cuda::device().shared_per_block);
  cuda::launch("attention: near keys", attend<T>,
               {dim3(static_cast<unsigned>(plan.query_tiles), static_cast<unsigned>(p.heads.count)), tile_threads,
                stream, shared},
               p);
}

}  // namespace lolcats::general
