// Attention backward on a GPU, general path: dots of rows, and the gradients of maps and window factors.
#pragma once

#include <lolcats/ops/attention/cuda_features.cuh>
#include <lolcats/ops/attention/cuda_forward.cuh>

#include <algorithm>

namespace lolcats::general {

/// dots (M, heads) = a . b, both (M, heads, size): delta from y and dy, and the like of features.  Grid: tiles of queries,
/// heads; a warp per row.
template <class T>
__global__ void row_dots(Segments segments, const T* a, const T* b, int size, float* dots) {
  const Segment s = segments.find(static_cast<int>(blockIdx.x), &Segment::query_tile);
  const int first = (static_cast<int>(blockIdx.x) - s.query_tile) * tile, lane = static_cast<int>(threadIdx.x) % 32;
  for (int r = first + static_cast<int>(threadIdx.x) / 32; r < min(first + tile, s.queries); r += tile_threads / 32) {
    const std::int64_t at = (static_cast<std::int64_t>(s.q_row) + r) * gridDim.y + blockIdx.y;
    float sum = 0;
    for (int c = lane; c < size; c += 32)
      sum = fmaf(cuda::to_float(a[at * size + c]), cuda::to_float(b[at * size + c]), sum);
    sum = cuda::warp_sum(sum);
    if (lane == 0) dots[at] = sum;
  }
}

/// The gradient of window factors, from dots (M, heads): d gamma / d factor = gamma (1 - gamma) and
/// gamma dL/dgamma = -sum of dots; beta = 1 - gamma where affine, with beta dL/dbeta = the sum.  Nothing is divided by,
/// so that a saturated gamma is harmless.  Grid: heads.
template <class T>
__global__ void __launch_bounds__(tile_threads)
    add_factor_gradient(Segments segments, const float* dots, const T* window_factors, bool affine, float* gradient) {
  float sum = 0;
  for (int i = 0; i < segments.count; ++i) {
    const Segment s = segments[i];
    for (int r = static_cast<int>(threadIdx.x); r < s.queries; r += tile_threads) {
      sum -= dots[(static_cast<std::int64_t>(s.q_row) + r) * gridDim.x + blockIdx.x];
    }
  }
  sum = cuda::block_sum<tile_threads>(sum);
  const float gamma = gamma_of(window_factors, static_cast<int>(blockIdx.x));
  if (threadIdx.x == 0) gradient[blockIdx.x] += affine ? sum : sum * (1.0F - gamma);
}

/// Of every head, 1 - gamma where affine, else 1.
template <class T>
__global__ void head_betas(const T* window_factors, bool affine, int heads, float* betas) {
  const int h = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (h < heads) betas[h] = affine ? 1.0F - gamma_of(window_factors, h) : 1.0F;
}

/// Partial sums of dW (splits, maps, D, f) = x^T dz and of db (splits, maps, f) over every splits-th block of rows.
/// Grid: tiles of (D, f), maps, splits.
template <class T>
__global__ void __launch_bounds__(tile_threads, 2)
    map_gradients(MapInputs<T> in, const float* dz, int dz_stride, int blocks, float* dw, float* db) {
  extern __shared__ float4 shared[];
  float* x_tile = reinterpret_cast<float*>(shared);
  float* dz_tile = x_tile + tile_floats;
  float* sums = dz_tile + tile_floats;  // (64 of D, 64 of f)
  const int thread = static_cast<int>(threadIdx.x), across = (in.width + tile - 1) / tile;
  const int d = static_cast<int>(blockIdx.x) / across * tile, f = static_cast<int>(blockIdx.x) % across * tile;
  const int m = static_cast<int>(blockIdx.y);
  for (int i = thread; i < tile_floats; i += tile_threads) sums[i] = 0;
  float bias = 0;
  for (int block = static_cast<int>(blockIdx.z); block < blocks; block += static_cast<int>(gridDim.z)) {
    const auto [row, count] = in.block(block);
    const Rows<float> rows{dz + (row * in.maps + m) * dz_stride, static_cast<std::int64_t>(in.maps) * dz_stride,
                           in.width};
    __syncthreads();
    stage(x_tile, in.rows(row, m), 0, count, d);
    stage(dz_tile, rows, 0, count, f);
    __syncthreads();
    product<T, Depth::outer, Depth::outer>(x_tile, dz_tile, count, min(tile, in.width - f),
                                           [&](int r, int c, float sum) { sums[r * tile_stride + c] += sum; });
    if (d == 0 && thread < tile) {
      for (int i = 0; i < count; ++i) bias += dz_tile[i * tile_stride + thread];
    }
  }
  __syncthreads();
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.z) * in.maps + m;
  for (int i = thread; i < tile * tile; i += tile_threads) {
    const int r = i / tile, c = i % tile;
    if (d + r < in.size && f + c < in.width) dw[(at * in.size + d + r) * in.width + f + c] = sums[r * tile_stride + c];
  }
  if (d == 0 && thread < tile && f + thread < in.width) db[at * in.width + f + thread] = bias;
}

