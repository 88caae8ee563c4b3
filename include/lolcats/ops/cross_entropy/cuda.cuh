// Next-token loss over a vocabulary on CUDA.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/cross_entropy/cross_entropy.hpp>
#include <lolcats/ops/elementwise/cuda.cuh>
#include <lolcats/ops/embedding/cuda.cuh>
#include <lolcats/ops/linear/cuda.cuh>

#include <algorithm>
#include <vector>

namespace lolcats {

namespace cuda {

constexpr int logit_threads = 256;
/// Packs of four logits per thread: what a block holds of one row of a chunk.
constexpr int logit_packs = 8;
constexpr Index logit_chunk = Index{4} * logit_threads * logit_packs;  // 8192

/// The running log-sum-exp of a row: sum is relative to exp(top).
struct RunningRow {
  float top;
  float sum;
  float picked;  // the logit of the label
};

/// Adds the entries [begin, begin + entries) of the vocabulary to every row; logits (rows, entries) have `stride`
/// elements per row, a multiple of four.  The first chunk starts the rows; the last one writes lse and losses, to the
/// places that `places` says.
template <class = void>
__global__ void __launch_bounds__(logit_threads)
    reduce_logits(const float* logits, Index stride, Index begin, Index entries, bool last, const Index* labels,
                  const Index* places, RunningRow* running, float* lse, float* losses) {
  const Index m = blockIdx.x;
  const float* row = logits + m * stride;
  constexpr float lowest = -INFINITY;
  Pack<float> held[logit_packs];
  float top = lowest;
#pragma unroll
  for (int k = 0; k < logit_packs; ++k) {
    const Index c = (static_cast<Index>(k) * logit_threads + threadIdx.x) * 4;
    if (c < entries) held[k] = load_pack<4>(row + c);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (c + i >= entries) held[k].values[i] = lowest;
      top = fmaxf(top, held[k].values[i]);
    }
  }
  top = block_max<logit_threads>(top);
  float sum = 0;
#pragma unroll
  for (int k = 0; k < logit_packs; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum += __expf(held[k].values[i] - top);
  }
  sum = block_sum<logit_threads>(sum);
  if (threadIdx.x != 0) return;
  RunningRow r = begin == 0 ? RunningRow{lowest, 0.0F, 0.0F} : running[m];
  const float highest = fmaxf(r.top, top);
  r.sum = r.sum * expf(r.top - highest) + sum * expf(top - highest);
  r.top = highest;
  const Index label = labels[m];
  if (label >= begin && label < begin + entries) r.picked = row[label - begin];
  running[m] = r;
  if (!last) return;
  // log(sum) and picked - top are small; top itself may be large and would cost digits.
  losses[places[m]] = logf(r.sum) - (r.picked - r.top);
  lse[places[m]] = r.top + logf(r.sum);
}

/// g (rows, entries) = scale upstream (exp(logits - lse) - onehot(label)); rows of logits and g are `stride` apart.
template <class T>
__global__ void __launch_bounds__(logit_threads)
    logit_gradient(const float* logits, Index stride, Index begin, Index entries, const Index* labels,
                   const Index* places, const float* lse, const float* upstream, float scale, T* g) {
  const Index m = blockIdx.x;
  const float by = scale * *upstream, shift = lse[places[m]];
  const Index label = labels[m] - begin;
  for (Index c = static_cast<Index>(threadIdx.x) * 4; c < entries; c += 4 * logit_threads) {
    const auto row = load_pack<4>(logits + m * stride + c);
    Pack<T, 4> result;
#pragma unroll
    for (int i = 0; i < 4; ++i) result.set(i, by * (__expf(row[i] - shift) - (c + i == label ? 1.0F : 0.0F)));
    store_pack(g + m * stride + c, result);
  }
}

/// y[places[m]] = or += x[m], where x (rows, C) is fp32.
template <class T>
__global__ void scatter_rows(const float* x, const Index* places, T* y, bool add, Index rows, Index cols) {
  const Index at = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  const Index m = at / cols, c = at % cols;
  if (m >= rows) return;
  T* to = y + places[m] * cols + c;
  *to = from_float<T>(add ? to_float(*to) + x[at] : x[at]);
}

}  // namespace cuda

/// Supervised rows are gathered first, so ignored ones cost nothing.  Tiles of rows meet chunks of the vocabulary: both
/// are thousands, for fast products, and their fp32 logits fill at most 128 MiB.
template <class T>
struct CrossEntropyKernel<Cuda<T>> {
  using B = Cuda<T>;

  static void forward(const B& backend, View<const T> hidden, View<const T> head, std::span<const Index> labels,
                      View<float> lse, View<float> losses) {
    backend.zero(lse.data, lse.size());
    backend.zero(losses.data, losses.size());
    for_tiles(backend, hidden, head, labels, [&](const Tile& tile, const Chunk& chunk) {
      cuda::launch("cross_entropy", cuda::reduce_logits<>,
                   {static_cast<unsigned>(tile.rows), cuda::logit_threads, backend.stream()}, chunk.logits, chunk.stride,
                   chunk.begin, chunk.entries, chunk.begin + chunk.entries == head.rows(), tile.labels, tile.places,
                   tile.running, lse.data, losses.data);
    });
  }

