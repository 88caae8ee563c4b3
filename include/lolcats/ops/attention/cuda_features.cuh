// Features on a GPU for any map: phi = max(f(xW + b), floor), and dz from dphi.  One small kernel each per map.
#pragma once

#include <lolcats/ops/attention/cuda_rows.cuh>
#include <lolcats/ops/attention/cuda_segments.cuh>
#include <lolcats/ops/attention/cuda_tiles.cuh>

#include <bit>

namespace lolcats::general {

/// Whose features: the rows and heads of a launch.
enum class Side { query, key };

/// x, W and b of the heads that a launch maps.  Map m (counted from 0 in this launch) reads head m / per_head of x.
template <class T>
struct MapInputs {
  Segments segments;
  Side side = Side::query;
  const T* x = nullptr;  // (M, ...) from the first head of this launch
  std::int64_t x_stride = 0;
  int per_head = 1;
  int size = 0;             // D
  int width = 0;            // f
  int maps = 0;             // maps of this launch
  const T* map = nullptr;   // (maps, D, f)
  const T* bias = nullptr;  // (maps, f) or (maps, 1)

  /// The first row of x and the number of rows of block `index`.
  struct Block {
    std::int64_t row;
    int count;
  };
  __device__ __forceinline__ Block block(int index) const {
    const bool query = side == Side::query;
    const Segment s = segments.find(index, query ? &Segment::query_tile : &Segment::key_tile);
    const int first = (index - (query ? s.query_tile : s.key_tile)) * tile;
    return {static_cast<std::int64_t>(query ? s.q_row : s.k_row) + first,
            min(tile, (query ? s.queries : s.keys) - first)};
  }
  __device__ __forceinline__ Rows<T> rows(std::int64_t row, int m) const {
    return {x + row * x_stride + static_cast<std::int64_t>(m / per_head) * size, x_stride, size};
  }
  __device__ __forceinline__ Rows<T> weight(int m) const {
    return {map + static_cast<std::int64_t>(m) * size * width, width, width};
  }
  /// b of one map whose bias has this form.
  __device__ __forceinline__ const T* bias_of(Bias form, int m) const {
    return form == Bias::none ? nullptr : bias + static_cast<std::int64_t>(m) * (form == Bias::head ? 1 : width);
  }
};

/// z (64, f) = xW + b (+ x) into tiles side by side, for `count` rows of x (D columns), W (D, f) and the map's own bias;
/// `left` and `right` are scratch tiles.
template <class T, FeatureMap M, class Source>
__device__ void project(float* z, float* left, float* right, const Source& x, int count, const Rows<T>& weight,
                        const T* bias) {
  for (int c = 0; c < weight.width; c += tile) {
    for (int d = 0; d < x.width; d += tile) {
      __syncthreads();
      stage(left, x, 0, count, d);                         // (64, 64 of D)
      stage(right, weight, d, min(tile, x.width - d), c);  // (64 of D, 64 of f)
      __syncthreads();
      product<T, Depth::inner, Depth::outer>(left, right, min(tile, x.width - d), min(tile, weight.width - c),
                                             [&](int r, int column, float sum) {
                                               float& to = wide_at(z, r, c + column);
                                               if (d > 0) {
                                                 sum += to;
                                               } else if (M::bias != Bias::none && c + column < weight.width) {
                                                 sum += cuda::to_float(bias[M::bias == Bias::head ? 0 : c + column]);
                                               }
                                               if (M::skip && c == d && c + column < x.width)
                                                 sum += left[r * tile_stride + column];
                                               to = sum;
                                             });
    }
  }
  __syncthreads();
}

/// Calls f(row, z) for `rows` rows or some more, each held by `Lanes` lanes; all lanes of a warp are in the call together.
template <int Lanes, int Count, class F>
__device__ __forceinline__ void for_rows(float* z, int width, int rows, F f) {
  using Row = LaneRow<Lanes, Count>;
  constexpr int together = 32 / Lanes;
  const int warp = static_cast<int>(threadIdx.x) / 32, group = static_cast<int>(threadIdx.x) % 32 / Lanes;
  for (int r = warp * together; r < rows; r += tile_threads / 32 * together) {
    Row row{{}, width};
#pragma unroll
    for (int i = 0; i < Count; ++i) row.values[i] = Row::entry(i) < width ? wide_at(z, r + group, Row::entry(i)) : 0.0F;
    f(r + group, row);
  }
}

/// Writes the features of a row, clamped as the map says, to F floats.
template <FeatureMap M, int Lanes, int Count>
__device__ __forceinline__ void store_features(const Features<LaneRow<Lanes, Count>, M::count>& f, int width,
                                               float* to) {
  using Row = LaneRow<Lanes, Count>;
#pragma unroll
  for (int part = 0; part < M::count; ++part) {
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      if (Row::entry(i) >= width) continue;
      float value = f[static_cast<std::size_t>(part)].values[i];
      if constexpr (M::clamped) value = fmaxf(value, static_cast<float>(M::floor));
      to[part * width + Row::entry(i)] = value;
    }
  }
}

