// The divergence of one prediction from another on CUDA.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/cross_entropy/cuda.cuh>
#include <lolcats/ops/divergence/divergence.hpp>

#include <algorithm>
#include <utility>
#include <vector>

namespace lolcats {

namespace cuda {

/// The running log-sum-exps of both sides of a row, each relative to its top; apart is sum exp(t - t_top) (t - z).
struct RunningPair {
  float z_top, z_sum;
  float t_top, t_sum;
  float apart;
};

/// Adds the entries [begin, begin + entries) of the vocabulary to every row; z and t (rows, entries) are the logits of the two
/// sides, divided by the temperature, rows `stride` apart.  The first chunk starts the rows; the last one writes the results, to
/// the places that `places` says.
template <class = void>
__global__ void __launch_bounds__(logit_threads)
    reduce_logit_pairs(const float* z, const float* t, Index stride, Index begin, Index entries, bool last, const Index* places,
                       RunningPair* running, float* lse, float* teacher_lse, float* divergences) {
  const Index m = blockIdx.x;
  constexpr float lowest = -INFINITY;
  Pack<float> zs[logit_packs], ts[logit_packs];
  float z_top = lowest, t_top = lowest;
#pragma unroll
  for (int k = 0; k < logit_packs; ++k) {
    const Index c = (static_cast<Index>(k) * logit_threads + threadIdx.x) * 4;
    if (c < entries) {
      zs[k] = load_pack<4>(z + m * stride + c);
      ts[k] = load_pack<4>(t + m * stride + c);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (c + i >= entries) zs[k].values[i] = ts[k].values[i] = lowest;
      z_top = fmaxf(z_top, zs[k].values[i]);
      t_top = fmaxf(t_top, ts[k].values[i]);
    }
  }
  z_top = block_max<logit_threads>(z_top);
  t_top = block_max<logit_threads>(t_top);
  float z_sum = 0, t_sum = 0, apart = 0;
#pragma unroll
  for (int k = 0; k < logit_packs; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (ts[k].values[i] == lowest) continue;  // behind the last entry
      const float p = __expf(ts[k].values[i] - t_top);
      z_sum += __expf(zs[k].values[i] - z_top);
      t_sum += p;
      apart += p * (ts[k].values[i] - zs[k].values[i]);
    }
  }
  z_sum = block_sum<logit_threads>(z_sum);
  t_sum = block_sum<logit_threads>(t_sum);
  apart = block_sum<logit_threads>(apart);
  if (threadIdx.x != 0) return;
  RunningPair r = begin == 0 ? RunningPair{lowest, 0.0F, lowest, 0.0F, 0.0F} : running[m];
  const float z_highest = fmaxf(r.z_top, z_top), t_highest = fmaxf(r.t_top, t_top);
  r.z_sum = r.z_sum * expf(r.z_top - z_highest) + z_sum * expf(z_top - z_highest);
  const float before = expf(r.t_top - t_highest), here = expf(t_top - t_highest);
  r.t_sum = r.t_sum * before + t_sum * here;
  r.apart = r.apart * before + apart * here;
  r.z_top = z_highest;
  r.t_top = t_highest;
  running[m] = r;
  if (!last) return;
  // Tops may be large and would cost digits; their difference is as small as that of the predictions.
  divergences[places[m]] = r.apart / r.t_sum + (r.z_top - r.t_top) + (logf(r.z_sum) - logf(r.t_sum));
  lse[places[m]] = r.z_top + logf(r.z_sum);
  teacher_lse[places[m]] = r.t_top + logf(r.t_sum);
}

/// g (rows, entries) = scale upstream (exp(z - lse) - exp(t - teacher_lse)); rows of all three are `stride` apart.
template <class T>
__global__ void __launch_bounds__(logit_threads)
    logit_pair_gradient(const float* z, const float* t, Index stride, Index entries, const Index* places, const float* lse,
                        const float* teacher_lse, const float* upstream, float scale, T* g) {
  const Index m = blockIdx.x;
  const float by = scale * *upstream, z_shift = lse[places[m]], t_shift = teacher_lse[places[m]];
  for (Index c = static_cast<Index>(threadIdx.x) * 4; c < entries; c += 4 * logit_threads) {
    const auto zs = load_pack<4>(z + m * stride + c), ts = load_pack<4>(t + m * stride + c);
    Pack<T, 4> result;
#pragma unroll
    for (int i = 0; i < 4; ++i) result.set(i, by * (__expf(zs[i] - z_shift) - __expf(ts[i] - t_shift)));
    store_pack(g + m * stride + c, result);
  }
}

}  // namespace cuda

/// Rows with a label are gathered first.  The fp32 logits of both sides of a tile fill at most 128 MiB.
template <class T>
struct DivergenceKernel<Cuda<T>> {
  using B = Cuda<T>;

  static void forward(const B& backend, double temperature, View<const T> hidden, View<const T> teacher, View<const T> head,
                      std::span<const Index> labels, View<float> lse, View<float> teacher_lse, View<float> divergences) {
    for (const View<float>& x : {lse, teacher_lse, divergences}) backend.zero(x.data, x.size());
    for_tiles(backend, temperature, hidden, teacher, head, labels, [&](const Tile& tile, const Chunk& chunk) {
      cuda::launch("divergence", cuda::reduce_logit_pairs<>, {static_cast<unsigned>(tile.rows), cuda::logit_threads, backend.stream()},
                   chunk.z, chunk.t, chunk.stride, chunk.begin, chunk.entries, chunk.begin + chunk.entries == head.rows(),
                   tile.places, tile.running, lse.data, teacher_lse.data, divergences.data);
    });
  }

