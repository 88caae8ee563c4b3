// Walks along the tokens of the delta rule on CUDA: states in registers, tokens in shared memory.
//
// A block holds lines of one state S (F, D) of one sequence: columns in the forward pass, which know nothing of each other given
// the keys, and rows in the backward pass of features.  `Lanes` neighbours share a line, so a token costs a few shuffles and no
// barrier; there are two barriers per tile of tokens.  Lines of a state are spread over blocks, each of which reads the features.
//
// Arithmetic, per token and state of one query head, in F D multiply-adds in fp32: forward 3 (recall, write, read), pull_errors 3,
// pull_features 6 (S and dS, read and written).  A recurrence needs no less, but it is not on tensor cores, and tokens follow one
// another: a dot product of F / Lanes steps and three shuffles lie between two of them (the recall for the next token shares its
// shuffles with the read of this one).  So with few sequences time is this latency times the tokens, neither arithmetic nor traffic.
// Traffic per token: q and k once per Line::per_block columns, mostly from L2; v, y and, in training, N D errors of 4 bytes; on the
// way back 4 (H + N) F bytes of scratch, written and read.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/backend/cuda_numbers.cuh>
#include <lolcats/tensor/sequences.hpp>

namespace lolcats::delta {

/// Threads of a block, and most tokens that it has in shared memory at once.
inline constexpr int threads = 128, most_tokens = 32;

/// What all walks read.
template <class T>
struct Call {
  const T *q, *k, *v;                              // (M, H * F), (M, N * F), (M, G * D)
  const float *query_inverse, *key_inverse, *rates;  // (M, H), (M, N): 1 / length of the features, or 0; (M, N): b
  const Extent* extents;
  int heads, keys, states, features, size;         // H, G, N, F, D
  int tokens;                                      // of a tile

  __device__ int group() const { return heads / states; }
  __device__ int value_head(int n) const { return n / (states / keys); }
  /// Element f of unit rows: key of state n, and query of head h.
  __device__ float key(Index row, int n, int f) const {
    const Index at = row * states + n;
    return cuda::to_float(k[at * features + f]) * key_inverse[at];
  }
  __device__ float query(Index row, int h, int f) const {
    const Index at = row * heads + h;
    return cuda::to_float(q[at * features + f]) * query_inverse[at];
  }
};

/// A lane's part of a line of at most `length` numbers, with zeros behind it: packs of four, so that lanes read neighbours.
template <int Lanes, int PerLane>
struct Line {
  static constexpr int lanes = Lanes, numbers = PerLane, length = Lanes * PerLane;
  static constexpr int per_block = threads / Lanes;

  float x[PerLane];

  /// Which of a block's lines is this thread's, and which element is its number i.
  static __device__ int of_thread() { return static_cast<int>(threadIdx.x) / Lanes; }
  static __device__ bool first_lane() { return threadIdx.x % Lanes == 0; }
  static __device__ int element(int i) { return (i / 4 * Lanes + static_cast<int>(threadIdx.x) % Lanes) * 4 + i % 4; }

  /// From `length` numbers in shared memory.
  static __device__ __forceinline__ Line load(const float* from) {
    Line line;
#pragma unroll
    for (int i = 0; i < PerLane; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + element(i));
      line.x[i] = four.x, line.x[i + 1] = four.y, line.x[i + 2] = four.z, line.x[i + 3] = four.w;
    }
    return line;
  }
  __device__ __forceinline__ void add(float factor, const Line& other) {
#pragma unroll
    for (int i = 0; i < PerLane; ++i) x[i] = fmaf(factor, other.x[i], x[i]);
  }
  /// This lane's share of the dot product.
  __device__ __forceinline__ float dot(const Line& other) const {
    float sum[4] = {};
#pragma unroll
    for (int i = 0; i < PerLane; ++i) sum[i % 4] = fmaf(x[i], other.x[i], sum[i % 4]);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
  }
};

/// Two sums over the lanes of a line, side by side: a warp waits for their shuffles once.
template <int Lanes>
__device__ __forceinline__ void sum_lanes(float& a, float& b) {
#pragma unroll
  for (int offset = Lanes / 2; offset > 0; offset /= 2) {
    const float other_a = __shfl_xor_sync(cuda::full_warp, a, offset), other_b = __shfl_xor_sync(cuda::full_warp, b, offset);
    a += other_a;
    b += other_b;
  }
}

/// Rows of Width numbers at `to`: value(r, c) for c < size, zeros behind.
template <int Width, class Value>
__device__ __forceinline__ float* stage(float* to, int rows, int size, const Value& value) {
  for (int i = static_cast<int>(threadIdx.x); i < rows * Width; i += threads) to[i] = i % Width < size ? value(i / Width, i % Width) : 0.0F;
  return to;
}

