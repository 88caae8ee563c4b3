// Cross-entropy of attention weights on a GPU, by blocks of weights that are computed where they are needed.
#pragma once

#include <lolcats/ops/attention/cuda_weights.cuh>
#include <lolcats/ops/weight_cross_entropy/weight_cross_entropy.hpp>

namespace lolcats {

namespace general {

/// Student and teacher, and per row (M, H) what the loss and its gradient need:
///   partition  sum over all keys of the sequence of max(a, floor)
///   mean       sum of a dL/da
template <class T>
struct WeightEntropy {
  WeightInputs<T> student, teacher;
  float* partition = nullptr;
  float* mean = nullptr;
  float scale = 1;
  const float* upstream = nullptr;  // a scalar
};

inline constexpr int entropy_tiles = 5;  // of shared memory, without outputs

/// partition and mean of every row, and the loss of each tile and head (tiles, H).  Grid: tiles of queries, heads.
template <class T>
__global__ void __launch_bounds__(tile_threads) entropy_rows(WeightEntropy<T> p, double* losses) {
  extern __shared__ float4 shared[];
  float* a = reinterpret_cast<float*>(shared);
  float* b = a + tile_floats;
  float* far = b + tile_floats;
  float* student = far + tile_floats;
  float* teacher = student + tile_floats;
  constexpr float floor = static_cast<float>(weight_floor);
  const Segment s = p.student.forward.segments.find(static_cast<int>(blockIdx.x), &Segment::query_tile);
  const int head = static_cast<int>(blockIdx.y), row = static_cast<int>(threadIdx.x) / 4;
  const int first = (static_cast<int>(blockIdx.x) - s.query_tile) * tile, count = min(tile, s.queries - first);
  const int causal = row < count ? first + row + 1 : 0;  // keys of this row
  float partition = 0, cross = 0, student_above = 0, teacher_above = 0;
  for (int block = 0; block < first + count; block += tile) {
    const int keys = min(tile, first + count - block);
    weight_block(student, a, b, far, p.student, s, head, first, count, block, keys);
    weight_block(teacher, a, b, far, p.teacher, s, head, first, count, block, keys);
    for_row([&](int c) {
      if (block + c >= causal) return;
      const float x = student[row * tile_stride + c], t = teacher[row * tile_stride + c], clamped = fmaxf(x, floor);
      partition += clamped;
      cross = fmaf(t, logf(clamped), cross);
      if (x > floor) {
        student_above += x;
        teacher_above += t;
      }
    });
  }
  partition = row_sum(partition) + static_cast<float>(s.queries - causal) * floor;
  cross = row_sum(cross);
  student_above = row_sum(student_above);
  teacher_above = row_sum(teacher_above);
  double loss = 0;
  if (row < count && threadIdx.x % 4 == 0) {
    const std::int64_t at = (static_cast<std::int64_t>(s.q_row) + first + row) * gridDim.y + head;
    p.partition[at] = partition;
    p.mean[at] = student_above / partition - teacher_above;
    loss = static_cast<double>(logf(partition)) - static_cast<double>(cross);
  }
  loss = cuda::block_sum<tile_threads>(loss);
  if (threadIdx.x == 0) losses[static_cast<std::int64_t>(blockIdx.x) * gridDim.y + head] = loss;
}

/// scale times the sum of all losses, in one order.  One block.
template <class T>
__global__ void __launch_bounds__(tile_threads) add_losses(const double* losses, Index count, double scale, T* to) {
  double sum = 0;
  for (Index i = threadIdx.x; i < count; i += tile_threads) sum += losses[i];
  sum = cuda::block_sum<tile_threads>(sum);
  if (threadIdx.x == 0) *to = static_cast<T>(scale * sum);
}

/// dL/dp of far keys (64, 64) into `student`, zero elsewhere: (dL/da - mean) / den with dL/da = 1 / partition - t / a above
/// the floor.
template <class T>
__device__ __forceinline__ void entropy_block(float* student, float* teacher, float* a, float* b, float* far,
                                              const WeightEntropy<T>& p, const Segment& s, int head, int first,
                                              int count, int block, int keys) {
  weight_block(student, a, b, far, p.student, s, head, first, count, block, keys);
  weight_block(teacher, a, b, far, p.teacher, s, head, first, count, block, keys);
  const Attend<T>& f = p.student.forward;
  const int row = static_cast<int>(threadIdx.x) / 4, h = f.heads.query_head(head);
  const float gamma = gamma_of(f.window_factors, h), beta = f.affine ? 1.0F - gamma : 1.0F;
  int end = 0;
  float inverse_partition = 0, mean = 0, factor = 0;
  if (row < count) {
    const std::int64_t row_at = static_cast<std::int64_t>(s.q_row) + first + row, at = row_at * f.heads.queries + h;
    end = min(keys, min(f.begins[row_at], first + row + 1) - block);
    inverse_partition = 1.0F / p.partition[at];
    mean = p.mean[at];
    factor = beta * f.inverse_denominator[at] * (p.scale * *p.upstream);
  }
  for_row([&](int c) {
    float& x = student[row * tile_stride + c];
    const float e =
        x > static_cast<float>(weight_floor) ? inverse_partition - teacher[row * tile_stride + c] / x : 0.0F;
    x = c < end ? factor * (e - mean) : 0.0F;
  });
  __syncthreads();
}

/// sums (64, F), tiles side by side, += gradients of weights (64, 64), whose inner or outer index is that of the features,
/// times `count` rows of features from `first` on; `b` is a scratch tile.
template <class T, Depth Summed>
__device__ __forceinline__ void add_features(float* sums, float* b, const float* weights, const Rows<float>& phi,
                                             int first, int count) {
  for (int c0 = 0; c0 < phi.width; c0 += tile) {
    __syncthreads();
    stage(b, phi, first, count, c0);
    __syncthreads();
    float* to = sums + c0 / tile * tile_floats;
    product<T, Summed, Depth::outer>(weights, b, count, min(tile, phi.width - c0),
                                     [&](int r, int c, float sum) { to[r * tile_stride + c] += sum; });
  }
}

/// dphi_q (M, heads, F).  Grid: tiles of queries, heads.
template <class T>
__global__ void __launch_bounds__(tile_threads) entropy_queries(WeightEntropy<T> p, float* dphi) {
  extern __shared__ float4 shared[];
  float* a = reinterpret_cast<float*>(shared);
  float* b = a + tile_floats;
  float* far = b + tile_floats;
  float* student = far + tile_floats;
  float* teacher = student + tile_floats;
  float* sums = teacher + tile_floats;  // (64, F), tiles side by side
  const Attend<T>& f = p.student.forward;
  const int F = f.heads.features, head = static_cast<int>(blockIdx.y);
  const Segment s = f.segments.find(static_cast<int>(blockIdx.x), &Segment::query_tile);
  const int first = (static_cast<int>(blockIdx.x) - s.query_tile) * tile, count = min(tile, s.queries - first);
  const std::int64_t q_row = static_cast<std::int64_t>(s.q_row) + first;
  for (int i = static_cast<int>(threadIdx.x); i < (F + tile - 1) / tile * tile_floats; i += tile_threads) sums[i] = 0;
  const int far_end = min(f.begins[q_row + count - 1], first + count);
  for (int block = 0; block < far_end; block += tile) {
    const int keys = min(tile, first + count - block);
    entropy_block(student, teacher, a, b, far, p, s, head, first, count, block, keys);
    add_features<T, Depth::inner>(sums, b, student, p.student.key_features(s.k_row, head), block, keys);
  }
  __syncthreads();
  const std::int64_t stride = static_cast<std::int64_t>(f.heads.count) * F;
  write_rows(sums, dphi + q_row * stride + static_cast<std::int64_t>(head) * F, stride, count, F, false);
}

/// dphi_k (M, heads, F), one for every query head.  Grid: tiles of keys, heads.
template <class T>
__global__ void __launch_bounds__(tile_threads) entropy_keys(WeightEntropy<T> p, const int* ends, float* dphi) {
  extern __shared__ float4 shared[];
  float* a = reinterpret_cast<float*>(shared);
  float* b = a + tile_floats;
  float* far = b + tile_floats;
  float* student = far + tile_floats;
  float* teacher = student + tile_floats;
  float* sums = teacher + tile_floats;  // (64, F), tiles side by side
  const Attend<T>& f = p.student.forward;
  const int F = f.heads.features, head = static_cast<int>(blockIdx.y);
  const Segment s = f.segments.find(static_cast<int>(blockIdx.x), &Segment::key_tile);
  const int first_key = (static_cast<int>(blockIdx.x) - s.key_tile) * tile, keys = min(tile, s.keys - first_key);
  const std::int64_t k_row = static_cast<std::int64_t>(s.k_row) + first_key;
  for (int i = static_cast<int>(threadIdx.x); i < (F + tile - 1) / tile * tile_floats; i += tile_threads) sums[i] = 0;
  for (int first = ends[k_row]; first < s.queries; first += tile) {  // queries that see the first key as far
    const int count = min(tile, s.queries - first);
    entropy_block(student, teacher, a, b, far, p, s, head, first, count, first_key, keys);
    const Rows<float> phi_q = p.student.query_features(static_cast<std::int64_t>(s.q_row) + first, head);
    add_features<T, Depth::outer>(sums, b, student, phi_q, 0, count);
  }
  __syncthreads();
  const std::int64_t stride = static_cast<std::int64_t>(f.heads.count) * F;
  write_rows(sums, dphi + k_row * stride + static_cast<std::int64_t>(head) * F, stride, keys, F, false);
}

}  // namespace general

template <class T, class Map, Window W>
struct WeightCrossEntropyKernel<Cuda<T>, Map, W> {
  using B = Cuda<T>;
  using Problem = AttentionProblem<B, W>;
  static_assert(!std::is_same_v<Map, NoMap>, "weight_cross_entropy compares softmax with an attention that has maps");

