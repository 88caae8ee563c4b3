// Attention on a GPU, general path: one call's heads, maps and rows as its kernels want them.
#pragma once

#include <lolcats/ops/attention/cuda_features.cuh>
#include <lolcats/ops/attention/cuda_forward.cuh>
#include <lolcats/tape/tape.hpp>

#include <algorithm>

namespace lolcats::general {

/// Bytes of features and their like that a call keeps at once; more heads are taken one group after the other.
inline constexpr Index scratch_budget = Index{256} << 20;

/// One call: a problem, its sequences, and what the policy makes of it.
template <class T, class Map, Window W, MemoryPolicy M = Sum>
class Call {
 public:
  using B = Cuda<T>;
  static constexpr bool near = W::has_near;
  static constexpr bool far = reads_far<Map, W>;
  static constexpr bool given = std::is_same_v<Map, GivenFeatures>;
  static constexpr bool gated = far && decays<M>;
  static constexpr bool cached = caches<M>;
  static constexpr int sinks = static_cast<int>(sinks_of<W>);

  Call(const B& backend, const AttentionProblem<B, W>& problem) : backend_(backend), p_(problem) {}

  cudaStream_t stream() const { return backend_.stream(); }
  Index f() const {  // projected features
    if constexpr (FeatureMap<Map>) return p_.weights.query_map.shape()[2];
    return given ? features() : 0;
  }
  Index features() const {
    if constexpr (FeatureMap<Map>) return feature_count<Map>(p_.weights.query_map.shape()[2]);
    if constexpr (given) return p_.weights.query_features.cols() / p_.heads.queries;
    return 0;
  }
  /// Is there one key map, or one block of key features, per key/value head instead of per query head?
  bool key_maps_per_group() const {
    if constexpr (FeatureMap<Map>) return p_.weights.key_map.shape()[0] != p_.heads.queries;
    if constexpr (given) return p_.weights.key_features.cols() != p_.heads.queries * features();
    return false;
  }

  /// All heads.
  HeadRange all_heads() const {
    const Heads& n = p_.heads;
    return {.queries = static_cast<int>(n.queries),
            .keys = static_cast<int>(n.keys),
            .group = static_cast<int>(n.group()),
            .size = static_cast<int>(n.size),
            .features = static_cast<int>(features()),
            .count = static_cast<int>(n.queries)};
  }
  /// Calls run(range) for groups of heads of which `floats` per row and query head fit into the budget.
  template <class F>
  void for_heads(Index rows, Index floats, F&& run) const {
    HeadRange range = all_heads();
    const Index per_group = std::max<Index>(1, rows * floats * range.group * static_cast<Index>(sizeof(float)));
    const int groups = static_cast<int>(std::clamp<Index>(scratch_budget / per_group, 1, range.keys));
    for (int g = 0; g < range.keys; g += groups) {
      range.first = g * range.group;
      range.count = std::min(groups, range.keys - g) * range.group;
      run(range);
    }
  }

  /// Key maps that the query heads of a range read.
  int key_maps(const HeadRange& r) const { return key_maps_per_group() ? r.key_heads() : r.count; }
  int key_map_group(const HeadRange& r) const { return key_maps_per_group() ? r.group : 1; }

