// Near and far keys of a call on a GPU where a cache stands beside the window: who is which, and the far ones in order.
#pragma once

#include <lolcats/ops/attention/cuda_call.cuh>
#include <lolcats/ops/attention/cuda_received.cuh>

namespace lolcats::general {

/// starts (2, segments, G): the first key that may be in the cache, and behind `size` of them the first far one.  Grid: segments.
template <class T>
__global__ void cache_starts(Segments segments, CacheSizes<T> sizes, int heads, int* starts) {
  const int index = static_cast<int>(blockIdx.x), count = static_cast<int>(gridDim.x);
  const Segment s = segments[index];
  for (int head = static_cast<int>(threadIdx.x); head < heads; head += static_cast<int>(blockDim.x)) {
    const int first = sizes.first(s, index, head);
    starts[index * heads + head] = first;
    starts[(count + index) * heads + head] = first + sizes.size(index, head);
  }
}

/// Scores (key rows, G) as they were given.  Grid: tiles of keys, key/value heads.  Block: 64 threads.
template <class T>
__global__ void given_scores(Segments segments, const T* given, float* scores) {
  const Segment s = segments.find(static_cast<int>(blockIdx.x), &Segment::key_tile);
  const int j = (static_cast<int>(blockIdx.x) - s.key_tile) * tile + static_cast<int>(threadIdx.x);
  const std::int64_t at = (static_cast<std::int64_t>(s.k_row) + j) * gridDim.y + blockIdx.y;
  if (j < s.keys) scores[at] = cuda::to_float(given[at]);
}

/// scores (key rows, G) of the keys that were not kept apart: |v - recalled / weights| summed over the query heads of a range that
/// share v, see RecallError; recalled (key rows, heads, D) and weights (key rows, heads) are the sums over all earlier keys.
/// Grid: tiles of keys, key/value heads of the range; a warp per row.
template <class T>
__global__ void recall_errors(Segments segments, HeadRange heads, const T* v, const float* recalled, const float* weights,
                              float* scores) {
  const Segment s = segments.find(static_cast<int>(blockIdx.x), &Segment::key_tile);
  const int first = (static_cast<int>(blockIdx.x) - s.key_tile) * tile, lane = static_cast<int>(threadIdx.x) % 32;
  const int local = static_cast<int>(blockIdx.y), key_head = heads.first_key_head() + local;
  for (int j = first + static_cast<int>(threadIdx.x) / 32; j < min(first + tile, s.keys); j += tile_threads / 32) {
    if (j < s.apart) continue;  // cached keys have theirs
    const std::int64_t row = static_cast<std::int64_t>(s.k_row) + j, at_v = (row * heads.keys + key_head) * heads.size;
    float error = 0;
    for (int h = local * heads.group; h < (local + 1) * heads.group; ++h) {
      const std::int64_t at = row * heads.count + h;
      const float inverse = 1.0F / (weights[at] + static_cast<float>(linear_epsilon));
      float sum = 0;
      for (int c = lane; c < heads.size; c += 32) {
        const float off = cuda::to_float(v[at_v + c]) - recalled[at * heads.size + c] * inverse;
        sum = fmaf(off, off, sum);
      }
      error += sqrtf(cuda::warp_sum(sum));
    }
    if (lane == 0) scores[row * heads.keys + key_head] = error;
  }
}

/// Row j of far_k and far_v (key rows, G, D) is that of the key that loses its place when key j leaves the window; zeros before
/// `starts` (segments, G), where no key does.  Grid: tiles of keys, key/value heads.
template <class T>
__global__ void gather_evicted(Segments segments, const int* evicts, const int* starts, int size, const T* k, const T* v, T* far_k,
                               T* far_v) {
  const int index = segments.index_of(static_cast<int>(blockIdx.x), &Segment::key_tile);
  const Segment s = segments[index];
  const int heads = static_cast<int>(gridDim.y), head = static_cast<int>(blockIdx.y);
  const int first = (static_cast<int>(blockIdx.x) - s.key_tile) * tile, count = min(tile, s.keys - first);
  const int start = starts[index * heads + head];
  const auto row = [&](int key) { return (static_cast<std::int64_t>(s.k_row) + key) * heads + head; };
  for (int i = static_cast<int>(threadIdx.x); i < count * size; i += static_cast<int>(blockDim.x)) {
    const int key = first + i / size, c = i % size;
    const std::int64_t to = row(key) * size + c, from = key < start ? 0 : row(evicts[row(key)]) * size + c;
    far_k[to] = key < start ? cuda::from_float<T>(0.0F) : k[from];
    far_v[to] = key < start ? cuda::from_float<T>(0.0F) : v[from];
  }
}

/// And back: row j of `to` (key rows, heads here, width) is the row of `from` where key j was gathered, zeros if it was not.
/// `per` of these heads share a key/value head, of `all` from `first` on.  Grid: tiles of keys, heads.
template <class = void>
__global__ void scatter_evicted(Segments segments, const int* evicted_by, int all, int first_key_head, int per, int width,
                                const float* from, float* to) {
  const Segment s = segments.find(static_cast<int>(blockIdx.x), &Segment::key_tile);
  const int heads = static_cast<int>(gridDim.y), head = static_cast<int>(blockIdx.y);
  const int first = (static_cast<int>(blockIdx.x) - s.key_tile) * tile, count = min(tile, s.keys - first);
  for (int i = static_cast<int>(threadIdx.x); i < count * width; i += static_cast<int>(blockDim.x)) {
    const std::int64_t key = static_cast<std::int64_t>(s.k_row) + first + i / width;
    const int c = i % width, at = evicted_by[key * all + first_key_head + head / per];
    const auto number = [&](std::int64_t row) { return (row * heads + head) * width + c; };
    to[number(key)] = at < s.keys ? from[number(static_cast<std::int64_t>(s.k_row) + at)] : 0.0F;
  }
}

/// Finds out which keys are near and far beside the window, and holds the memory that says so.  Without a cache: nothing to do.
template <class T, class Map, Window W, MemoryPolicy M>
class CachePass {
 public:
  using C = Call<T, Map, W, M>;

