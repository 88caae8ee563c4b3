// Attention backward on a GPU, general path: q, k and v through near keys.
#pragma once

#include <lolcats/ops/attention/cuda_backward_maps.cuh>
#include <lolcats/ops/attention/cuda_forward.cuh>

namespace lolcats::general {

/// What the kernels below read.  With delta_n = dy_n . y_n and g_nj = (dy_n . v_j - delta_n) / den_n,
/// ds_nj = p_nj g_nj, and at the largest score in addition phi_q_n . dphi_q_n, which is minus the near sum of ds
/// (docs/math/attention.md).
template <class T>
struct PullNear {
  Attend<T> forward;                // with the statistics of the forward pass; y is not used
  const int* ends = nullptr;        // (M)
  const T* dy = nullptr;            // (M, H * D)
  const float* delta = nullptr;     // (M, H)
  const float* far_dots = nullptr;  // (M, heads here): phi_q . dphi_q, or null
  ThroughMap<T> through;            // the way back through the feature map; without dz there is none
  int map_group = 1;                // query heads that share a map
};

/// p / den and ds of one block, from scores and dy . v (64 queries, 64 keys), in place.  Thread row = threadIdx.x / 4.
template <class T>
__device__ __forceinline__ void pull_weights(const PullNear<T>& p, float* scores, float* dyv, int head,
                                             const Segment& segment, int first, int count, int block, int keys) {
  const Attend<T>& f = p.forward;
  const int row = static_cast<int>(threadIdx.x) / 4, offset = segment.offset;
  const std::int64_t q_row = static_cast<std::int64_t>(segment.q_row) + first;
  const int h = f.heads.query_head(head);
  const int* const until = f.cached.of(static_cast<std::int64_t>(segment.k_row) + block, f.heads.key_head(head));
  int lo = 0, hi = 0, sinks = 0, at = -1;
  float largest = 0, inverse = 0, delta = 0, far_dot = 0;
  if (row < count) {
    const std::int64_t n = (q_row + row) * f.heads.queries + h;
    lo = f.begins[q_row + row] - block;
    hi = min(keys, offset + first + row + 1 - block);
    sinks = f.sinks - block;
    largest = f.largest[n];
    inverse = f.inverse_denominator[n];
    delta = p.delta[n];
    at = f.largest_at[n] - block;
    if (p.far_dots) far_dot = p.far_dots[(q_row + row) * f.heads.count + head];
  }
  const float gamma = gamma_of(f.window_factors, h), scale = rsqrtf(static_cast<float>(f.heads.size));
  for_row([&](int c) {
    float &s = scores[row * tile_stride + c], &g = dyv[row * tile_stride + c];
    const bool kept = until && c < hi && first + row < until[static_cast<std::int64_t>(c) * f.cached.heads];
    if ((c >= lo || c < sinks || kept) && c < hi) {
      s = gamma * expf(s * scale - largest) * inverse;
      g = s * (g - delta) + (c == at ? far_dot : 0.0F);
    } else {
      s = g = 0;
    }
  });
}

/// dq of 64 queries of one head.  Grid: tiles of queries, heads.
template <class T>
__global__ void __launch_bounds__(tile_threads, 2) pull_queries(PullNear<T> p, T* dq, bool add) {
  extern __shared__ float4 shared[];
  const Attend<T>& f = p.forward;
  const int size = f.heads.size;
  float* a = reinterpret_cast<float*>(shared);
  float* b = a + tile_floats;
  float* scores = b + tile_floats;
  float* ds = scores + tile_floats;
  float* sums = ds + tile_floats;  // dq (64, D), tiles side by side

  const Segment s = f.segments.find(static_cast<int>(blockIdx.x), &Segment::query_tile);
  const int head = static_cast<int>(blockIdx.y), key_head = f.heads.key_head(head);
  const int first = (static_cast<int>(blockIdx.x) - s.query_tile) * tile, count = min(tile, s.queries - first);
  const std::int64_t q_row = static_cast<std::int64_t>(s.q_row) + first;
  const float scale = rsqrtf(static_cast<float>(size));
  const Rows<T> q = f.queries(f.q, head, q_row), dy = f.queries(p.dy, head, q_row);
  const Rows<T> k = f.keys(f.k, key_head, s.k_row), v = f.keys(f.v, key_head, s.k_row);
  for (int i = static_cast<int>(threadIdx.x); i < (size + tile - 1) / tile * tile_floats; i += tile_threads)
    sums[i] = 0;

  if (f.near) {
    const NearBlocks blocks = f.near_blocks(s, head, first, count);
    for (int block = blocks.begin(), stop; block < blocks.end; block = blocks.next(stop)) {
      stop = blocks.stop(block);
      const int keys = stop - block;
      row_products<T>(scores, a, b, q, 0, count, k, block, keys);
      row_products<T>(ds, a, b, dy, 0, count, v, block, keys);
      pull_weights(p, scores, ds, head, s, first, count, block, keys);
      for (int d = 0; d < size; d += tile) {
        __syncthreads();
        stage(b, k, block, keys, d);
        __syncthreads();
        float* to = sums + d / tile * tile_floats;
        product<T, Depth::inner, Depth::outer>(
            ds, b, keys, min(tile, size - d), [&](int r, int c, float sum) { to[r * tile_stride + c] += scale * sum; });
      }
    }
  }
  if (p.through.dz) add_through_map(sums, a, b, p.through, head, q_row, count);
  __syncthreads();
  const std::int64_t stride = q.stride;
  write_rows(sums, dq + q_row * stride + static_cast<std::int64_t>(f.heads.query_head(head)) * size, stride, count,
             size, add);
}

/// Where pull_keys writes; null where nobody asks.
template <class T>
struct KeySinks {
  T *dk = nullptr, *dv = nullptr;  // (M, G * D)
  bool add_k = false, add_v = false;
  const float* dv_far = nullptr;  // (M, heads here, D), or null
};

/// dk and dv of 64 keys of one key/value head, over its query heads in order.  Grid: tiles of keys, key/value heads.
template <class T>
__global__ void __launch_bounds__(tile_threads) pull_keys(PullNear<T> p, KeySinks<T> to) {
  extern __shared__ float4 shared[];
  const Attend<T>& f = p.forward;
  const int size = f.heads.size, wide = (size + tile - 1) / tile * tile_floats;
  float* a = reinterpret_cast<float*>(shared);
  float* b = a + tile_floats;
  float* weights = b + tile_floats;
  float* ds = weights + tile_floats;
  float* dk = ds + tile_floats;         // (64, D), tiles side by side
  float* dv = dk + (to.dk ? wide : 0);  // likewise

  const Segment s = f.segments.find(static_cast<int>(blockIdx.x), &Segment::key_tile);
  const int local = static_cast<int>(blockIdx.y), key_head = f.heads.first_key_head() + local;
  const int first_key = (static_cast<int>(blockIdx.x) - s.key_tile) * tile, keys = min(tile, s.keys - first_key);
  const std::int64_t k_row = static_cast<std::int64_t>(s.k_row) + first_key;
  const float scale = rsqrtf(static_cast<float>(size));
  const Rows<T> k = f.keys(f.k, key_head, k_row), v = f.keys(f.v, key_head, k_row);
  for (int i = static_cast<int>(threadIdx.x); i < wide; i += tile_threads) {
    if (to.dk) dk[i] = 0;
    if (to.dv) dv[i] = 0;
  }

  for (int head = local * f.heads.group; f.near && head < (local + 1) * f.heads.group; ++head) {
    // Queries from here on see every key of the tile as far.
    int queries_end = first_key < f.sinks ? s.queries : p.ends[k_row + keys - 1];
    if (f.cached) queries_end = max(queries_end, f.cached.most_of(static_cast<int>(blockIdx.x), key_head));
    for (int first = first_key; first < queries_end; first += tile) {
      const int count = min(tile, queries_end - first);
      const std::int64_t q_row = static_cast<std::int64_t>(s.q_row) + first;
      const Rows<T> q = f.queries(f.q, head, q_row), dy = f.queries(p.dy, head, q_row);
      row_products<T>(weights, a, b, q, 0, count, k, 0, keys);
      row_products<T>(ds, a, b, dy, 0, count, v, 0, keys);
      pull_weights(p, weights, ds, head, s, first, count, first_key, keys);
      for (int d = 0; d < size; d += tile) {
        __syncthreads();
        if (to.dv) stage(a, dy, 0, count, d);
        if (to.dk) stage(b, q, 0, count, d);
        __syncthreads();
        const int at = d / tile * tile_floats, columns = min(tile, size - d);
        if (to.dv) {
          product<T, Depth::outer, Depth::outer>(weights, a, count, columns,
                                                 [&](int r, int c, float sum) { dv[at + r * tile_stride + c] += sum; });
        }
        if (to.dk) {
          product<T, Depth::outer, Depth::outer>(
              ds, b, count, columns, [&](int r, int c, float sum) { dk[at + r * tile_stride + c] += scale * sum; });
        }
      }
    }
  }
  if (to.dk && p.through.dz) {
    const int maps = f.heads.group / p.map_group;  // of this key/value head
    for (int m = local * maps; m < (local + 1) * maps; ++m) add_through_map(dk, a, b, p.through, m, k_row, keys);
  }
  __syncthreads();
  if (to.dv && to.dv_far) {
    for (int i = static_cast<int>(threadIdx.x); i < keys * size; i += tile_threads) {
      const int r = i / size, c = i % size;
      float& at = wide_at(dv, r, c);
      for (int head = local * f.heads.group; head < (local + 1) * f.heads.group; ++head) {
        at += to.dv_far[((k_row + r) * f.heads.count + head) * size + c];
      }
    }
    __syncthreads();
  }
  const std::int64_t at = k_row * k.stride + static_cast<std::int64_t>(key_head) * size;
  if (to.dk) write_rows(dk, to.dk + at, k.stride, keys, size, to.add_k);
  if (to.dv) write_rows(dv, to.dv + at, k.stride, keys, size, to.add_v);
}

template <class T>
void launch_pull_queries(cudaStream_t stream, const PullNear<T>& p, int tiles, const Sink<T>& dq) {
  const HeadRange& n = p.forward.heads;
  cuda::launch("attention: gradient of q", pull_queries<T>,
               {dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(n.count)), tile_threads, stream,
                pull_shared_bytes(4 + (n.size + tile - 1) / tile, n.size)},
               p, dq.gradient.data, dq.add);
}