  /// Rows, W and b of the maps of a range; k (keys, G * D) may lie elsewhere than in the problem.
  MapInputs<T> map_inputs(Side side, Segments segments, const HeadRange& r, const T* k,
                          View<const T> given_keys) const {
    MapInputs<T> in;
    in.segments = segments;
    in.side = side;
    const bool query = side == Side::query;
    const bool per_group = !query && key_maps_per_group();
    const Index first = per_group ? r.first_key_head() : r.first;  // map
    in.maps = query ? r.count : key_maps(r);
    if constexpr (given) {
      const View<const T> x = query ? p_.weights.query_features.value() : given_keys;
      in.size = static_cast<int>(features());
      in.x = x.data + first * in.size;
      in.x_stride = x.cols();
    } else if constexpr (FeatureMap<Map>) {
      const AttentionWeights<B>& w = p_.weights;
      in.size = r.size;
      in.width = static_cast<int>(f());
      in.per_head = !query && !per_group ? r.group : 1;
      in.x = query ? p_.q.data + r.first * r.size : k + r.first_key_head() * r.size;
      in.x_stride = query ? p_.q.cols() : p_.k.cols();
      in.map = (query ? w.query_map : w.key_map).value.data + first * in.size * in.width;
      const View<const T> bias = (query ? w.query_bias : w.key_bias).value;
      if (Map::bias != Bias::none) in.bias = bias.data + first * (Map::bias == Bias::head ? 1 : in.width);
    }
    return in;
  }

  /// phi (rows, maps, F).
  void run_features(const MapInputs<T>& in, int tiles, float* phi) const {
    if constexpr (given) {
      cuda::launch("attention: given features", copy_rows<T>,
                   {dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(in.maps)), tile_threads, stream()}, in,
                   phi);
    } else if constexpr (FeatureMap<Map>) {
      map_features<Map>(stream(), in, tiles, phi);
    }
  }

  /// Keys without a cache, which become far in the order in which they are.
  KeySets<T> keys_as_they_are() const { return {{}, p_.k.data, p_.v.data}; }
  FarStart far_start(const int* starts, const HeadRange& r) const {
    return {sinks, starts, static_cast<int>(p_.heads.keys), r.group, r.first};
  }

  void run_window(Segments segments, const Plan& plan, int* begins) const {
    cuda::launch("attention: window", window_begins<W>, {static_cast<unsigned>(plan.query_tiles), tile, stream()},
                 segments, p_.window, begins);
  }

  /// What a gate's kernels read; G (key rows, sums) of all segments; and that G as the heads of a range see it.
  GateInputs<T> gate_inputs() const {
    const AttentionWeights<B>& w = p_.weights;
    return {w.gate_bias.value.data, w.gate ? w.gate.value().data : nullptr, static_cast<int>(w.gate_bias.value.size())};
  }
  Index gate_sums() const { return gated ? p_.weights.gate_bias.value.size() : 0; }
  void run_gate(Segments segments, const DecayRing* rings, double* running) const {
    if constexpr (gated) {
      cuda::launch("attention: running decay", run_decay<typename M::Gate, T>,
                   {dim3(static_cast<unsigned>(segments.count), static_cast<unsigned>(gate_sums())), scan_threads, stream()},
                   segments, gate_inputs(), rings, running);
    }
  }
  RunningDecay decay_of(const HeadRange& r, const double* running) const {
    if constexpr (!gated) return {};
    return {running, static_cast<int>(gate_sums()), static_cast<int>(p_.heads.queries / std::max<Index>(1, gate_sums())), r.first};
  }

  /// Rows of q (M, H * D) or of something like it.
  HeadRows<T> query_rows(const T* x, const HeadRange& r) const {
    return {{x + static_cast<Index>(r.first) * r.size, p_.heads.queries * r.size, r.size}, r.size, 1};
  }
  HeadRows<T> key_rows(const T* x, const HeadRange& r) const {
    return {{x + static_cast<Index>(r.first_key_head()) * r.size, p_.heads.keys * r.size, r.size}, r.size, r.group};
  }
  /// Rows of features (rows, maps, F) of this range.
  HeadRows<float> feature_rows(const float* phi, int maps, int per) const {
    const int F = static_cast<int>(features());
    return {{phi, Index{maps} * F, F}, F, per};
  }