/// Floats of shared memory per token of walks over columns and over rows, of lines L.
template <class L>
constexpr int column_floats(int group) {
  return L::length * (1 + group) + L::per_block * (1 + group) + 1;
}
template <class L>
constexpr int row_floats(int group) {
  return L::length * (2 + group) + L::per_block * (1 + group) + 1;
}

/// y, and errors v_t - S_{t-1}^T k_t and the last S unless they are null.  From and to states[extent] (N, F, D), or from zero.
/// Lines are columns.  Grid: extents, states, blocks of columns.
template <class L, class T>
__global__ void __launch_bounds__(threads) forward(Call<T> call, float* const* states, float* errors, float* last, T* y) {
  extern __shared__ __align__(16) float delta_shared[];
  const Extent e = call.extents[blockIdx.x];
  const int n = static_cast<int>(blockIdx.y), group = call.group(), N = call.states, F = call.features, D = call.size;
  const int first = static_cast<int>(blockIdx.z) * L::per_block, column = first + L::of_thread();
  float* const keys = delta_shared;                                    // (tokens, length)
  float* const queries = keys + call.tokens * L::length;               // (tokens, group, length)
  float* const values = queries + call.tokens * group * L::length;     // (tokens, per_block)
  float* const rates = values + call.tokens * L::per_block;            // (tokens)

  const Index own = static_cast<Index>(n) * F * D + column;
  float* const start = states ? states[blockIdx.x] + own : nullptr;
  float* const end = states ? start : (last ? last + static_cast<Index>(blockIdx.x) * N * F * D + own : nullptr);
  L s;
#pragma unroll
  for (int i = 0; i < L::numbers; ++i) {
    s.x[i] = start && column < D && L::element(i) < F ? start[static_cast<Index>(L::element(i)) * D] : 0.0F;
  }
  for (Index t = e.row; t < e.row + e.length; t += call.tokens) {
    const int count = static_cast<int>(min(static_cast<Index>(call.tokens), e.row + e.length - t));
    __syncthreads();  // the tile before has been read
    stage<L::length>(keys, count, F, [&](int i, int f) { return call.key(t + i, n, f); });
    stage<L::length>(queries, count * group, F, [&](int i, int f) { return call.query(t + i / group, n * group + i % group, f); });
    stage<L::per_block>(values, count, D - first, [&](int i, int c) {
      return cuda::to_float(call.v[((t + i) * call.keys + call.value_head(n)) * D + first + c]);
    });
    stage<1>(rates, count, 1, [&](int i, int) { return call.rates[(t + i) * N + n]; });
    __syncthreads();
    L key = L::load(keys);
    float recalled = cuda::lanes_sum<L::lanes>(s.dot(key));
    for (int i = 0; i < count; ++i) {
      const float error = values[i * L::per_block + L::of_thread()] - recalled;
      s.add(rates[i] * error, key);
      const bool writes = L::first_lane() && column < D;
      if (errors && writes) errors[((t + i) * N + n) * D + column] = error;
      const auto read = [&](int h) { return s.dot(L::load(queries + (i * group + h) * L::length)); };
      const auto write = [&](int h, float x) {
        if (writes) y[((t + i) * call.heads + n * group + h) * D + column] = cuda::from_float<T>(x);
      };
      key = L::load(keys + min(i + 1, count - 1) * L::length);
      recalled = s.dot(key);  // for the next token, beside the first head of this one
      float first_read = read(0);
      sum_lanes<L::lanes>(recalled, first_read);
      write(0, first_read);
      for (int h = 1; h < group; h += 2) {
        float a = read(h), b = h + 1 < group ? read(h + 1) : 0.0F;
        sum_lanes<L::lanes>(a, b);
        write(h, a);
        if (h + 1 < group) write(h + 1, b);
      }
    }
  }
  if (!end || column >= D) return;
#pragma unroll
  for (int i = 0; i < L::numbers; ++i) {
    if (L::element(i) < F) end[static_cast<Index>(L::element(i)) * D] = s.x[i];
  }
}

/// changes (M, N * D): gradients of b_t (v_t - S_{t-1}^T k_t), which is what is written.  Lines are columns of dS.  Grid as above.
template <class L, class T>
__global__ void __launch_bounds__(threads) pull_errors(Call<T> call, const T* dy, float* changes) {
  extern __shared__ __align__(16) float delta_shared[];
  const Extent e = call.extents[blockIdx.x];
  const int n = static_cast<int>(blockIdx.y), group = call.group(), N = call.states, F = call.features, D = call.size;
  const int first = static_cast<int>(blockIdx.z) * L::per_block, column = first + L::of_thread();
  float* const keys = delta_shared;
  float* const queries = keys + call.tokens * L::length;
  float* const outputs = queries + call.tokens * group * L::length;    // (tokens, group, per_block)
  float* const rates = outputs + call.tokens * group * L::per_block;

  L ds{};
  for (Index end = e.row + e.length; end > e.row; end -= call.tokens) {
    const Index t = max(e.row, end - call.tokens);
    const int count = static_cast<int>(end - t);
    __syncthreads();
    stage<L::length>(keys, count, F, [&](int i, int f) { return call.key(t + i, n, f); });
    stage<L::length>(queries, count * group, F, [&](int i, int f) { return call.query(t + i / group, n * group + i % group, f); });
    stage<L::per_block>(outputs, count * group, D - first, [&](int i, int c) {
      return cuda::to_float(dy[((t + i / group) * call.heads + n * group + i % group) * D + first + c]);
    });
    stage<1>(rates, count, 1, [&](int i, int) { return call.rates[(t + i) * N + n]; });
    __syncthreads();
    for (int i = count - 1; i >= 0; --i) {
      for (int h = i * group; h < (i + 1) * group; ++h) {
        ds.add(outputs[h * L::per_block + L::of_thread()], L::load(queries + h * L::length));
      }
      const L key = L::load(keys + i * L::length);
      const float change = cuda::lanes_sum<L::lanes>(ds.dot(key));
      if (L::first_lane() && column < D) changes[((t + i) * N + n) * D + column] = change;
      ds.add(-rates[i] * change, key);
    }
  }
}