template <class T>
void launch_pull_keys(cudaStream_t stream, const PullNear<T>& p, int tiles, const KeySinks<T>& to) {
  const HeadRange& n = p.forward.heads;
  const int outputs = (to.dk ? 1 : 0) + (to.dv ? 1 : 0);
  cuda::launch("attention: gradients of k and v", pull_keys<T>,
               {dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(n.key_heads())), tile_threads, stream,
                pull_shared_bytes(4 + outputs * ((n.size + tile - 1) / tile), n.size)},
               p, to);
}

/// Takes the rounding of y out of delta (M, H) and dots (M, heads here), which are dy . y and phi_q . dphi_q.
///
/// The weights of a row sum to one, so the sum of p_nj g_nj over all keys is zero: near_n = -phi_q . dphi_q.  In y as it
/// was rounded, delta_n is off by some e; with near keys weighing N, near_n then is off by -e N, phi_q . dphi_q by
/// -e (1 - N), and their sum is -e.  Where far keys have nearly all the weight, -e (1 - N) may be more than there is.
/// Grid: tiles of queries, heads.
template <class T>
__global__ void __launch_bounds__(tile_threads, 2) correct_rows(PullNear<T> p, float* delta, float* dots) {
  extern __shared__ float4 shared[];
  const Attend<T>& f = p.forward;
  float* a = reinterpret_cast<float*>(shared);
  float* b = a + tile_floats;
  float* weights = b + tile_floats;
  float* ds = weights + tile_floats;

  const Segment s = f.segments.find(static_cast<int>(blockIdx.x), &Segment::query_tile);
  const int head = static_cast<int>(blockIdx.y), key_head = f.heads.key_head(head);
  const int first = (static_cast<int>(blockIdx.x) - s.query_tile) * tile, count = min(tile, s.queries - first);
  const std::int64_t q_row = static_cast<std::int64_t>(s.q_row) + first;
  const Rows<T> q = f.queries(f.q, head, q_row), dy = f.queries(p.dy, head, q_row);
  const Rows<T> k = f.keys(f.k, key_head, s.k_row), v = f.keys(f.v, key_head, s.k_row);
  p.far_dots = nullptr;  // the sum is that of p g alone
  const int row = static_cast<int>(threadIdx.x) / 4;
  float weight = 0, near = 0;
  const NearBlocks blocks = f.near_blocks(s, head, first, count);
  for (int block = blocks.begin(), stop; f.near && block < blocks.end; block = blocks.next(stop)) {
    stop = blocks.stop(block);
    const int keys = stop - block;
    row_products<T>(weights, a, b, q, 0, count, k, block, keys);
    row_products<T>(ds, a, b, dy, 0, count, v, block, keys);
    pull_weights(p, weights, ds, head, s, first, count, block, keys);
    for_row([&](int c) {
      weight += weights[row * tile_stride + c];
      near += ds[row * tile_stride + c];
    });
  }
  weight = row_sum(weight);
  near = row_sum(near);
  if (threadIdx.x % 4 == 0 && row < count) {
    float& dot = dots[(q_row + row) * f.heads.count + head];
    const float rest = near + dot;  // what should be zero
    dot -= (1 - weight) * rest;
    delta[(q_row + row) * f.heads.queries + f.heads.query_head(head)] += rest;
  }
}

template <class T>
void launch_correct_rows(cudaStream_t stream, const PullNear<T>& p, int tiles, float* delta, float* dots) {
  cuda::launch("attention: dy . y without its rounding", correct_rows<T>,
               {dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(p.forward.heads.count)), tile_threads, stream,
                sizeof(float) * 4 * tile_floats},
               p, delta, dots);
}

}  // namespace lolcats::general