/// to[i] += the sum over `splits` parts of the `width` numbers at i, in order.
template <class = void>
__global__ void add_parts(const float* parts, int splits, std::int64_t part_size, int width, std::int64_t count,
                          float* to) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  float sum = 0;
  for (int split = 0; split < splits; ++split) {
    for (int c = 0; c < width; ++c) sum += parts[split * part_size + i * width + c];
  }
  to[i] += sum;
}

/// The sum over `group` neighbouring heads: to (rows, maps, F) from dphi (rows, maps * group, F).  Grid: tiles of keys,
/// maps.
template <class = void>
__global__ void sum_heads(Segments segments, const float* dphi, int group, int features, float* to) {
  const Segment s = segments.find(static_cast<int>(blockIdx.x), &Segment::key_tile);
  const int first = (static_cast<int>(blockIdx.x) - s.key_tile) * tile, count = min(tile, s.keys - first);
  for (int i = static_cast<int>(threadIdx.x); i < count * features; i += tile_threads) {
    const std::int64_t at = (static_cast<std::int64_t>(s.k_row) + first + i / features) * gridDim.y + blockIdx.y;
    const int c = i % features;
    float sum = 0;
    for (int h = 0; h < group; ++h) sum += dphi[(at * group + h) * features + c];
    to[at * features + c] = sum;
  }
}

/// From dphi (rows, maps, F) to the gradients of W and b, leaving dz behind in its place.
template <class Map, class T>
void pull_map(cudaStream_t stream, const MapInputs<T>& in, int tiles, float* dphi, const Weight<Cuda<T>>& map,
              const Weight<Cuda<T>>& bias, Index first_map) {
  pull_features<Map>(stream, in, tiles, dphi);
  if (!map.trained() && !bias.trained()) return;
  const int across = (in.width + tile - 1) / tile, down = (in.size + tile - 1) / tile, stride = Map::count * in.width;
  const int splits = std::clamp(4 * cuda::device().multiprocessors / std::max(1, across * down * in.maps), 1, tiles);
  const Index map_size = Index{in.maps} * in.size * in.width, bias_size = Index{in.maps} * in.width;
  cuda::Scratch<float> parts(splits * (map_size + bias_size), stream);
  float* bias_parts = parts.data() + splits * map_size;
  cuda::launch(
      "attention: gradients of maps", map_gradients<T>,
      {dim3(static_cast<unsigned>(across * down), static_cast<unsigned>(in.maps), static_cast<unsigned>(splits)),
       tile_threads, stream, sizeof(float) * 3 * tile_floats},
      in, static_cast<const float*>(dphi), stride, tiles, parts.data(), bias_parts);
  const auto add = [&](const float* from, Index part, int width, Index count, float* to) {
    cuda::launch("attention: sum of parts", add_parts<>, {cuda::blocks_for(count, 256), 256, stream}, from, splits,
                 part, width, count, to);
  };
  if (map.trained()) add(parts.data(), map_size, 1, map_size, map.gradient.data + first_map * in.size * in.width);
  if (!bias.trained()) return;
  if (Map::bias == Bias::vector) add(bias_parts, bias_size, 1, bias_size, bias.gradient.data + first_map * in.width);
  if (Map::bias == Bias::head) add(bias_parts, bias_size, in.width, in.maps, bias.gradient.data + first_map);
}

/// The way back through feature maps: dz (M, maps, dz_stride, of which f are used), W (maps, D, f).
template <class T>
struct ThroughMap {
  const float* dz = nullptr;
  int dz_stride = 0;
  const T* map = nullptr;
  int size = 0;   // D
  int width = 0;  // f
  int maps = 0;
  bool skip = false;  // x goes into z directly, too
};