  static void forward(Tape<B>& tape, const Problem& p, Sliding<> teacher_window, double scale, View<float> y) {
    const B& backend = tape.backend();
    if (p.sequences->count() == 0) return backend.zero(y.data, 1);
    Rows rows(backend, p, teacher_window);
    rows.run(backend);
    cuda::launch("weight_cross_entropy: loss", general::add_losses<float>, {1, general::tile_threads, backend.stream()},
                 static_cast<const double*>(rows.sums.data()), rows.sums.size(), scale, y.data);
  }

  /// The gradients of maps, biases and window factors, as in attention's backward pass, from dphi.
  static void backward(Tape<B>& tape, const Problem& p, Sliding<> teacher_window, double scale, View<const float> upstream) {
    using C = general::Call<T, Map, W>;
    if (p.sequences->count() == 0 || !C::far) return;
    const B& backend = tape.backend();
    const cudaStream_t stream = backend.stream();
    Rows rows(backend, p, teacher_window);
    rows.run(backend);
    rows.entropy.scale = static_cast<float>(scale);
    rows.entropy.upstream = upstream.data;
    const AttentionWeights<B>& w = p.weights;
    const general::HeadRange all = rows.student.call().all_heads();
    const Index M = p.sequences->rows(), H = p.heads.queries, F = all.features;
    const int maps = rows.student.inputs().maps, group = rows.student.inputs().map_group;
    const general::Plan& plan = rows.student.plan();
    const general::Segments segments = rows.student.segments();
    general::Workspace space(stream);
    const auto dphi_q = space.add<float>(M * H * F), dphi_k = space.add<float>(M * H * F);
    const auto dphi_group = space.add<float>(group > 1 ? M * maps * F : 0), dots = space.add<float>(M * H);
    space.allocate();
    const std::size_t shared = general::pull_shared_bytes(
        general::entropy_tiles + (all.features + general::tile - 1) / general::tile, all.size);
    const auto grid = [&](int tiles, Index heads) {
      return dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(heads));
    };
    cuda::launch("weight_cross_entropy: queries", general::entropy_queries<T>,
                 {grid(plan.query_tiles, H), general::tile_threads, stream, shared}, rows.entropy, dphi_q.data());
    if (w.window_factors.trained()) {
      cuda::launch("weight_cross_entropy: phi . dphi", general::row_dots<float>,
                   {grid(plan.query_tiles, H), general::tile_threads, stream}, segments, rows.student.inputs().phi_q,
                   static_cast<const float*>(dphi_q.data()), all.features, dots.data());
      cuda::launch("weight_cross_entropy: gradient of window factors", general::add_factor_gradient<T>,
                   {static_cast<unsigned>(H), general::tile_threads, stream}, segments,
                   static_cast<const float*>(dots.data()), w.window_factors.value.data, p.affine,
                   w.window_factors.gradient.data);
    }
    if constexpr (FeatureMap<Map>) {
      general::pull_map<Map>(stream, rows.student.query_maps(), plan.query_tiles, dphi_q.data(), w.query_map,
                             w.query_bias, 0);
      if (!w.key_map.trained() && !w.key_bias.trained()) return;
      cuda::launch("weight_cross_entropy: keys", general::entropy_keys<T>,
                   {grid(plan.key_tiles, H), general::tile_threads, stream, shared}, rows.entropy, rows.student.ends(),
                   dphi_k.data());
      if (group > 1) {
        cuda::launch("weight_cross_entropy: sum over query heads", general::sum_heads<>,
                     {grid(plan.key_tiles, maps), general::tile_threads, stream}, segments,
                     static_cast<const float*>(dphi_k.data()), group, all.features, dphi_group.data());
      }
      general::pull_map<Map>(stream, rows.student.key_maps(), plan.key_tiles,
                             group > 1 ? dphi_group.data() : dphi_k.data(), w.key_map, w.key_bias, 0);
    }
  }

