// The fused LoLCATs attention backward for Hopper: bf16, heads of 64 or 128, any window, any row map of 64 or 128
// features.
//
// What is computed follows from what is wanted: the maps and gamma without the near part (attention transfer), dq, dk
// and dv (finetuning), or both.  The kernels and their order stand in tile_plan.cuh.  Differs from AttentionKernel
// in nothing but the order of summation.
#pragma once

#include <lolcats/ops/attention/hopper/backward_factors.cuh>
#include <lolcats/ops/attention/hopper/backward_keys.cuh>
#include <lolcats/ops/attention/hopper/backward_maps.cuh>
#include <lolcats/ops/attention/hopper/backward_queries.cuh>
#include <lolcats/ops/attention/hopper/tile_walks.cuh>

namespace lolcats::hopper {

template <class Map, class W>
inline constexpr bool has_backward = tile_pass::has_tiles<Map, W>;

/// Does `backward` take this problem?
template <class Map, class W>
bool takes_backward(const AttentionProblem<Cuda<bf16>, W>& problem) {
  return tile_pass::takes_tiles<Map>(problem);
}

namespace tile_pass {

/// Launches the kernels for one batch of at most TileTable::capacity sequences.
template <class Map, int D, class W>
class BackwardPass {
  using B = Cuda<bf16>;
  using Sizes = TileSizes<Map, D>;

 public:
  BackwardPass(Tape<B>& tape, const AttentionProblem<B, W>& problem, View<const bf16> y, View<const bf16> dy,
               const AttentionStatistics<B>& statistics, const AttentionSinks<B>& sinks,
               std::span<const Extent> extents)
      : tape_(tape),
        stream_(tape.backend().stream()),
        problem_(problem),
        sinks_(sinks),
        a_(arguments_of<Map, D>(problem, extents)) {
    a_.dy = tensor_map(dy.data, dy.rows(), dy.cols(), tile_rows);
    a_.y = y.data;
    a_.largest = statistics.largest.data;
    a_.inverse_denominator = statistics.inverse_denominator.data;
    a_.largest_at = statistics.largest_at.data;
    const auto bytes = [&](Index n) { return scratch<std::byte>(n); };
    a_.statistics = reinterpret_cast<QueryStatistics*>(
        bytes(Index{a_.query_heads} * a_.tiles() * static_cast<Index>(sizeof(QueryStatistics))));
    allocate_states<Map, D>(a_, bytes);
  }

  void run() {
    const AttentionWeights<B>& w = problem_.weights;
    const bool key_maps = w.key_map.trained() || w.key_bias.trained();
    const bool maps = key_maps || w.query_map.trained() || w.query_bias.trained() || w.window_factors.trained();
    const bool keys = sinks_.k.gradient || sinks_.v.gradient;
    launch_walk<Side::keys, Map, D>(a_, stream_);  // S and z before each tile, for all that queries want
    [[maybe_unused]] float* sink_parts = nullptr;
    if constexpr (sinks_of<W> > 0) {
      if (keys) sink_parts = scratch<float>(Index{a_.query_heads} * a_.tiles() * 2 * sinks_of<W> * D);
    }
    if (keys || sinks_.q.gradient) pull_queries(sink_parts);
    if (maps) pull_maps<Side::queries>(w.query_map, w.query_bias);
    if (W::has_near && w.window_factors.trained()) pull_factors();
    if (keys || key_maps) {
      launch_walk<Side::queries, Map, D>(a_, stream_);  // R and r behind each tile, in the same memory
      if (keys) pull_keys();
      if (key_maps) pull_maps<Side::keys>(w.key_map, w.key_bias);
    }
    if constexpr (sinks_of<W> > 0) {
      if (keys) add_sinks(sink_parts);
    }
  }

 private:
  template <class T>
  T* scratch(Index count) {
    return tape_.template scratch<T>(Shape{count}).data;
  }

  void pull_queries([[maybe_unused]] float* sink_parts) {
    const int parts = std::clamp(2 * cuda::device().multiprocessors / a_.query_heads, 1, a_.tiles());
    QuerySinkFor<W> sink;
    sink.dq = sinks_.q.gradient.data;
    sink.add = sinks_.q.add;
    if constexpr (sinks_of<W> > 0) sink.source = {problem_.k.data, problem_.v.data, sink_parts};
    cuda::launch("attention backward, queries", queries_kernel<Map, D, W>,
                 {dim3(a_.query_heads, parts), group_threads, stream_, sizeof(QueriesShared<Map, D, W>)}, a_, sink);
  }

  void pull_keys() {
    const KeySinks sinks{sinks_.k.gradient.data, sinks_.v.gradient.data, sinks_.k.add, sinks_.v.add};
    const int parts = std::clamp(cuda::device().multiprocessors / a_.key_heads, 1, a_.tiles());
    cuda::launch("attention backward, keys", keys_kernel<Map, D, W>,
                 {dim3(a_.key_heads, parts), 3 * group_threads, stream_, sizeof(KeysShared<Map, D>)}, a_, sinks);
  }

