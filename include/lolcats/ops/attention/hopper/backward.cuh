// The fused LoLCATs attention backward for Hopper: bf16, heads of 64 or 128, any window, any row map of 64 or 128
// features.
//
// What is computed follows from what is wanted: the maps and gamma without the near part (attention transfer), dq, dk
// and dv (finetuning), or both.  The kernels and their order stand in backward_plan.cuh.  Differs from AttentionKernel
// in nothing but the order of summation.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/attention/hopper/backward_keys.cuh>
#include <lolcats/ops/attention/hopper/backward_maps.cuh>
#include <lolcats/ops/attention/hopper/backward_queries.cuh>
#include <lolcats/ops/attention/hopper/backward_states.cuh>

namespace lolcats::hopper {

/// Can the kernels be compiled for this map and window?
template <class Map, class W>
inline constexpr bool has_backward = false;
template <FeatureMap Map, Window W>
requires(W::has_far && (Map::projected == 64 || Map::projected == 128) &&
         (Map::count * Map::projected == 64 ||
          Map::count * Map::projected == 128)) inline constexpr bool has_backward<Map, W> = !Map::skip;

/// Does `backward` take this problem?  Training only: every sequence starts at position 0, key maps are per query head.
template <class Map, class W>
bool takes_backward(const AttentionProblem<Cuda<bf16>, W>& p) {
  if constexpr (!has_backward<Map, W>) {
    return false;
  } else {
    const auto aligned = [](const void* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; };
    if (p.heads.size != 64 && p.heads.size != 128) return false;
    if (p.weights.key_map.shape()[0] != p.heads.queries || p.q.rows() >= (Index{1} << 31)) return false;
    if (!aligned(p.q.data) || !aligned(p.k.data) || !aligned(p.v.data)) return false;
    if (!aligned(p.weights.query_map.value.data) || !aligned(p.weights.key_map.value.data)) return false;
    return cuda::device().capability == 90;
  }
}

namespace backward_pass {

/// Launches the kernels for one batch of at most TileTable::capacity sequences.
template <class Map, int D, class W>
class BackwardPass {
  using B = Cuda<bf16>;
  using Sizes = BackwardSizes<Map, D>;

 public:
  BackwardPass(Tape<B>& tape, const AttentionProblem<B, W>& problem, View<const bf16> y, View<const bf16> dy,
               const AttentionStatistics<B>& statistics, const AttentionSinks<B>& sinks,
               std::span<const Extent> extents)
      : tape_(tape), stream_(tape.backend().stream()), problem_(problem), sinks_(sinks) {
    const Heads& heads = problem.heads;
    const AttentionWeights<B>& w = problem.weights;
    a_.q = tensor_map(problem.q.data, problem.q.rows(), problem.q.cols(), tile_rows);
    a_.dy = tensor_map(dy.data, dy.rows(), dy.cols(), tile_rows);
    a_.k = tensor_map(problem.k.data, problem.k.rows(), problem.k.cols(), tile_rows);
    a_.v = tensor_map(problem.v.data, problem.v.rows(), problem.v.cols(), tile_rows);
    a_.query_map = tensor_map(w.query_map.value.data, heads.queries * D, Sizes::f, D);
    a_.key_map = tensor_map(w.key_map.value.data, heads.queries * D, Sizes::f, D);
    for (const Extent& e : extents) {
      TileTable& t = a_.table;
      t.rows[t.count] = static_cast<int>(e.row);
      t.lengths[t.count] = static_cast<int>(e.length);
      t.firsts[t.count + 1] = (t.count ? t.firsts[t.count] : t.firsts[0] = 0) + tiles_of(e.length);
      longest_ = std::max(longest_, tiles_of(e.length));
      ++t.count;
    }
    tiles_ = a_.table.tiles();
    a_.table.uniform = tiles_ == longest_ * a_.table.count ? longest_ : 0;
    a_.window = {problem.window};
    a_.query_heads = static_cast<int>(heads.queries);
    a_.key_heads = static_cast<int>(heads.keys);
    a_.affine = problem.affine;
    a_.y = y.data;
    a_.window_factors = w.window_factors.value.data;
    a_.query_bias = w.query_bias.value.data;
    a_.key_bias = w.key_bias.value.data;
    a_.largest = statistics.largest.data;
    a_.inverse_denominator = statistics.inverse_denominator.data;
    a_.largest_at = statistics.largest_at.data;
    allocate_scratch();
  }