  /// Decoding slots pass their places, S and z, all by segment, and scores (key rows, G), of which those of keys kept apart and
  /// those that were given are there already; and what keys have received before (key rows, G), which goes on.
  struct Slots {
    const CacheRows<T>* places = nullptr;
    float* const* sums = nullptr;
    float* const* weights = nullptr;
    float* scores = nullptr;
    float* received = nullptr;
  };

  CachePass(const C& call, const Plan& plan, const Slots& slots = {}) : space_(call.stream()), keys_(call.keys_as_they_are()) {
    if constexpr (C::cached) run(call, plan, slots);
  }

  const KeySets<T>& keys() const { return keys_; }
  CacheSizes<T> sizes() const { return sizes_; }

 private:
  void run(const C& call, const Plan& plan, const Slots& slots) {
    const auto& p = call.problem();
    const Index heads = p.heads.keys, numbers = plan.key_rows * heads, starts_of_all = static_cast<Index>(plan.segments.size()) * heads;
    const auto segment_piece = plan.reserve(space_);
    const auto ends = space_.template add<int>(plan.key_rows), until = space_.template add<int>(numbers),
               most = space_.template add<int>(plan.key_tiles * heads), evicted_by = space_.template add<int>(numbers),
               evicts = space_.template add<int>(C::far ? numbers : 0), starts = space_.template add<int>(2 * starts_of_all);
    const auto own_scores = space_.template add<float>(slots.scores ? 0 : numbers);
    const auto far_rows = space_.template add<T>(C::far ? 2 * numbers * p.heads.size : 0);
    space_.allocate();
    const Segments segments = plan.upload(call.backend(), segment_piece);
    const auto by_key_tile = [&](int threads) {
      return cuda::Launch{dim3(static_cast<unsigned>(plan.key_tiles), static_cast<unsigned>(heads)), static_cast<unsigned>(threads), call.stream()};
    };
    sizes_ = {slots.places, p.weights.cache_sizes ? p.weights.cache_sizes.value.data : nullptr, static_cast<int>(M::Cache::size), C::sinks};
    cuda::launch("attention: window", window_ends<W>, {static_cast<unsigned>(plan.key_tiles), tile, call.stream()}, segments,
                 p.window, ends.data());
    cuda::launch("attention: first keys of caches", cache_starts<T>, {static_cast<unsigned>(segments.count), 32, call.stream()},
                 segments, sizes_, static_cast<int>(heads), starts.data());
    float* const scores = slots.scores ? slots.scores : own_scores.data();
    if constexpr (recalls_values<M>) {
      recall(call, plan, starts.data(), slots, scores);
    } else if constexpr (counts_attention<M>) {
      received_attention(call, plan, segments, ends.data(), slots.received, scores);
    } else if (!slots.scores) {
      cuda::launch("attention: given scores", given_scores<T>, by_key_tile(tile), segments, p.weights.score.value().data, scores);
    }
    const CacheLives lives{until.data(), most.data(), evicted_by.data(), evicts.data()};
    cuda::launch("attention: cache", cache_lives<T>, by_key_tile(tile), segments, sizes_, static_cast<const int*>(ends.data()), scores,
                 lives);
    keys_.cached = {lives.until, lives.most, static_cast<int>(heads)};
    keys_.evicted_by = lives.evicted_by;
    if constexpr (C::far) {
      T *const far_k = far_rows.data(), *const far_v = far_k + numbers * p.heads.size;
      keys_.starts = starts.data() + starts_of_all;
      cuda::launch("attention: far keys in order", gather_evicted<T>, by_key_tile(tile_threads), segments,
                   static_cast<const int*>(lives.evicts), keys_.starts, static_cast<int>(p.heads.size), p.k.data, p.v.data, far_k,
                   far_v);
      keys_.far_k = far_k;
      keys_.far_v = far_v;
    }
  }