/// sums (64, D), tiles side by side, += dz W^T (+ dz) of `count` rows from `row` on through map m; a and b are scratch tiles.
template <class T>
__device__ __forceinline__ void add_through_map(float* sums, float* a, float* b, const ThroughMap<T>& p, int m,
                                                std::int64_t row, int count) {
  const Rows<float> dz{p.dz + (row * p.maps + m) * p.dz_stride, static_cast<std::int64_t>(p.maps) * p.dz_stride,
                       p.width};
  const int size = p.size;
  const Rows<T> weight{p.map + static_cast<std::int64_t>(m) * size * p.width, p.width, p.width};
  for (int f = 0; f < p.width; f += tile) {
    for (int d = 0; d < size; d += tile) {
      __syncthreads();
      if (d == 0) stage(a, dz, 0, count, f);        // (64, 64 of f)
      stage(b, weight, d, min(tile, size - d), f);  // (64 of D, 64 of f)
      __syncthreads();
      product<T, Depth::inner, Depth::inner>(a, b, min(tile, p.width - f), min(tile, size - d),
                                             [&](int r, int c, float sum) {
                                               float& to = wide_at(sums, r, d + c);
                                               to += sum;
                                               if (p.skip && f == d && f + c < p.width) to += a[r * tile_stride + c];
                                             });
    }
  }
}

/// `count` rows of (64, D), tiles side by side, into a matrix.
template <class T>
__device__ __forceinline__ void write_rows(const float* sums, T* to, std::int64_t stride, int count, int size,
                                           bool add) {
  for (int i = static_cast<int>(threadIdx.x); i < count * size; i += tile_threads) {
    const int r = i / size, c = i % size;
    T& at = to[r * stride + c];
    const float sum = wide_at(const_cast<float*>(sums), r, c);
    at = cuda::from_float<T>(add ? cuda::to_float(at) + sum : sum);
  }
}

/// Bytes of so many tiles; throws ConfigError where a block cannot have that much.
inline std::size_t pull_shared_bytes(int tiles, int size) {
  const std::size_t bytes = sizeof(float) * static_cast<std::size_t>(tiles) * tile_floats;
  require<ConfigError>(
      bytes <= cuda::device().shared_per_block,
      "attention: the gradients of heads of size {} need {} bytes of shared memory, expected at most {}", size, bytes,
      cuda::device().shared_per_block);
  return bytes;
}

/// dx (M, heads * D) of 64 rows and one head of x: what comes back through its `per_head` maps, in order.  Grid: tiles of rows,
/// heads of x.
template <class T>
__global__ void __launch_bounds__(tile_threads, 2) pull_inputs(ThroughMap<T> p, int per_head, int rows, T* dx, bool add) {
  extern __shared__ float4 shared[];
  float* a = reinterpret_cast<float*>(shared);
  float* b = a + tile_floats;
  float* sums = b + tile_floats;  // (64, D), tiles side by side
  const int head = static_cast<int>(blockIdx.y), first = static_cast<int>(blockIdx.x) * tile, count = min(tile, rows - first);
  for (int i = static_cast<int>(threadIdx.x); i < (p.size + tile - 1) / tile * tile_floats; i += tile_threads) sums[i] = 0;
  for (int m = head * per_head; m < (head + 1) * per_head; ++m) add_through_map(sums, a, b, p, m, first, count);
  __syncthreads();
  const std::int64_t stride = static_cast<std::int64_t>(p.maps / per_head) * p.size;
  write_rows(sums, dx + first * stride + static_cast<std::int64_t>(head) * p.size, stride, count, p.size, add);
}

template <class T>
void launch_pull_inputs(cudaStream_t stream, const ThroughMap<T>& p, int per_head, Index rows, const Sink<T>& dx) {
  cuda::launch("feature_map: gradient of x", pull_inputs<T>,
               {dim3(cuda::blocks_for(rows, tile), static_cast<unsigned>(p.maps / per_head)), tile_threads, stream,
                pull_shared_bytes(2 + (p.size + tile - 1) / tile, p.size)},
               p, per_head, static_cast<int>(rows), dx.gradient.data, dx.add);
}

}  // namespace lolcats::general