/// Calls f(r, count, at, z): for all 64 rows r of the block's map, of which `count` exist, with the number of the row's
/// features among those of (rows, maps, F).  Grid of the kernels that call it: blocks of rows, maps.
template <class T, FeatureMap M, int Lanes, int Count, class F>
__device__ __forceinline__ void for_projected_rows(const MapInputs<T>& in, F f) {
  extern __shared__ float4 shared[];
  float* left = reinterpret_cast<float*>(shared);
  float* right = left + tile_floats;
  float* z = right + tile_floats;
  const auto [row, count] = in.block(static_cast<int>(blockIdx.x));
  const int m = static_cast<int>(blockIdx.y);
  project<T, M>(z, left, right, in.rows(row, m), count, in.weight(m), in.bias_of(M::bias, m));
  for_rows<Lanes, Count>(z, in.width, tile, [&](int r, const LaneRow<Lanes, Count>& zr) {
    f(r, count, ((row + r) * in.maps + m) * M::count * in.width, zr);
  });
}

/// phi (rows, maps, F) in float.
template <class T, FeatureMap M, int Lanes, int Count>
__global__ void __launch_bounds__(tile_threads) map_rows(MapInputs<T> in, float* phi) {
  using Row = LaneRow<Lanes, Count>;
  for_projected_rows<T, M, Lanes, Count>(in, [&](int r, int count, std::int64_t at, const Row& z) {
    const auto f = M::features(z);
    if (r < count) store_features<M, Lanes, Count>(f, in.width, phi + at);
  });
}

/// dz (rows, maps, F of which the first f are used) in place of dphi: the map's pullback behind the clamp's, which passes
/// nothing where it binds.
template <class T, FeatureMap M, int Lanes, int Count>
__global__ void __launch_bounds__(tile_threads) pull_rows(MapInputs<T> in, float* dphi) {
  using Row = LaneRow<Lanes, Count>;
  for_projected_rows<T, M, Lanes, Count>(in, [&](int r, int count, std::int64_t first, const Row& z) {
    const Features<Row, M::count> f = M::features(z);
    Features<Row, M::count> df;
    float* at = dphi + first;
#pragma unroll
    for (int part = 0; part < M::count; ++part) {
      Row& d = df[static_cast<std::size_t>(part)];
      d.width = in.width;
#pragma unroll
      for (int i = 0; i < Count; ++i) {
        const bool there = r < count && Row::entry(i) < in.width;
        d.values[i] = there ? at[part * in.width + Row::entry(i)] : 0.0F;
        if constexpr (M::clamped) {
          if (!(f[static_cast<std::size_t>(part)].values[i] > static_cast<float>(M::floor))) d.values[i] = 0;
        }
      }
    }
    const Row dz = M::pullback(z, f, df);
    if (r >= count) return;
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      if (Row::entry(i) < in.width) at[Row::entry(i)] = dz.values[i];
    }
  });
}

