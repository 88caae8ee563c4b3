// The far part of attention on a GPU: sums over all keys behind a bound, through a running state.
#pragma once

#include <lolcats/ops/attention/cuda_decay.cuh>
#include <lolcats/ops/attention/cuda_segments.cuh>
#include <lolcats/ops/attention/cuda_tiles.cuh>

namespace lolcats::general {

/// Rows of every head of a launch: head h reads head h / per of these.
template <class T>
struct HeadRows {
  Rows<T> rows;  // of head 0, from row 0 of the whole array; factors and extras likewise, one column per head
  int head_stride = 0;
  int per = 1;

  /// Head h from row `first`, or from row `last` backwards.
  __device__ __forceinline__ Rows<T> select(int h, std::int64_t first, std::int64_t last, bool reverse) const {
    Rows<T> r = rows;
    const std::int64_t row = reverse ? last : first;
    r.data += row * r.stride + static_cast<std::int64_t>(h / per) * head_stride;
    if (r.factors) r.factors += row * r.factor_stride + h;
    if (r.extras) r.extras += row * r.extra_stride + h;
    if (reverse) {
      r.stride = -r.stride;
      r.factor_stride = -r.factor_stride;
      r.extra_stride = -r.extra_stride;
    }
    return r;
  }
};

/// The first key that enters any sum.  Sinks are far for nobody; with a cache, rows of keys are in the order in which they lose
/// their places in it, behind those of keys with whose leaving the window nobody does.
struct FarStart {
  int sinks = 0;
  const int* starts = nullptr;  // (segments, G), or null: `sinks` for all
  int keys = 0;                 // G
  int group = 1;                // query heads that share a key/value head
  int first_head = 0;           // query head number of head 0 of the launch

  __device__ __forceinline__ int of(int segment, int head) const {
    return starts ? starts[segment * keys + (first_head + head) / group] : sinks;
  }
};

/// out_i = sum over j < bound_i of (left_i . right_j) values_j, for every head, bound never decreasing.
///
///   forward        far numerator        left = phi_q, right = phi_k, values = v; `weights` receives the denominator
///   recall         the same of keys     left = right = phi_k, values = v; no bounds: every key sees those before it
///   backward       dphi_q               left = dy, right = v, values = phi_k
///   in reverse     dphi_k and dv        left = v or phi_k, right = dy or phi_q, values = phi_q or dy
///
/// `reverse` counts i and j from the end of a sequence, which turns "keys before" into "queries behind"; `bounds` then
/// are those of window_ends.  Keys before `start` enter no sum, and have none.
///
/// With a gate, every product of i and j has the factor exp(-|G_i - G_j|).  The state is as of some token on the way, and no
/// exponent is ever positive: what enters the state has decayed up to there, what leaves it decays from there on.
template <class A, class C>
struct FarSum {
  Segments segments;
  const int* bounds = nullptr;  // null: bound_i = i
  bool reverse = false;
  FarStart start;
  RunningDecay decay;
  int chunk_tiles = 0;
  HeadRows<A> left, right;             // (rows, heads, K)
  HeadRows<C> values;                  // (rows, heads, N)
  float* out = nullptr;                // (rows, heads, N)
  float* weights = nullptr;            // (rows, heads): sum of left_i . right_j, if wanted
  const float* out_factors = nullptr;  // (rows, all heads), one for each row of `out`, or null
  std::int64_t out_factor_stride = 0;
  const float* head_factors = nullptr;  // (heads), multiply `out`, too
  /// S (K, N) and z (K) before each chunk, (chunks, heads, ...); null: sequences are not cut.
  float* chunk_sums = nullptr;
  float* chunk_weights = nullptr;
  bool only_chunks = false;  // computes what each chunk adds to S and z, and no output
  /// S and z of decoding slots, by segment: what comes before the segment; replaced by what is behind it.
  float* const* slot_sums = nullptr;
  float* const* slot_weights = nullptr;
  bool keeps_slots = false;  // they are not replaced
  int first_head = 0;        // of the slots' heads, that of head 0