  void run() {
    const AttentionWeights<B>& w = problem_.weights;
    const bool key_maps = w.key_map.trained() || w.key_bias.trained();
    const bool maps = key_maps || w.query_map.trained() || w.query_bias.trained() || w.window_factors.trained();
    const bool keys = sinks_.k.gradient || sinks_.v.gradient;
    walk<Side::keys>();
    if (keys || sinks_.q.gradient) pull_queries();
    if (maps) pull_maps<Side::queries>(w.query_map, w.query_bias);
    if (!keys && !key_maps) return;
    walk<Side::queries>();
    if (keys) pull_keys();
    if (key_maps) pull_maps<Side::keys>(w.key_map, w.key_bias);
  }

 private:
  static int tiles_of(Index length) { return static_cast<int>((length + tile_rows - 1) / tile_rows); }

  template <class T>
  T* scratch(Index count) {
    return tape_.template scratch<T>(Shape{count}).data;
  }

  /// A walk per head, sequence and chunk; two fit on a multiprocessor.  Short chunks cost more prefixes.
  void allocate_scratch() {
    constexpr int shortest_chunk = 8;
    StateBuffers& s = a_.state;
    const int walks = std::max(1, 2 * cuda::device().multiprocessors / (a_.query_heads * a_.table.count));
    s.chunk = std::max((longest_ + walks - 1) / walks, std::min(longest_, shortest_chunk));
    s.chunks = (longest_ + s.chunk - 1) / s.chunk;
    const Index states = Index{a_.query_heads} * tiles_;
    const Index prefixes = s.chunks > 1 ? Index{a_.query_heads} * a_.table.count * s.chunks : 0;
    a_.statistics =
        reinterpret_cast<QueryStatistics*>(scratch<std::byte>(states * static_cast<Index>(sizeof(QueryStatistics))));
    s.states = scratch<std::byte>(states * Sizes::state_bytes);
    s.normalizers = scratch<float>(states * Sizes::F);
    s.prefixes = scratch<std::byte>(prefixes * Sizes::state_bytes);
    s.prefix_normalizers = scratch<float>(prefixes * Sizes::F);
    if (!WindowTiles<W>::pure) s.features = scratch<std::byte>(states * Sizes::phi_bytes);
  }

  template <Side side>
  void walk() {
    const dim3 grid(a_.query_heads, a_.state.chunks, a_.table.count);
    cuda::launch("attention backward, states", states_kernel<side, Map, D, W>,
                 {grid, group_threads, stream_, sizeof(StatesShared<Map, D>)}, a_);
    if (a_.state.chunks == 1) return;
    constexpr int threads = 128, work = Sizes::state_bytes / 16 + Sizes::F / 4;
    const dim3 prefix_grid((work + threads - 1) / threads, a_.table.count, a_.query_heads);
    cuda::launch("attention backward, prefixes", state_prefixes_kernel<side, Map, D, W>,
                 {prefix_grid, threads, stream_}, a_);
  }

  void pull_queries() {
    const int parts = std::clamp(2 * cuda::device().multiprocessors / a_.query_heads, 1, tiles_);
    cuda::launch("attention backward, queries", queries_kernel<Map, D, W>,
                 {dim3(a_.query_heads, parts), group_threads, stream_, sizeof(QueriesShared<Map, D>)}, a_,
                 QuerySink{sinks_.q.gradient.data, sinks_.q.add});
  }

  void pull_keys() {
    const KeySinks sinks{sinks_.k.gradient.data, sinks_.v.gradient.data, sinks_.k.add, sinks_.v.add};
    const int parts = std::clamp(cuda::device().multiprocessors / a_.key_heads, 1, tiles_);
    cuda::launch("attention backward, keys", keys_kernel<Map, D, W>,
                 {dim3(a_.key_heads, parts), 3 * group_threads, stream_, sizeof(KeysShared<Map, D>)}, a_, sinks);
  }

