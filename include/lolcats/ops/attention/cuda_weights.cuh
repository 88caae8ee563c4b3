// Attention weights on a GPU: blocks of a matrix, computed again from the row statistics of a forward pass.
#pragma once

#include <lolcats/ops/attention/cuda_general.cuh>
#include <lolcats/ops/attention/weights.hpp>

#include <algorithm>
#include <vector>

namespace lolcats {

namespace general {

/// What the weights of a pass are made of.
template <class T>
struct WeightInputs {
  Attend<T> forward;             // with statistics (M, H); v and y are not used
  const float* phi_q = nullptr;  // (M, heads here, F), or null without far keys
  const float* phi_k = nullptr;  // (M, maps, F)
  int maps = 0;
  int map_group = 1;  // query heads that share a key map
  RunningDecay decay;

  __device__ __forceinline__ Rows<float> query_features(std::int64_t row, int head) const {
    const std::int64_t stride = static_cast<std::int64_t>(forward.heads.count) * forward.heads.features;
    return {phi_q + row * stride + static_cast<std::int64_t>(head) * forward.heads.features, stride,
            forward.heads.features};
  }
  __device__ __forceinline__ Rows<float> key_features(std::int64_t row, int head) const {
    const std::int64_t stride = static_cast<std::int64_t>(maps) * forward.heads.features;
    return {phi_k + row * stride + static_cast<std::int64_t>(head / map_group) * forward.heads.features, stride,
            forward.heads.features};
  }
};

/// a (64, 64): the weights of queries [first, first + count) on keys [block, block + keys), zero in their future; `a`,
/// `b` and `far` are scratch tiles.  Thread row = threadIdx.x / 4 writes row by for_row.  Ends with a barrier.
template <class T>
__device__ __forceinline__ void weight_block(float* weights, float* a, float* b, float* far, const WeightInputs<T>& p,
                                             const Segment& s, int head, int first, int count, int block, int keys) {
  const Attend<T>& f = p.forward;
  const std::int64_t q_row = static_cast<std::int64_t>(s.q_row) + first;
  const int row = static_cast<int>(threadIdx.x) / 4, h = f.heads.query_head(head);
  const int first_begin = f.begins[q_row], last_begin = f.begins[q_row + count - 1];
  const bool some_near = f.near && (first_begin < block + keys || block < f.sinks || f.cached);
  const bool some_far = p.phi_q && block < last_begin;
  // With a cache, key c of the block stays near for the queries before until[c * heads].
  const int* const until = f.cached.of(static_cast<std::int64_t>(s.k_row) + block, f.heads.key_head(head));
  if (some_near) {
    row_products<T>(weights, a, b, f.queries(f.q, head, q_row), 0, count, f.keys(f.k, f.heads.key_head(head), s.k_row),
                    block, keys);
  }
  if (some_far)
    row_products<T>(far, a, b, p.query_features(q_row, head), 0, count, p.key_features(s.k_row, head), block, keys);
  __syncthreads();
  // Of this thread's row, as columns of the block: near keys from lo, none from hi on, sinks before `sinks`.
  int lo = 0, hi = 0, sinks = 0;
  double here = 0;
  float largest = 0, inverse = 0;
  if (row < count) {
    const std::int64_t n = (q_row + row) * f.heads.queries + h;
    lo = f.begins[q_row + row] - block;
    sinks = f.sinks - block;
    if (p.decay) here = p.decay.of(static_cast<std::int64_t>(s.k_row) + s.offset + first + row, head);
    hi = min(keys, s.offset + first + row + 1 - block);
    largest = f.largest[n];
    inverse = f.inverse_denominator[n];
  }
  const float gamma = gamma_of(f.window_factors, h), beta = f.affine ? 1.0F - gamma : 1.0F;
  const float scale = rsqrtf(static_cast<float>(f.heads.size));
  // far: beta phi_q . phi_k e^(G_n - G_j) / den; near: gamma e^(q . k / sqrt(D) - max) / den, with max and den of the forward pass.
  for_row([&](int c) {
    float& at = weights[row * tile_stride + c];
    if (c >= hi) {
      at = 0;
    } else if (c < lo && c >= sinks && !(until && first + row < until[static_cast<std::int64_t>(c) * f.cached.heads])) {
      at = some_far ? beta * far[row * tile_stride + c] * inverse : 0.0F;
      if (p.decay) at *= expf(static_cast<float>(here - p.decay.of(static_cast<std::int64_t>(s.k_row) + block + c, head)));
    } else {
      at = some_near ? gamma * expf(at * scale - largest) * inverse : 0.0F;
    }
  });
  __syncthreads();
}

/// Weights (heads, count, keys) of one tile of queries.  Grid: blocks of keys, heads.
template <class T>
__global__ void __launch_bounds__(tile_threads) tile_weights(WeightInputs<T> p, int segment, int first, float* to) {
  extern __shared__ float4 shared[];
  float* a = reinterpret_cast<float*>(shared);
  float* b = a + tile_floats;
  float* far = b + tile_floats;
  float* weights = far + tile_floats;
  const Segment s = p.forward.segments[segment];
  const int head = static_cast<int>(blockIdx.y), count = min(tile, s.queries - first);
  // `all` keys are not in the future of the tile's last query: the matrix of a tile is (count, all), packed.
  const int all = s.offset + first + count, block = static_cast<int>(blockIdx.x) * tile, keys = min(tile, all - block);
  weight_block(weights, a, b, far, p, s, head, first, count, block, keys);
  for (int i = static_cast<int>(threadIdx.x); i < count * tile; i += tile_threads) {
    const int r = i / tile, c = i % tile;
    if (c < keys) to[(static_cast<std::int64_t>(head) * count + r) * all + block + c] = weights[r * tile_stride + c];
  }
}

/// to (M, heads): the largest weight of key j that a query with begins[its row] > j gives it.  Grid: tiles of keys, heads.
template <class T>
__global__ void __launch_bounds__(tile_threads) largest_weights(WeightInputs<T> p, const int* begins, float* to) {
  extern __shared__ float4 shared[];
  float* a = reinterpret_cast<float*>(shared);
  float* b = a + tile_floats;
  float* far = b + tile_floats;
  float* weights = far + tile_floats;
  const Segment s = p.forward.segments.find(static_cast<int>(blockIdx.x), &Segment::key_tile);
  const int head = static_cast<int>(blockIdx.y), column = static_cast<int>(threadIdx.x);
  const int block = (static_cast<int>(blockIdx.x) - s.key_tile) * tile, keys = min(tile, s.keys - block);
  float most = 0;  // of this thread's column; a block meets all queries from its own keys on, so nothing is added up elsewhere
  for (int first = block; first < s.queries; first += tile) {
    const int count = min(tile, s.queries - first);
    const int* const begin = begins + s.q_row + first;
    if (begin[count - 1] <= block) continue;  // begins never decrease: the last query's decides for the tile
    weight_block(weights, a, b, far, p, s, head, first, count, block, keys);
    for (int r = 0; column < keys && r < count; ++r) {
      if (block + column < begin[r]) most = fmaxf(most, weights[r * tile_stride + column]);
    }
    __syncthreads();
  }
  if (column < keys) to[(static_cast<std::int64_t>(s.k_row) + block + column) * gridDim.y + head] = most;
}

/// Statistics, features and segments of a pass, for kernels that need its weights.
template <class T, class Map, Window W, MemoryPolicy M = Sum>
class WeightPass {
 public:
  using B = Cuda<T>;
  using C = Call<T, Map, W, M>;