  __host__ __device__ int depth() const {  // K, with the further column
    return left.rows.width + (left.rows.extra != 0 ? 1 : 0);
  }
  __host__ __device__ int width() const { return values.rows.width; }  // N
};

/// Shared memory of far_sum in floats: S, z, row sums, four tiles; with a gate, two doubles and two floats per row of a tile.
__host__ __device__ inline int far_state_rows(int depth) { return (depth + 7) / 8 * 8; }
inline std::size_t far_shared_bytes(int depth, bool decays) {
  return sizeof(float) * static_cast<std::size_t>(far_state_rows(depth) * (tile_stride + 1) + tile + 4 * tile_floats +
                                                  (decays ? 6 * tile : 0));
}

/// What the scan over chunks and far_sum call G: it falls along the walk, forward or in reverse.
struct WalkDecay {
  RunningDecay decay;
  std::int64_t key_row = 0;  // of the segment
  int offset = 0, last = 0;  // queries' own keys start at `offset`; `last`: number of the last key
  int head = 0;
  bool reverse = false;

  __device__ __forceinline__ WalkDecay(const RunningDecay& running, const Segment& s, int head_of, bool backwards)
      : decay(running), key_row(s.k_row), offset(s.offset), last(s.offset + s.queries - 1), head(head_of), reverse(backwards) {}
  __device__ __forceinline__ double output(int i) const {  // a query, or a key from the last one on
    return reverse ? -decay.of(key_row + last - i, head) : decay.of(key_row + offset + i, head);
  }
  __device__ __forceinline__ double input(int j) const {  // a key, or a query from the last one on
    return reverse ? -decay.of(key_row + last - j, head) : decay.of(key_row + j, head);
  }
};

/// Grid: chunks, heads, slices of 64 columns of `values`.
template <class T, class A, class C>
__global__ void __launch_bounds__(tile_threads, 2) far_sum(FarSum<A, C> p) {
  extern __shared__ float4 shared[];
  const int depth = p.depth(), state_rows = far_state_rows(depth), width = p.width();
  float* left_tile = reinterpret_cast<float*>(shared);  // also: values
  float* right_tile = left_tile + tile_floats;
  float* weight_tile = right_tile + tile_floats;
  float* out_tile = weight_tile + tile_floats;
  float* state = out_tile + tile_floats;                 // S (K, 64)
  float* normalizer = state + state_rows * tile_stride;  // z (K)
  float* row_weights = normalizer + state_rows;          // (64)
  // With a gate only: of the outputs of a tile and of a block of inputs.
  double* output_decay = reinterpret_cast<double*>(row_weights + tile);  // (64) both
  double* input_decay = output_decay + tile;
  float* output_factor = reinterpret_cast<float*>(input_decay + tile);   // (64) both
  float* input_factor = output_factor + tile;

  const int thread = static_cast<int>(threadIdx.x);
  const int head = static_cast<int>(blockIdx.y), heads = static_cast<int>(gridDim.y);
  const int column = static_cast<int>(blockIdx.z) * tile, columns = min(tile, width - column);
  const bool weighing = p.weights && column == 0;
  const int index = p.segments.index_of(static_cast<int>(blockIdx.x), &Segment::chunk);
  const Segment s = p.segments[index];
  const int chunk = static_cast<int>(blockIdx.x) - s.chunk;
  const int outputs = p.reverse ? s.keys : s.queries, inputs = p.reverse ? s.queries : s.keys;
  const std::int64_t out_row = p.reverse ? s.k_row : s.q_row, in_row = p.reverse ? s.q_row : s.k_row;
  const Rows<A> left = p.left.select(head, out_row, out_row + outputs - 1, p.reverse);
  const Rows<A> right = p.right.select(head, in_row, in_row + inputs - 1, p.reverse);
  const Rows<C> values = p.values.select(head, in_row, in_row + inputs - 1, p.reverse);
  const int start = p.start.of(index, head);
  const auto bound = [&](int i) {
    if (p.reverse) return inputs - p.bounds[out_row + outputs - 1 - i];
    return max(start, p.bounds ? p.bounds[out_row + i] : i);
  };
  const int first_output = chunk * p.chunk_tiles * tile;
  const int end_output = min(outputs, first_output + p.chunk_tiles * tile);

  // The state before this chunk.
  const std::int64_t chunk_at = static_cast<std::int64_t>(blockIdx.x) * heads + head;
  const std::int64_t slot_at = p.first_head + head;
  const float* sums_before = nullptr;
  const float* weights_before = nullptr;
  if (!p.only_chunks && p.chunk_sums) {
    sums_before = p.chunk_sums + chunk_at * depth * width;
    weights_before = p.chunk_weights + chunk_at * depth;
  } else if (!p.only_chunks && p.slot_sums) {
    sums_before = p.slot_sums[index] + slot_at * depth * width;
    weights_before = p.slot_weights[index] + slot_at * depth;
  }
  for (int i = thread; i < state_rows * tile; i += tile_threads) {
    const int k = i / tile, c = i % tile;
    state[k * tile_stride + c] =
        sums_before && k < depth && c < columns ? sums_before[static_cast<std::int64_t>(k) * width + column + c] : 0.0F;
  }
  for (int k = thread; k < state_rows; k += tile_threads)
    normalizer[k] = weights_before && k < depth ? weights_before[k] : 0.0F;

  const bool decays = static_cast<bool>(p.decay);
  const WalkDecay walk(p.decay, s, head, p.reverse);
  double as_of = 0;  // the state's: slots' are as of the last token read before, whose G is 0
  if (decays && (chunk > 0 || !p.slot_sums) && first_output < outputs) as_of = walk.output(first_output);
  // The state as of a later token.
  const auto advance = [&](double to) {
    if (!decays) return;
    const float factor = expf(static_cast<float>(to - as_of));
    as_of = to;
    __syncthreads();
    for (int i = thread; i < state_rows * tile; i += tile_threads) state[i / tile * tile_stride + i % tile] *= factor;
    for (int k = thread; k < state_rows; k += tile_threads) normalizer[k] *= factor;
  };

  // Adds inputs [from, to) to the state.
  const auto fold = [&](int from, int to) {
    for (int block = from; block < to; block += tile) {
      const int count = min(tile, to - block);
      if (decays) {
        __syncthreads();
        if (thread < count) input_factor[thread] = expf(static_cast<float>(as_of - walk.input(block + thread)));
      }
      for (int k = 0; k < depth; k += tile) {
        __syncthreads();
        if (k == 0) stage(left_tile, values, block, count, column);  // (64, 64 of N)
        stage(right_tile, right, block, count, k);                   // (64, 64 of K)
        __syncthreads();
        if (decays) {
          for (int i = thread; i < count * tile; i += tile_threads) right_tile[i / tile * tile_stride + i % tile] *= input_factor[i / tile];
          __syncthreads();
        }
        product<T, Depth::outer, Depth::outer>(right_tile, left_tile, count, columns, [&](int r, int c, float sum) {
          if (k + r < state_rows) state[(k + r) * tile_stride + c] += sum;
        });
        if (weighing && thread < tile && k + thread < depth) {
          float sum = 0;
          for (int i = 0; i < count; ++i) sum += right_tile[i * tile_stride + thread];
          normalizer[k + thread] += sum;
        }
      }
    }
  };

  int folded = chunk > 0 ? bound(first_output) : p.reverse ? 0 : start;
  if (p.only_chunks) {
    if (end_output < outputs) {
      if (decays) as_of = walk.output(end_output);
      fold(folded, bound(end_output));
    }
  } else {
    for (int first = first_output; first < end_output; first += tile) {
      const int count = min(tile, end_output - first);
      const int mixed_begin = bound(first), mixed_end = bound(first + count - 1);
      if (decays) {
        advance(walk.output(first));
        if (thread < count) {
          output_decay[thread] = walk.output(first + thread);
          output_factor[thread] = expf(static_cast<float>(output_decay[thread] - as_of));
        }
      }
      fold(folded, mixed_begin);
      folded = max(folded, mixed_begin);

      float weight = 0;  // this thread's part of its row's
      const int row = thread / 4;
      for (int k = 0; k < depth; k += tile) {
        __syncthreads();
        stage(left_tile, left, first, count, k);  // (64, 64 of K)
        __syncthreads();
        product<T, Depth::inner, Depth::outer>(left_tile, state + k * tile_stride, min(tile, depth - k), columns,
                                               [&](int r, int c, float sum) {
                                                 float& to = out_tile[r * tile_stride + c];
                                                 if (decays) sum *= r < count ? output_factor[r] : 0.0F;
                                                 to = k > 0 ? to + sum : sum;
                                               });
        if (weighing) {
          for_row([&](int c) {
            if (k + c < depth) weight = fmaf(left_tile[row * tile_stride + c], normalizer[k + c], weight);
          });
        }
      }
      if (decays && row < count) weight *= output_factor[row];
      for (int block = mixed_begin; block < mixed_end; block += tile) {  // far for some rows of this tile only
        const int width_here = min(tile, mixed_end - block);
        if (decays) {
          __syncthreads();
          if (thread < width_here) input_decay[thread] = walk.input(block + thread);
        }
        for (int k = 0; k < depth; k += tile) {
          __syncthreads();
          stage(left_tile, left, first, count, k);
          stage(right_tile, right, block, width_here, k);
          __syncthreads();
          product<T, Depth::inner, Depth::inner>(left_tile, right_tile, min(tile, depth - k), width_here,
                                                 [&](int r, int c, float sum) {
                                                   float& to = weight_tile[r * tile_stride + c];
                                                   to = k > 0 ? to + sum : sum;
                                                 });
        }
        __syncthreads();
        const int end = row < count ? min(width_here, bound(first + row) - block) : 0;
        for_row([&](int c) {
          float& p_rc = weight_tile[row * tile_stride + c];
          if (c < end) {
            if (decays) p_rc *= expf(static_cast<float>(output_decay[row] - input_decay[c]));
            weight += p_rc;
          } else {
            p_rc = 0;
          }
        });
        stage(left_tile, values, block, width_here, column);
        __syncthreads();
        product<T, Depth::inner, Depth::outer>(weight_tile, left_tile, width_here, columns,
                                               [&](int r, int c, float sum) { out_tile[r * tile_stride + c] += sum; });
      }
      if (weighing) {
        weight = row_sum(weight);
        if (thread % 4 == 0) row_weights[row] = weight;
      }
      __syncthreads();
      for (int i = thread; i < count * tile; i += tile_threads) {
        const int r = i / tile, c = i % tile;
        if (c >= columns) continue;
        const std::int64_t at = p.reverse ? out_row + outputs - 1 - first - r : out_row + first + r;
        float factor = p.out_factors ? p.out_factors[at * p.out_factor_stride + head] : 1.0F;
        if (p.head_factors) factor *= p.head_factors[head];
        if (p.reverse && outputs - 1 - first - r < start) {
          p.out[(at * heads + head) * width + column + c] = 0;
          continue;
        }
        p.out[(at * heads + head) * width + column + c] = factor * out_tile[r * tile_stride + c];
      }
      if (weighing && thread < count) p.weights[(out_row + first + thread) * heads + head] = row_weights[thread];
    }
  }

  float* sums_after = nullptr;
  float* weights_after = nullptr;
  if (p.only_chunks) {
    sums_after = p.chunk_sums + chunk_at * depth * width;
    weights_after = p.chunk_weights + chunk_at * depth;
  } else if (p.slot_sums && !p.keeps_slots && end_output == outputs) {
    if (decays) advance(walk.output(outputs - 1));
    fold(folded, s.leaving);
    sums_after = p.slot_sums[index] + slot_at * depth * width;
    weights_after = p.slot_weights[index] + slot_at * depth;
  }
  if (!sums_after) return;
  __syncthreads();
  for (int i = thread; i < depth * tile; i += tile_threads) {
    const int k = i / tile, c = i % tile;
    if (c < columns) sums_after[static_cast<std::int64_t>(k) * width + column + c] = state[k * tile_stride + c];
  }
  if (column == 0) {
    for (int k = thread; k < depth; k += tile_threads) weights_after[k] = normalizer[k];
  }
}

/// What each chunk adds becomes what comes before it.  Grid: elements of a state, heads, segments.
template <class = void>
__global__ void scan_chunks(Segments segments, int chunk_tiles, bool reverse, RunningDecay decay, float* sums,
                            float* const* slots, int first_head, int size) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= size) return;
  const Segment s = segments[static_cast<int>(blockIdx.z)];
  const int tiles = reverse ? s.key_tiles() : s.query_tiles();
  const int chunks = (tiles + chunk_tiles - 1) / chunk_tiles;
  const std::int64_t heads = gridDim.y, head = blockIdx.y;
  float before = slots ? slots[blockIdx.z][(first_head + head) * size + i] : 0.0F;
  const WalkDecay walk(decay, s, static_cast<int>(head), reverse);
  double as_of = decay && !slots ? walk.output(0) : 0.0;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    float& at = sums[((s.chunk + chunk) * heads + head) * size + i];
    const float added = at;
    at = before;
    if (decay && chunk + 1 < chunks) {
      const double next = walk.output((chunk + 1) * chunk_tiles * tile);
      before *= expf(static_cast<float>(next - as_of));
      as_of = next;
    }
    before += added;
  }
}

