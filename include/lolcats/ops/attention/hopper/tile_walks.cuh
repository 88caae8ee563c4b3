// The host's side of what passes by tiles share: arguments of the kernels, room for states, the launches of the walks.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/attention/hopper/sinks.cuh>
#include <lolcats/ops/attention/hopper/tile_states.cuh>

#include <span>

namespace lolcats::hopper::tile_pass {

/// Can the kernels be compiled for this map and window?
template <class Map, class W>
inline constexpr bool has_tiles = false;
template <FeatureMap Map, Window W>
  requires(W::has_far)
inline constexpr bool has_tiles<Map, W> = takes_map<Map> && takes_sinks<W>;

/// Do they take this problem?  Every sequence starts at position 0.
template <class Map, class W>
bool takes_tiles(const AttentionProblem<Cuda<bf16>, W>& p) {
  if constexpr (!has_tiles<Map, W>) {
    return false;
  } else {
    if (!takes_width(p.heads.size)) return false;
    if (p.q.rows() >= (Index{1} << 31)) return false;
    return cuda::device().capability == 90 && aligned_for_boxes(p.q.data, p.k.data, p.v.data, p.weights.query_map.value.data,
                                                                p.weights.key_map.value.data);
  }
}

/// Calls f(extents) for batches of at most TileTable::capacity sequences.
template <class F>
void for_tile_tables(std::span<const Extent> all, F&& f) {
  for (std::size_t first = 0; first < all.size(); first += TileTable::capacity) {
    f(all.subspan(first, std::min<std::size_t>(TileTable::capacity, all.size() - first)));
  }
}

/// The arguments that the problem gives, for one batch of sequences; without states, y, dy and row statistics.
template <class Map, int D, class W>
TileArguments<W> arguments_of(const AttentionProblem<Cuda<bf16>, W>& problem, std::span<const Extent> extents) {
  constexpr int f = TileSizes<Map, D>::f;
  const Heads& heads = problem.heads;
  const AttentionWeights<Cuda<bf16>>& w = problem.weights;
  TileArguments<W> a{};
  a.q = tensor_map(problem.q.data, problem.q.rows(), problem.q.cols(), tile_rows);
  a.k = tensor_map(problem.k.data, problem.k.rows(), problem.k.cols(), tile_rows);
  a.v = tensor_map(problem.v.data, problem.v.rows(), problem.v.cols(), tile_rows);
  a.query_map = tensor_map(w.query_map.value.data, heads.queries * D, f, D);
  a.key_map = tensor_map(w.key_map.value.data, w.key_map.shape()[0] * D, f, D);
  for (const Extent& e : extents) a.table.add(e);
  a.window = {problem.window};
  a.query_heads = static_cast<int>(heads.queries);
  a.key_heads = static_cast<int>(heads.keys);
  a.affine = problem.affine;
  a.key_map_per_group = w.key_map.shape()[0] != heads.queries;
  a.window_factors = w.window_factors.value.data;
  a.query_bias = w.query_bias.value.data;
  a.key_bias = w.key_bias.value.data;
  return a;
}

/// Room for the states: bytes(n) gives memory.  A walk per head, sequence and chunk; two fit on a multiprocessor.  Short
/// chunks cost more prefixes.
template <class Map, int D, class W, class Bytes>
void allocate_states(TileArguments<W>& a, Bytes&& bytes) {
  using Sizes = TileSizes<Map, D>;
  constexpr int shortest_chunk = 8;
  StateBuffers& s = a.state;
  const int longest = a.table.longest;
  const int walks = std::max(1, 2 * cuda::device().multiprocessors / (a.query_heads * a.table.count));
  s.chunk = std::max((longest + walks - 1) / walks, std::min(longest, shortest_chunk));
  s.chunks = (longest + s.chunk - 1) / s.chunk;
  const Index states = Index{a.query_heads} * a.tiles();
  const Index prefixes = s.chunks > 1 ? Index{a.query_heads} * a.table.count * s.chunks : 0;
  s.states = bytes(states * Sizes::state_bytes);
  s.normalizers = reinterpret_cast<float*>(bytes(states * Sizes::normalizer_bytes));
  s.prefixes = bytes(prefixes * Sizes::state_bytes);
  s.prefix_normalizers = reinterpret_cast<float*>(bytes(prefixes * Sizes::normalizer_bytes));
  if (!WindowTiles<W>::pure) s.features = bytes(states * Sizes::phi_bytes);
}

/// Sums over keys before, or queries behind, every tile that someone reads.
template <Side side, class Map, int D, class W>
void launch_walk(const TileArguments<W>& a, cudaStream_t stream) {
  using Sizes = TileSizes<Map, D>;
  const dim3 grid(a.query_heads, a.state.chunks, a.table.count);
  cuda::launch("attention by tiles, states", states_kernel<side, Map, D, W>,
               {grid, group_threads, stream, sizeof(StatesShared<Map, D>)}, a);
  if (a.state.chunks == 1) return;
  constexpr int threads = 128, work = Sizes::state_bytes / 16 + Sizes::F / 4;
  const dim3 prefix_grid((work + threads - 1) / threads, a.table.count, a.query_heads);
  cuda::launch("attention by tiles, prefixes", state_prefixes_kernel<side, Map, D, W>, {prefix_grid, threads, stream},
               a);
}

}  // namespace lolcats::hopper::tile_pass