  WeightPass(const B& backend, const AttentionProblem<B, W>& p)
      : call_(backend, p), plan_(*p.sequences), cache_(call_, plan_), space_(backend.stream()) {
    const Index rows = p.sequences->rows(), H = p.heads.queries, F = call_.features();
    const HeadRange all = call_.all_heads();
    const auto segment_piece = plan_.reserve(space_);
    begins_ = space_.template add<int>(rows);
    ends_ = space_.template add<int>(rows);
    largest_ = space_.template add<float>(rows * H);
    inverse_ = space_.template add<float>(rows * H);
    largest_at_ = space_.template add<std::int32_t>(rows * H);
    phi_q_ = space_.template add<float>(C::far ? rows * H * F : 0);
    phi_k_ = space_.template add<float>(C::far ? rows * call_.key_maps(all) * F : 0);
    running_ = space_.template add<double>(rows * call_.gate_sums());
    space_.allocate();
    const Shape shape{rows, H};
    // A forward pass for its row statistics alone: no y is written.
    general::forward<Map, M>(
        backend, p, View<T>{},
        AttentionStatistics<B>{{largest_.data(), shape}, {inverse_.data(), shape}, {largest_at_.data(), shape}});
    segments_ = plan_.upload(backend, segment_piece);
    call_.run_window(segments_, plan_, begins_.data());
    cuda::launch("attention: window", window_ends<W>, {static_cast<unsigned>(plan_.key_tiles), tile, backend.stream()},
                 segments_, p.window, ends_.data());
    inputs_.forward = call_.attend_arguments(segments_, all, begins_.data());
    inputs_.forward.cached = cache_.keys().cached;
    inputs_.forward.largest = largest_.data();
    inputs_.forward.inverse_denominator = inverse_.data();
    inputs_.forward.largest_at = largest_at_.data();
    if constexpr (C::far) {
      const View<const T> given = C::given ? p.weights.key_features.value() : View<const T>{};
      query_maps_ = call_.map_inputs(Side::query, segments_, all, p.k.data, given);
      key_maps_ = call_.map_inputs(Side::key, segments_, all, p.k.data, given);
      call_.run_features(query_maps_, plan_.query_tiles, phi_q_.data());
      call_.run_features(key_maps_, plan_.key_tiles, phi_k_.data());
      inputs_.phi_q = phi_q_.data();
      inputs_.phi_k = phi_k_.data();
      inputs_.maps = call_.key_maps(all);
      inputs_.map_group = call_.key_map_group(all);
      call_.run_gate(segments_, nullptr, running_.data());
      inputs_.decay = call_.decay_of(all, running_.data());
    }
  }