  /// After the gradients of the window have been written.
  void add_sinks(const float* parts) {
    cuda::launch("attention backward, sums", detail::add_sinks<D, tile_rows, W, TileTable>,
                 {dim3(a_.table.count, a_.key_heads, static_cast<unsigned>(2 * sinks_of<W>)), detail::sink_threads, stream_},
                 a_.table, problem_.window, parts, a_.group(), a_.tiles(), 1.0F, sinks_.k.gradient.data, sinks_.v.gradient.data);
  }

  template <Side side>
  void pull_maps(const Weight<B>& map, const Weight<B>& bias) {
    const typename Tape<B>::Scope scope(tape_);
    const int heads = a_.query_heads;
    MapPartials partials;
    partials.parts = std::clamp(cuda::device().multiprocessors / heads, 1, (a_.tiles() + 1) / 2);
    const int copies = partials.parts * map_copies(D);
    partials.map = scratch<float>(Index{heads} * copies * D * Sizes::f);
    partials.bias = scratch<float>(Index{heads} * partials.parts * 2 * Sizes::f);
    cuda::launch("attention backward, maps", maps_kernel<side, Map, D, W>,
                 {dim3(heads, partials.parts), 2 * group_threads, stream_, sizeof(MapsShared<Map, D>)}, a_, partials);

    // Heads that share a map lie side by side, so their sums are as many more partial sums of it.
    constexpr int threads = 128;
    const int sharing = side == Side::keys && a_.key_map_per_group ? a_.group() : 1;
    const auto add = [&](const float* from, int count, int size, float* to) {
      cuda::launch("attention backward, sums", add_partials_kernel<>,
                   {dim3((size + threads - 1) / threads, heads / sharing), threads, stream_}, from, count * sharing,
                   size, to);
    };
    if (map.trained()) add(partials.map, copies, D * Sizes::f, map.gradient.data);
    if (Map::bias == Bias::vector && bias.trained())
      add(partials.bias, 2 * partials.parts, Sizes::f, bias.gradient.data);
    if (Map::bias == Bias::head && bias.trained()) {
      cuda::launch("attention backward, sums", add_numbers_kernel<>, {dim3(heads / sharing), 32, stream_}, partials.bias,
                   2 * partials.parts * Sizes::f * sharing, bias.gradient.data);
    }
  }

  void pull_factors() {
    const typename Tape<B>::Scope scope(tape_);
    const int tiles = a_.query_heads * a_.tiles();
    const FactorSums sums{scratch<float>(tiles), scratch<std::uint8_t>(tiles)};
    constexpr int warps = group_threads / 32;
    cuda::launch("attention backward, tiles for gamma", sort_tiles_kernel<D, W>,
                 {dim3((a_.tiles() + warps - 1) / warps, a_.query_heads), group_threads, stream_}, a_, sums);
    cuda::launch("attention backward, gamma", factors_kernel<D, W>,
                 {dim3(std::min(3 * cuda::device().multiprocessors, tiles)), group_threads, stream_,
                  sizeof(FactorsShared<D>)},
                 a_, sums);
    cuda::launch("attention backward, sums", add_factor_kernel<W>, {dim3(a_.query_heads), 32, stream_}, a_, sums.sums,
                 problem_.weights.window_factors.gradient.data);
  }

  Tape<B>& tape_;
  cudaStream_t stream_;
  const AttentionProblem<B, W>& problem_;
  const AttentionSinks<B>& sinks_;
  TileArguments<W> a_;
};

}  // namespace tile_pass

/// AttentionKernel::backward for the problems that `takes_backward` takes.
template <class Map, class W>
void backward(Tape<Cuda<bf16>>& tape, const AttentionProblem<Cuda<bf16>, W>& problem, View<const bf16> y,
              View<const bf16> dy, const AttentionStatistics<Cuda<bf16>>& statistics,
              const AttentionSinks<Cuda<bf16>>& sinks) {
  const Sequences& sequences = *problem.sequences;
  // Rows outside every sequence have no gradient.
  for (const Sink<bf16>* sink : {&sinks.q, &sinks.k, &sinks.v}) {
    if (sink->gradient && !sink->add && sequences.padded()) tape.backend().zero(sink->gradient.data, sink->gradient.size());
  }
  tile_pass::for_tile_tables(sequences.extents(), [&](std::span<const Extent> extents) {
    const typename Tape<Cuda<bf16>>::Scope scope(tape);
    if (problem.heads.size == 128) {
      tile_pass::BackwardPass<Map, 128, W>(tape, problem, y, dy, statistics, sinks, extents).run();
    } else {
      tile_pass::BackwardPass<Map, 64, W>(tape, problem, y, dy, statistics, sinks, extents).run();
    }
  });
}

}  // namespace lolcats::hopper