/// Calls f.template operator()<Lanes, Count>() for rows of `width`; a width in the type needs one choice only.
template <FeatureMap M, class F>
void for_row_type(Index width, F f) {
  if constexpr (M::projected != dynamic) {
    constexpr int fixed = static_cast<int>(M::projected);
    static_assert(fixed <= 1024, "a GPU's row of projected features has at most 1024 entries");
    constexpr int lanes = fixed >= 32 ? 32 : static_cast<int>(std::bit_ceil(static_cast<unsigned>(fixed)));
    f.template operator()<lanes, (fixed + lanes - 1) / lanes>();
  } else if (width <= 32) {
    f.template operator()<32, 1>();
  } else if (width <= 64) {
    f.template operator()<32, 2>();
  } else if (width <= 128) {
    f.template operator()<32, 4>();
  } else if (width <= 256) {
    f.template operator()<32, 8>();
  } else {
    require<ConfigError>(width <= 512, "attention: {} projects onto {} features, expected at most 512 on a GPU",
                         M::name(), width);
    f.template operator()<32, 16>();
  }
}

/// Bytes of shared memory for the kernels above; throws ConfigError where a block cannot have that much.
inline std::size_t map_shared_bytes(Index width) {
  const std::size_t bytes = sizeof(float) * tile_floats * (2 + static_cast<std::size_t>((width + tile - 1) / tile));
  require<ConfigError>(bytes <= cuda::device().shared_per_block,
                       "feature map: {} projected features need {} bytes of shared memory, expected at most {}", width,
                       bytes, cuda::device().shared_per_block);
  return bytes;
}

/// phi (rows, maps, F) of all `tiles` blocks of rows.
template <FeatureMap M, class T>
void map_features(cudaStream_t stream, const MapInputs<T>& in, int tiles, float* phi) {
  for_row_type<M>(in.width, [&]<int Lanes, int Count>() {
    cuda::launch("attention: features", map_rows<T, M, Lanes, Count>,
                 {dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(in.maps)), tile_threads, stream,
                  map_shared_bytes(in.width)},
                 in, phi);
  });
}

/// dz in place of dphi (rows, maps, F).
template <FeatureMap M, class T>
void pull_features(cudaStream_t stream, const MapInputs<T>& in, int tiles, float* dphi) {
  for_row_type<M>(in.width, [&]<int Lanes, int Count>() {
    cuda::launch("attention: gradients through features", pull_rows<T, M, Lanes, Count>,
                 {dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(in.maps)), tile_threads, stream,
                  map_shared_bytes(in.width)},
                 in, dphi);
  });
}

/// Given features as they are: phi (rows, maps, F) in float from x (M, ...), of which map m is F columns.
template <class T>
__global__ void copy_rows(MapInputs<T> in, float* phi) {
  const auto [row, count] = in.block(static_cast<int>(blockIdx.x));
  const int m = static_cast<int>(blockIdx.y);
  const Rows<T> x = in.rows(row, m);
  for (int i = static_cast<int>(threadIdx.x); i < count * in.size; i += tile_threads) {
    const int r = i / in.size, c = i % in.size;
    phi[((row + r) * in.maps + m) * in.size + c] = cuda::to_float(x.data[r * x.stride + c]);
  }
}

/// And back: x's gradient (M, ...) gets, or is increased by, dphi.
template <class T>
__global__ void copy_rows_back(MapInputs<T> in, const float* dphi, T* to, bool add) {
  const auto [row, count] = in.block(static_cast<int>(blockIdx.x));
  const int m = static_cast<int>(blockIdx.y);
  for (int i = static_cast<int>(threadIdx.x); i < count * in.size; i += tile_threads) {
    const int r = i / in.size, c = i % in.size;
    const float value = dphi[((row + r) * in.maps + m) * in.size + c];
    T& at = to[(row + r) * in.x_stride + static_cast<std::int64_t>(m) * in.size + c];
    at = cuda::from_float<T>(add ? cuda::to_float(at) + value : value);
  }
}

}  // namespace lolcats::general