  static void backward(const B& backend, View<const float> upstream, double scale, double temperature, View<const T> hidden,
                       View<const T> teacher, View<const T> head, std::span<const Index> labels, View<const float> lse,
                       View<const float> teacher_lse, Sink<T> dhidden) {
    const cudaStream_t stream = backend.stream();
    const Index cols = hidden.cols();
    if (!dhidden.add) backend.zero(dhidden.gradient.data, dhidden.gradient.size());  // ignored rows
    const Index rows = std::min(hidden.rows(), tile_rows);
    cuda::Scratch<T> g(rows * stride_of(std::min(head.rows(), cuda::logit_chunk)), stream);
    cuda::Scratch<float> sums(rows * cols, stream);  // dhidden of a tile over the chunks, in fp32
    for_tiles(backend, temperature, hidden, teacher, head, labels, [&](const Tile& tile, const Chunk& chunk) {
      cuda::launch("divergence gradient", cuda::logit_pair_gradient<T>, {static_cast<unsigned>(tile.rows), cuda::logit_threads, stream},
                   chunk.z, chunk.t, chunk.stride, chunk.entries, tile.places, lse.data, teacher_lse.data, upstream.data,
                   static_cast<float>(scale / temperature), g.data());
      cuda::multiply(stream, {tile.rows, cols, chunk.entries}, cuda::Factor<T>{g.data(), chunk.stride},
                     cuda::Factor<T>{head.data + chunk.begin * cols, cols}, cuda::Product<float>{sums.data(), cols}, 1, chunk.begin > 0);
      if (chunk.begin + chunk.entries < head.rows()) return;
      cuda::launch("divergence gradient", cuda::scatter_rows<T>, {cuda::blocks_for(tile.rows * cols, 256), 256, stream}, sums.data(),
                   tile.places, dhidden.gradient.data, dhidden.add, tile.rows, cols);
    });
  }

 private:
  static constexpr Index tile_rows = 2048;

  /// Some rows with a label, and which they are.
  struct Tile {
    Index rows;
    const Index* places;
    cuda::RunningPair* running;
  };
  /// Both sides' logits (rows, entries) of a tile for entries from `begin` of the vocabulary.
  struct Chunk {
    Index begin, entries;
    const float *z, *t;
    Index stride;
  };

  static Index stride_of(Index entries) { return (entries + 7) / 8 * 8; }

  /// Calls f(tile, chunk) for all chunks of the vocabulary, in order, of one tile after the other.
  template <class F>
  static void for_tiles(const B& backend, double temperature, View<const T> hidden, View<const T> teacher, View<const T> head,
                        std::span<const Index> labels, F&& f) {
    const cudaStream_t stream = backend.stream();
    const Index vocabulary = head.rows(), cols = hidden.cols();
    std::vector<Index> places;
    for (std::size_t m = 0; m < labels.size(); ++m) {
      if (labels[m] != ignored_label) places.push_back(static_cast<Index>(m));
    }
    const auto count = static_cast<Index>(places.size());
    if (count == 0) return;
    const auto device_places = cuda::to_device(std::span<const Index>(places), stream);

    // Chunks of equal size, except for the last.
    const Index chunks = (vocabulary + cuda::logit_chunk - 1) / cuda::logit_chunk;
    const Index step = std::min(cuda::logit_chunk, ((vocabulary + chunks - 1) / chunks + 127) / 128 * 128);
    const Index stride = stride_of(std::min(step, vocabulary)), most = std::min(count, tile_rows);
    const bool gathers = count < hidden.rows();
    cuda::Scratch<float> z(most * stride, stream), t(most * stride, stream);
    cuda::Scratch<cuda::RunningPair> running(most, stream);
    cuda::Scratch<T> gathered(gathers ? 2 * most * cols : 0, stream);
    for (Index first = 0; first < count; first += tile_rows) {
      const Tile tile{std::min(tile_rows, count - first), device_places.data() + first, running.data()};
      const T *ours = hidden.data + first * cols, *theirs = teacher.data + first * cols;
      if (gathers) {
        cuda::gather(stream, tile.places, hidden.data, gathered.data(), tile.rows, cols);
        cuda::gather(stream, tile.places, teacher.data, gathered.data() + most * cols, tile.rows, cols);
        ours = gathered.data();
        theirs = gathered.data() + most * cols;
      }
      for (Index begin = 0; begin < vocabulary; begin += step) {
        const Index entries = std::min(step, vocabulary - begin);
        for (const auto& [from, to] : {std::pair{ours, z.data()}, {theirs, t.data()}}) {
          cuda::multiply(stream, {tile.rows, entries, cols}, cuda::Factor<T>{from, cols},
                         cuda::Factor<T>{head.data + begin * cols, cols, true}, cuda::Product<float>{to, stride}, 1 / temperature);
        }
        f(tile, Chunk{begin, entries, z.data(), t.data(), stride});
      }
    }
  }
};

}  // namespace lolcats