  static void backward(const B& backend, View<const float> upstream, double scale, View<const T> hidden,
                       View<const T> head, std::span<const Index> labels, View<const float> lse, Sink<T> dhidden,
                       View<float> dhead) {
    const cudaStream_t stream = backend.stream();
    const Index cols = hidden.cols();
    if (dhidden.gradient && !dhidden.add) backend.zero(dhidden.gradient.data, dhidden.gradient.size());  // ignored rows
    const Index rows = std::min(hidden.rows(), tile_rows);
    cuda::Scratch<T> g(rows * stride_of(std::min(head.rows(), cuda::logit_chunk)), stream);
    cuda::Scratch<float> sums(dhidden.gradient ? rows * cols : 0, stream);  // dhidden of a tile over the chunks, in fp32
    for_tiles(backend, hidden, head, labels, [&](const Tile& tile, const Chunk& chunk) {
      cuda::launch("cross_entropy gradient", cuda::logit_gradient<T>,
                   {static_cast<unsigned>(tile.rows), cuda::logit_threads, stream}, chunk.logits, chunk.stride,
                   chunk.begin, chunk.entries, tile.labels, tile.places, lse.data, upstream.data,
                   static_cast<float>(scale), g.data());
      if (dhead) {
        cuda::multiply(stream, {chunk.entries, cols, tile.rows}, cuda::Factor<T>{g.data(), chunk.stride, true},
                       cuda::Factor<T>{tile.hidden, cols}, cuda::Product<float>{dhead.data + chunk.begin * cols, cols}, 1,
                       1);
      }
      if (!dhidden.gradient) return;
      cuda::multiply(stream, {tile.rows, cols, chunk.entries}, cuda::Factor<T>{g.data(), chunk.stride},
                     cuda::Factor<T>{head.data + chunk.begin * cols, cols}, cuda::Product<float>{sums.data(), cols}, 1,
                     chunk.begin > 0);
      if (chunk.begin + chunk.entries < head.rows()) return;
      cuda::launch("cross_entropy gradient", cuda::scatter_rows<T>, {cuda::blocks_for(tile.rows * cols, 256), 256, stream},
                   sums.data(), tile.places, dhidden.gradient.data, dhidden.add, tile.rows, cols);
    });
  }

 private:
  static constexpr Index tile_rows = 4096;

  /// Some supervised rows: their hidden states side by side, their labels, and which rows they are.
  struct Tile {
    Index rows;
    const T* hidden;  // (rows, C)
    const Index* labels;
    const Index* places;
    cuda::RunningRow* running;
  };
  /// The logits (rows, entries) of a tile for entries from `begin` of the vocabulary.
  struct Chunk {
    Index begin;
    Index entries;
    const float* logits;
    Index stride;
  };

  static Index stride_of(Index entries) { return (entries + 7) / 8 * 8; }

  /// Calls f(tile, chunk) for all chunks of the vocabulary, in order, of one tile after the other.
  template <class F>
  static void for_tiles(const B& backend, View<const T> hidden, View<const T> head, std::span<const Index> labels, F&& f) {
    const cudaStream_t stream = backend.stream();
    const Index vocabulary = head.rows(), cols = hidden.cols();
    std::vector<Index> places, kept;
    for (std::size_t m = 0; m < labels.size(); ++m) {
      if (labels[m] == ignored_label) continue;
      places.push_back(static_cast<Index>(m));
      kept.push_back(labels[m]);
    }
    const auto count = static_cast<Index>(places.size());
    if (count == 0) return;
    const auto device_places = cuda::to_device(std::span<const Index>(places), stream);
    const auto device_labels = cuda::to_device(std::span<const Index>(kept), stream);

    // Chunks of equal size, except for the last.
    const Index chunks = (vocabulary + cuda::logit_chunk - 1) / cuda::logit_chunk;
    const Index step = std::min(cuda::logit_chunk, ((vocabulary + chunks - 1) / chunks + 127) / 128 * 128);
    const Index stride = stride_of(std::min(step, vocabulary)), most = std::min(count, tile_rows);
    const bool gathers = count < hidden.rows();
    cuda::Scratch<float> logits(most * stride, stream);
    cuda::Scratch<cuda::RunningRow> running(most, stream);
    cuda::Scratch<T> gathered(gathers ? most * cols : 0, stream);
    for (Index first = 0; first < count; first += tile_rows) {
      Tile tile{std::min(tile_rows, count - first), hidden.data + first * cols, device_labels.data() + first,
                device_places.data() + first, running.data()};
      if (gathers) {
        cuda::gather(stream, tile.places, hidden.data, gathered.data(), tile.rows, cols);
        tile.hidden = gathered.data();
      }
      for (Index begin = 0; begin < vocabulary; begin += step) {
        const Index entries = std::min(step, vocabulary - begin);
        cuda::multiply(stream, {tile.rows, entries, cols}, cuda::Factor<T>{tile.hidden, cols},
                       cuda::Factor<T>{head.data + begin * cols, cols, true}, cuda::Product<float>{logits.data(), stride});
        f(tile, Chunk{begin, entries, logits.data(), stride});
      }
    }
  }
};

}  // namespace lolcats