  template <Side side>
  void pull_maps(const Weight<B>& map, const Weight<B>& bias) {
    const typename Tape<B>::Scope scope(tape_);
    const int heads = a_.query_heads;
    MapPartials partials;
    partials.parts = std::clamp(cuda::device().multiprocessors / heads, 1, (tiles_ + 1) / 2);
    const int copies = partials.parts * map_copies(D);
    partials.map = scratch<float>(Index{heads} * copies * D * Sizes::f);
    partials.bias = scratch<float>(Index{heads} * partials.parts * 2 * Sizes::f);
    partials.far = scratch<float>(Index{heads} * partials.parts * 8);
    cuda::launch("attention backward, maps", maps_kernel<side, Map, D, W>,
                 {dim3(heads, partials.parts), 2 * group_threads, stream_, sizeof(MapsShared<Map, D>)}, a_, partials);

    constexpr int threads = 128;
    const auto add = [&](const float* from, int count, int size, float* to) {
      cuda::launch("attention backward, sums", add_partials_kernel<>,
                   {dim3((size + threads - 1) / threads, heads), threads, stream_}, from, count, size, to);
    };
    if (map.trained()) add(partials.map, copies, D * Sizes::f, map.gradient.data);
    if (Map::bias == Bias::vector && bias.trained())
      add(partials.bias, 2 * partials.parts, Sizes::f, bias.gradient.data);
    if (Map::bias == Bias::head && bias.trained()) {
      cuda::launch("attention backward, sums", add_numbers_kernel<>, {dim3(heads), 32, stream_}, partials.bias,
                   2 * partials.parts * Sizes::f, bias.gradient.data);
    }
    const Weight<B>& factors = problem_.weights.window_factors;
    if (side == Side::queries && W::has_near && factors.trained()) {
      cuda::launch("attention backward, sums", add_factor_kernel<W>, {dim3(heads), 32, stream_}, a_, partials.far,
                   8 * partials.parts, factors.gradient.data);
    }
  }

  Tape<B>& tape_;
  cudaStream_t stream_;
  const AttentionProblem<B, W>& problem_;
  const AttentionSinks<B>& sinks_;
  BackwardArguments<W> a_{};
  int tiles_ = 0, longest_ = 0;
};

}  // namespace backward_pass

/// AttentionKernel::backward for the problems that `takes_backward` takes.
template <class Map, class W>
void backward(Tape<Cuda<bf16>>& tape, const AttentionProblem<Cuda<bf16>, W>& problem, View<const bf16> y,
              View<const bf16> dy, const AttentionStatistics<Cuda<bf16>>& statistics,
              const AttentionSinks<Cuda<bf16>>& sinks) {
  const Sequences& sequences = *problem.sequences;
  Index covered = 0;
  for (const Extent& e : sequences.extents()) covered += e.length;
  // Rows outside every sequence have no gradient.
  for (const Sink<bf16>* sink : {&sinks.q, &sinks.k, &sinks.v}) {
    if (sink->gradient && !sink->add && covered < sequences.rows())
      tape.backend().zero(sink->gradient.data, sink->gradient.size());
  }
  for (Index first = 0; first < sequences.count(); first += backward_pass::TileTable::capacity) {
    const auto extents = sequences.extents().subspan(
        static_cast<std::size_t>(first),
        static_cast<std::size_t>(std::min<Index>(backward_pass::TileTable::capacity, sequences.count() - first)));
    const typename Tape<Cuda<bf16>>::Scope scope(tape);
    if (problem.heads.size == 128) {
      backward_pass::BackwardPass<Map, 128, W>(tape, problem, y, dy, statistics, sinks, extents).run();
    } else {
      backward_pass::BackwardPass<Map, 64, W>(tape, problem, y, dy, statistics, sinks, extents).run();
    }
  }
}

}  // namespace lolcats::hopper