  const C& call() const { return call_; }
  const Plan& plan() const { return plan_; }
  Segments segments() const { return segments_; }
  const int* ends() const { return ends_.data(); }
  const WeightInputs<T>& inputs() const { return inputs_; }
  const MapInputs<T>& query_maps() const { return query_maps_; }
  const MapInputs<T>& key_maps() const { return key_maps_; }

 private:
  C call_;
  Plan plan_;
  CachePass<T, Map, W, M> cache_;
  Workspace space_;
  Workspace::Piece<int> begins_, ends_;
  Workspace::Piece<float> largest_, inverse_, phi_q_, phi_k_;
  Workspace::Piece<std::int32_t> largest_at_;
  Workspace::Piece<double> running_;
  Segments segments_;
  WeightInputs<T> inputs_;
  MapInputs<T> query_maps_, key_maps_;
};

}  // namespace general

template <class T, class Map, Window W, MemoryPolicy M>
struct AttentionWeightsKernel<Cuda<T>, Map, W, M> {
  /// f receives floats on the host, whatever T is, from this thread.
  template <class F>
  static void visit(const Cuda<T>& backend, const AttentionProblem<Cuda<T>, W>& p, F&& f) {
    if (p.sequences->count() == 0) return;
    const general::WeightPass<T, Map, W, M> pass(backend, p);
    const Index H = p.heads.queries;
    const Index most = H * general::tile * p.sequences->longest();  // a tile of queries at a time: O(N), not O(N^2) of memory
    cuda::Scratch<float> device(most, backend.stream());
    std::vector<float> host(static_cast<std::size_t>(most));
    for (Index n = 0; n < p.sequences->count(); ++n) {
      const Index length = (*p.sequences)[n].length;
      for (Index first = 0; first < length; first += general::tile) {
        const Index count = std::min<Index>(general::tile, length - first), keys = first + count;
        cuda::launch("attention: weights", general::tile_weights<T>,
                     {dim3(cuda::blocks_for(keys, general::tile), static_cast<unsigned>(H)), general::tile_threads,
                      backend.stream(), sizeof(float) * 4 * general::tile_floats},
                     pass.inputs(), static_cast<int>(n), static_cast<int>(first), device.data());
        backend.download(static_cast<const float*>(device.data()), host.data(), H * count * keys);
        for (Index h = 0; h < H; ++h)
          f(n, h, first, View<const float>(host.data() + h * count * keys, Shape{count, keys}));
      }
    }
  }

  static void largest(const Cuda<T>& backend, const AttentionProblem<Cuda<T>, W>& p, const std::vector<int>& begins,
                      std::vector<float>& to) {
    if (p.sequences->count() == 0) return;
    const general::WeightPass<T, Map, W, M> pass(backend, p);
    const cudaStream_t stream = backend.stream();
    cuda::Scratch<int> bounds(static_cast<Index>(begins.size()), stream);
    cuda::Scratch<float> device(static_cast<Index>(to.size()), stream);
    backend.upload(begins.data(), bounds.data(), static_cast<Index>(begins.size()));
    backend.zero(device.data(), static_cast<Index>(to.size()));
    cuda::launch("attention: largest weights", general::largest_weights<T>,
                 {dim3(static_cast<unsigned>(pass.plan().key_tiles), static_cast<unsigned>(p.heads.queries)), general::tile_threads,
                  stream, sizeof(float) * 4 * general::tile_floats},
                 pass.inputs(), static_cast<const int*>(bounds.data()), device.data());
    backend.download(static_cast<const float*>(device.data()), to.data(), static_cast<Index>(to.size()));
  }
};

}  // namespace lolcats
