// The fused forward pass on Hopper GPUs: softmax over near keys, feature maps over far keys, one launch.
#pragma once

#include <lolcats/ops/attention/hopper/forward_chunks.cuh>
#include <lolcats/ops/attention/hopper/forward_kernel.cuh>

#include <limits>

namespace lolcats::hopper {

namespace forward_pass {

/// Are map and window among those that the kernels are written for?
template <class Map, class W>
constexpr bool fits() {
  if constexpr (FeatureMap<Map>) {
    using Tiles = WindowTiles<W>;
    if (sinks_of<W> > most_sinks || !takes_sinks<W>) return false;
    // Far keys in the queries' own tile, beside near ones, would need the features of two tiles of keys at once.
    return takes_map<Map> && W::has_far && (Tiles::lag == 0 || !Tiles::mixes_own);
  } else {
    return false;
  }
}

/// Resumed sequences have their records at once: as many sequences as keep these within 256 MiB.
template <class S>
int resumed_at_once(std::span<const Extent> extents, const Parameters<typename S::Window>& p) {
  Index longest = 1;
  for (const Extent& e : extents) longest = std::max(longest, e.length);
  const Index records = (longest + tile * p.chunk_tiles - 1) / (tile * p.chunk_tiles) + 1;
  const Index bytes = records * p.heads * S::state_floats * static_cast<Index>(sizeof(float));
  return static_cast<int>(std::clamp<Index>((Index{256} << 20) / bytes, 1, Extents::capacity));
}

/// The launches, for heads of `Size`; sequences are cut every `chunk_tiles` tiles.  `resumed` is null, or has a member per
/// extent in device memory.
template <class Map, int Size, class W>
void launch(const Cuda<bf16>& backend, const AttentionProblem<Cuda<bf16>, W>& problem, std::span<const Extent> extents,
            const Resumed* resumed, View<bf16> y, const AttentionStatistics<Cuda<bf16>>& statistics, int chunk_tiles) {
  using S = Sizes<Map, W, Size>;
  static_assert(sizeof(ForwardMemory<S>) <= 232448 && sizeof(ChunkMemory<S>) <= 232448,
                "more shared memory than Hopper has");
  const Heads& heads = problem.heads;
  const auto& weights = problem.weights;
  const cudaStream_t stream = backend.stream();

  const TensorMaps maps{
      tensor_map(problem.q.data, problem.q.rows(), heads.queries * Size, tile),
      tensor_map(problem.k.data, problem.k.rows(), heads.keys * Size, tile),
      tensor_map(problem.v.data, problem.v.rows(), heads.keys * Size, tile),
      tensor_map(weights.query_map.value.data, heads.queries * Size, S::f, Size),
      tensor_map(weights.key_map.value.data, weights.key_map.shape()[0] * Size, S::f, Size),
  };
  Parameters<W> p{};
  p.window = problem.window;
  p.heads = static_cast<int>(heads.queries);
  p.group = static_cast<int>(heads.group());
  p.chunk_tiles = chunk_tiles;
  p.key_map_per_group = weights.key_map.shape()[0] != heads.queries;
  p.affine = problem.affine;
  p.score_scale = 1 / std::sqrt(static_cast<float>(Size));
  p.k = problem.k.data;
  p.v = problem.v.data;
  p.query_bias = weights.query_bias.value.data;
  p.key_bias = weights.key_bias.value.data;
  p.window_factors = weights.window_factors.value.data;
  p.y = y.data;
  p.largest = statistics.largest.data;
  p.inverse_denominator = statistics.inverse_denominator.data;
  p.largest_at = statistics.largest_at.data;

  const int capacity = resumed ? resumed_at_once<S>(extents, p) : Extents::capacity;
  for_batches(extents, p.chunk_tiles, capacity, [&](const Extents& batch, std::size_t first) {
    p.extents = batch;
    if (resumed) p.resumed = resumed + first;
    const auto heads_by_chunks = dim3(static_cast<unsigned>(p.heads), static_cast<unsigned>(batch.chunks()));
    const bool sums = resumed || batch.chunks() > batch.count;
    const Index records = sums ? batch.chunks() + (resumed ? batch.count : 0) : 0;
    cuda::Scratch<float> states(records * p.heads * S::state_floats, stream);
    p.states = states.data();
    if (sums) {
      cuda::launch("attention forward, sums of chunks", sum_chunks<S>,
                   {heads_by_chunks, chunk_threads, stream, sizeof(ChunkMemory<S>)}, maps, p);
      constexpr int threads = 128;
      const dim3 grid(cuda::blocks_for(S::state_floats / 4, threads), heads_by_chunks.x,
                      static_cast<unsigned>(batch.count));
      cuda::launch("attention forward, running sums of chunks", accumulate_chunks<S>, {grid, threads, stream}, p);
    }
    cuda::launch("attention forward", forward_kernel<S>,
                 {heads_by_chunks, forward_threads, stream, sizeof(ForwardMemory<S>)}, maps, p);
  });
}

/// Rows outside every sequence become zeros.
inline void clear_padding(const Cuda<bf16>& backend, const Sequences& sequences, View<bf16> y) {
  const auto clear = [&](Index first, Index end) {
    if (first < end) backend.zero(y.data + first * y.cols(), (end - first) * y.cols());
  };
  Index end = 0;
  for (const Extent& e : sequences.extents()) clear(std::exchange(end, e.row + e.length), e.row);
  clear(end, sequences.rows());
}

}  // namespace forward_pass

/// Can `forward` compute this problem on the current device?  And `forward_resumed`, with these extents of keys?
template <class Map, class W>
bool takes_forward(const AttentionProblem<Cuda<bf16>, W>& problem, std::span<const Extent> extents) {
  if constexpr (forward_pass::fits<Map, W>()) {
    const Heads& heads = problem.heads;
    Index longest = 0;
    for (const Extent& e : extents) longest = std::max(longest, e.length);
    constexpr Index most_rows = std::numeric_limits<int>::max() - forward_pass::tile;
    return cuda::device().capability == 90 && takes_width(heads.size) && problem.sequences->rows() <= most_rows &&
           problem.k.rows() <= most_rows && forward_pass::WindowTiles<W>::covers(problem.window, longest) &&
           aligned_for_boxes(problem.q.data, problem.k.data, problem.v.data, problem.weights.query_map.value.data,
                             problem.weights.key_map.value.data);
  } else {
    return false;
  }
}

template <class Map, class W>
bool takes_forward(const AttentionProblem<Cuda<bf16>, W>& problem) {
  return takes_forward<Map>(problem, problem.sequences->extents());
}

namespace forward_pass {

template <class Map, class W>
void run(const Cuda<bf16>& backend, const AttentionProblem<Cuda<bf16>, W>& problem, std::span<const Extent> extents,
         const Resumed* resumed, View<bf16> y, const AttentionStatistics<Cuda<bf16>>& statistics) {
  const int tiles = chunk_tiles(extents, problem.heads.queries, cuda::device().multiprocessors);
  if (problem.heads.size == 64) {
    launch<Map, 64>(backend, problem, extents, resumed, y, statistics, tiles);
  } else {
    launch<Map, 128>(backend, problem, extents, resumed, y, statistics, tiles);
  }
}

}  // namespace forward_pass

/// y (M, H * D) and, where views are given, the row statistics (M, H): AttentionKernel::forward for problems that
/// `takes_forward`.  `y` is aligned to 16 bytes; positions start at 0.
template <class Map, class W>
void forward(const Cuda<bf16>& backend, const AttentionProblem<Cuda<bf16>, W>& problem, View<bf16> y,
             const AttentionStatistics<Cuda<bf16>>& statistics) {
  forward_pass::clear_padding(backend, *problem.sequences, y);
  forward_pass::run<Map>(backend, problem, problem.sequences->extents(), nullptr, y, statistics);
}

/// y (M, H * D) of sequences that go on behind tokens read before, and their sums over far keys brought up to date.
///
/// q (M, H * D) has the queries alone, k and v (K, G * D) also the kept keys; `extents` are those of the keys, `resumed`
/// (device memory) has a member for each.  Rows of y outside every sequence are left alone.
template <class Map, class W>
void forward_resumed(const Cuda<bf16>& backend, const AttentionProblem<Cuda<bf16>, W>& problem,
                     std::span<const Extent> extents, const Resumed* resumed, View<bf16> y) {
  forward_pass::run<Map>(backend, problem, extents, resumed, y, {});
}

}  // namespace lolcats::hopper