/// The whole: one launch, or three where sequences are cut.  `space` pieces for chunk states are reserved by far_chunks.
template <class T, class A, class C>
void launch_far_sum(cudaStream_t stream, FarSum<A, C> p, const Plan& plan, int heads, float* chunk_states) {
  const int depth = p.depth(), width = p.width();
  const std::size_t shared = far_shared_bytes(depth, p.decay.sums != nullptr);
  require<ConfigError>(
      shared <= cuda::device().shared_per_block,
      "attention: a state of {} rows needs {} bytes of shared memory, expected at most {}: use fewer features", depth,
      shared, cuda::device().shared_per_block);
  p.chunk_tiles = plan.chunk_tiles;
  const unsigned h = static_cast<unsigned>(heads), slices = static_cast<unsigned>((width + tile - 1) / tile);
  const auto run = [&](const char* name) {
    cuda::launch(name, far_sum<T, A, C>,
                 {dim3(static_cast<unsigned>(plan.chunks), h, slices), tile_threads, stream, shared}, p);
  };
  if (plan.chunks > static_cast<int>(plan.segments.size())) {
    p.chunk_sums = chunk_states;
    p.chunk_weights = chunk_states + static_cast<std::int64_t>(plan.chunks) * heads * depth * width;
    p.only_chunks = true;
    run("attention: states of chunks");
    const unsigned count = static_cast<unsigned>(plan.segments.size());
    const auto scan = [&](float* sums, float* const* slots, int size) {
      cuda::launch("attention: scan of chunk states", scan_chunks<>,
                   {dim3(cuda::blocks_for(size, 128), h, count), 128, stream}, p.segments, plan.chunk_tiles, p.reverse, p.decay,
                   sums, slots, p.first_head, size);
    };
    scan(p.chunk_sums, p.slot_sums, depth * width);
    if (p.weights || p.slot_weights) scan(p.chunk_weights, p.slot_weights, depth);
    p.only_chunks = false;
  }
  run("attention: far keys");
}

/// Floats of chunk states that launch_far_sum needs for K x N states.
inline Index far_chunk_floats(const Plan& plan, int heads, int depth, int width) {
  if (plan.chunks <= static_cast<int>(plan.segments.size())) return 0;
  return Index{plan.chunks} * heads * (Index{depth} * width + depth);
}

}  // namespace lolcats::general