  /// Scores of new keys: a pass of keys over the keys before them, in float, so that how a sequence is cut decides no ties.
  void recall(const C& call, const Plan& plan, const int* starts, const Slots& slots, float* scores) const {
    const auto& p = call.problem();
    Plan keys;
    for (const Segment& s : plan.segments) {
      keys.add({.q_row = s.k_row, .k_row = s.k_row, .queries = s.keys, .keys = s.keys, .apart = s.apart});
    }
    const Index F = call.features(), D = p.heads.size, rows = plan.key_rows;
    call.choose_chunks(keys, call.all_heads(), static_cast<int>(D));
    call.for_heads(rows, F + D + 1, [&](const HeadRange& r) {
      Workspace space(call.stream());
      const auto segment_piece = keys.reserve(space);
      const auto phi = space.template add<float>(rows * call.key_maps(r) * F), recalled = space.template add<float>(rows * r.count * D),
                 weights = space.template add<float>(rows * r.count),
                 chunk_states = space.template add<float>(far_chunk_floats(keys, r.count, r.features, r.size));
      space.allocate();
      FarSum<float, T> sum;
      sum.segments = keys.upload(call.backend(), segment_piece);
      call.run_features(call.map_inputs(Side::key, sum.segments, r, p.k.data, {}), keys.key_tiles, phi.data());
      sum.start = call.far_start(starts, r);
      sum.left = sum.right = call.feature_rows(phi.data(), call.key_maps(r), call.key_map_group(r));
      sum.values = call.key_rows(p.v.data, r);
      sum.out = recalled.data();
      sum.weights = weights.data();
      sum.slot_sums = slots.sums;
      sum.slot_weights = slots.weights;
      sum.keeps_slots = true;
      sum.first_head = r.first;
      launch_far_sum<float>(call.stream(), sum, keys, r.count, chunk_states.data());
      cuda::launch("attention: recall errors", recall_errors<T>,
                   {dim3(static_cast<unsigned>(keys.key_tiles), static_cast<unsigned>(r.key_heads())), tile_threads, call.stream()},
                   sum.segments, r, p.v.data, static_cast<const float*>(recalled.data()), static_cast<const float*>(weights.data()), scores);
    });
  }

  Workspace space_;
  KeySets<T> keys_;
  CacheSizes<T> sizes_;
};

}  // namespace lolcats::general