/// Gradients of unit queries (M, H * F) and keys (M, N * F), from errors, changes and the last S, which is walked back.  Lines are
/// rows of S and dS.  Grid: extents, states, blocks of rows.
template <class L, class T>
__global__ void __launch_bounds__(threads)
    pull_features(Call<T> call, const T* dy, const float* errors, const float* changes, const float* last, float* dqueries, float* dkeys) {
  extern __shared__ __align__(16) float delta_shared[];
  const Extent e = call.extents[blockIdx.x];
  const int n = static_cast<int>(blockIdx.y), group = call.group(), N = call.states, F = call.features, D = call.size;
  const int first = static_cast<int>(blockIdx.z) * L::per_block, row = first + L::of_thread();
  float* const written = delta_shared;                                 // (tokens, length): errors
  float* const pulled = written + call.tokens * L::length;             // (tokens, length): changes
  float* const outputs = pulled + call.tokens * L::length;             // (tokens, group, length)
  float* const keys = outputs + call.tokens * group * L::length;       // (tokens, per_block)
  float* const queries = keys + call.tokens * L::per_block;            // (tokens, group, per_block)
  float* const rates = queries + call.tokens * group * L::per_block;

  L s, ds{};
#pragma unroll
  for (int i = 0; i < L::numbers; ++i) {
    s.x[i] = row < F && L::element(i) < D ? last[((static_cast<Index>(blockIdx.x) * N + n) * F + row) * D + L::element(i)] : 0.0F;
  }
  for (Index end = e.row + e.length; end > e.row; end -= call.tokens) {
    const Index t = max(e.row, end - call.tokens);
    const int count = static_cast<int>(end - t);
    __syncthreads();
    stage<L::length>(written, count, D, [&](int i, int c) { return errors[((t + i) * N + n) * D + c]; });
    stage<L::length>(pulled, count, D, [&](int i, int c) { return changes[((t + i) * N + n) * D + c]; });
    stage<L::length>(outputs, count * group, D, [&](int i, int c) {
      return cuda::to_float(dy[((t + i / group) * call.heads + n * group + i % group) * D + c]);
    });
    stage<L::per_block>(keys, count, F - first, [&](int i, int f) { return call.key(t + i, n, first + f); });
    stage<L::per_block>(queries, count * group, F - first,
                        [&](int i, int f) { return call.query(t + i / group, n * group + i % group, first + f); });
    stage<1>(rates, count, 1, [&](int i, int) { return call.rates[(t + i) * N + n]; });
    __syncthreads();
    for (int i = count - 1; i >= 0; --i) {
      const bool writes = L::first_lane() && row < F;
      const auto pull = [&](int h) {  // adds to dS what head h asks of it
        const L output = L::load(outputs + (i * group + h) * L::length);
        ds.add(queries[(i * group + h) * L::per_block + L::of_thread()], output);
        return s.dot(output);
      };
      const auto write = [&](int h, float x) {
        if (writes) dqueries[((t + i) * call.heads + n * group + h) * F + row] = x;
      };
      float dquery = pull(0);
      for (int h = 1; h < group; h += 2) {
        float a = pull(h), b = h + 1 < group ? pull(h + 1) : 0.0F;
        sum_lanes<L::lanes>(a, b);
        write(h, a);
        if (h + 1 < group) write(h + 1, b);
      }
      const float own = rates[i] * keys[i * L::per_block + L::of_thread()];
      const L error = L::load(written + i * L::length), change = L::load(pulled + i * L::length);
      s.add(-own, error);  // S_{t-1}
      float dkey = ds.dot(error) - s.dot(change);
      sum_lanes<L::lanes>(dquery, dkey);
      write(0, dquery);
      if (writes) dkeys[((t + i) * N + n) * F + row] = rates[i] * dkey;
      ds.add(-own, change);
    }
  }
}

}  // namespace lolcats::delta