 private:
  using Teacher = AttentionProblem<B, Sliding<>>;

  static Teacher teacher_problem(const Problem& p, Sliding<> window) {
    return {.heads = p.heads, .sequences = p.sequences, .window = window, .q = p.q, .k = p.k, .v = p.v, .weights = {}};
  }

  /// Student, teacher and their rows.
  struct Rows {
    Teacher problem;
    general::WeightPass<T, Map, W> student;
    general::WeightPass<T, NoMap, Sliding<>> teacher;
    cuda::Scratch<float> numbers;
    cuda::Scratch<double> sums;  // by tile and head
    general::WeightEntropy<T> entropy;

    Rows(const B& backend, const Problem& p, Sliding<> window)
        : problem(teacher_problem(p, window)),
          student(backend, p),
          teacher(backend, problem),
          numbers(2 * p.sequences->rows() * p.heads.queries, backend.stream()),
          sums(student.plan().query_tiles * p.heads.queries, backend.stream()),
          entropy{student.inputs(), teacher.inputs(), numbers.data(),
                  numbers.data() + p.sequences->rows() * p.heads.queries} {}

    void run(const B& backend) {
      cuda::launch(
          "weight_cross_entropy: rows", general::entropy_rows<T>,
          {dim3(static_cast<unsigned>(student.plan().query_tiles), static_cast<unsigned>(problem.heads.queries)),
           general::tile_threads, backend.stream(), sizeof(float) * general::entropy_tiles * general::tile_floats},
          entropy, sums.data());
    }
  };
};

}  // namespace lolcats