  /// Cuts sequences where a walk along whole ones would leave the chip idle; states have `width` columns.
  void choose_chunks(Plan& plan, const HeadRange& r, int width) const {
    const int walks = static_cast<int>(plan.segments.size()) * r.count * ((width + tile - 1) / tile);
    const int blocks = 2 * cuda::device().multiprocessors;  // that run at the same time
    int longest = 1;
    for (const Segment& s : plan.segments) longest = std::max(longest, s.query_tiles());
    int tiles = longest;
    if (walks < blocks) {
      const Index all = Index{plan.query_tiles} * r.count * ((width + tile - 1) / tile);
      tiles = static_cast<int>(std::clamp<Index>((all + 2 * blocks - 1) / (2 * blocks), 4, longest < 4 ? 4 : longest));
    }
    plan.split(tiles);
  }

  Attend<T> attend_arguments(Segments segments, const HeadRange& r, const int* begins) const {
    Attend<T> a;
    a.segments = segments;
    a.begins = begins;
    a.heads = r;
    a.near = near;
    a.sinks = sinks;
    a.affine = p_.affine;
    a.q = p_.q.data;
    a.k = p_.k.data;
    a.v = p_.v.data;
    a.window_factors = p_.weights.window_factors ? p_.weights.window_factors.value.data : nullptr;
    return a;
  }

  const AttentionProblem<B, W>& problem() const { return p_; }
  const B& backend() const { return backend_; }

 private:
  B backend_;
  const AttentionProblem<B, W>& p_;
};

/// y (M, H * D) and, unless null, the row statistics (M, H), of the heads of a range.  Key features come from `given_keys`
/// where the policy gives them; `running` is the gate's G; S and z of decoding slots, by segment, where there are such.
template <class T, class Map, Window W, MemoryPolicy M>
void forward_heads(const Call<T, Map, W, M>& call, const Plan& plan, Segments segments, const HeadRange& r,
                   const int* begins, const KeySets<T>& keys, const double* running, View<const T> given_keys, View<T> y,
                   const AttentionStatistics<Cuda<T>>& statistics, float* const* slot_sums = nullptr,
                   float* const* slot_weights = nullptr) {
  using C = Call<T, Map, W, M>;
  const AttentionProblem<Cuda<T>, W>& p = call.problem();
  const Index rows = p.sequences->rows(), F = call.features(), D = p.heads.size, heads = C::far ? r.count : 0;
  Workspace space(call.stream());
  const auto phi_q = space.add<float>(rows * heads * F), far = space.add<float>(rows * heads * D),
             far_weights = space.add<float>(rows * heads);
  const auto phi_k = space.add<float>(C::far ? Index{plan.key_rows} * call.key_maps(r) * F : 0);
  const auto chunk_states = space.add<float>(C::far ? far_chunk_floats(plan, r.count, r.features, r.size) : 0);
  space.allocate();
  if constexpr (C::far) {
    call.run_features(call.map_inputs(Side::query, segments, r, p.k.data, given_keys), plan.query_tiles, phi_q.data());
    call.run_features(call.map_inputs(Side::key, segments, r, keys.far_k, given_keys), plan.key_tiles, phi_k.data());
    FarSum<float, T> sum;
    sum.segments = segments;
    sum.bounds = begins;
    sum.start = call.far_start(keys.starts, r);
    sum.decay = call.decay_of(r, running);
    sum.left = call.feature_rows(phi_q.data(), r.count, 1);
    sum.right = call.feature_rows(phi_k.data(), call.key_maps(r), call.key_map_group(r));
    sum.values = call.key_rows(keys.far_v, r);
    sum.out = far.data();
    sum.weights = far_weights.data();
    sum.slot_sums = slot_sums;
    sum.slot_weights = slot_weights;
    sum.first_head = r.first;
    launch_far_sum<T>(call.stream(), sum, plan, r.count, chunk_states.data());
  }
  Attend<T> a = call.attend_arguments(segments, r, begins);
  a.cached = keys.cached;
  a.far = far.data();
  a.far_weights = far_weights.data();
  a.y = y.data;
  a.largest = statistics.largest.data;
  a.inverse_denominator = statistics.inverse_denominator.data;
  a.largest_at = statistics.largest_at.data;
  launch_attend(call.stream(), a, plan);
}

}  // namespace lolcats::general
