// Attention on a GPU, general path: which kernels run in which order.  Any head size, map and window.
#pragma once

#include <lolcats/ops/attention/cuda_backward.cuh>
#include <lolcats/ops/attention/cuda_features.cuh>
#include <lolcats/ops/attention/cuda_forward.cuh>
#include <lolcats/tape/tape.hpp>

#include <algorithm>

namespace lolcats::general {

/// Bytes of features and their like that a call keeps at once; more heads are taken one group after the other.
inline constexpr Index scratch_budget = Index{256} << 20;

/// One call: a problem, its sequences, and what the policy makes of it.
template <class T, class Map, Window W>
class Call {
 public:
  using B = Cuda<T>;
  static constexpr bool near = W::has_near;
  static constexpr bool far = W::has_far && !std::is_same_v<Map, NoMap>;
  static constexpr bool given = std::is_same_v<Map, GivenFeatures>;

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
    return {static_cast<int>(n.queries), static_cast<int>(n.keys),     static_cast<int>(n.group()),
            static_cast<int>(n.size),    static_cast<int>(features()), 0,
            static_cast<int>(n.queries)};
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

  void run_window(Segments segments, const Plan& plan, int* begins) const {
    cuda::launch("attention: window", window_begins<W>, {static_cast<unsigned>(plan.query_tiles), tile, stream()},
                 segments, p_.window, begins);
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

/// Are there rows that no sequence holds?
inline bool has_padding(const Sequences& sequences) {
  Index rows = 0;
  for (const Extent& e : sequences.extents()) rows += e.length;
  return rows < sequences.rows();
}

/// y (M, H * D) and, unless null, the row statistics (M, H), of the heads of a range.  Key features come from `given_keys`
/// where the policy gives them; S and z of decoding slots, by segment, where there are such.
template <class T, class Map, Window W>
void forward_heads(const Call<T, Map, W>& call, const Plan& plan, Segments segments, const HeadRange& r,
                   const int* begins, View<const T> given_keys, View<T> y,
                   const AttentionStatistics<Cuda<T>>& statistics, float* const* slot_sums = nullptr,
                   float* const* slot_weights = nullptr) {
  using C = Call<T, Map, W>;
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
    call.run_features(call.map_inputs(Side::key, segments, r, p.k.data, given_keys), plan.key_tiles, phi_k.data());
    FarSum<float, T> sum;
    sum.segments = segments;
    sum.bounds = begins;
    sum.left = call.feature_rows(phi_q.data(), r.count, 1);
    sum.right = call.feature_rows(phi_k.data(), call.key_maps(r), call.key_map_group(r));
    sum.values = call.key_rows(p.v.data, r);
    sum.out = far.data();
    sum.weights = far_weights.data();
    sum.slot_sums = slot_sums;
    sum.slot_weights = slot_weights;
    sum.first_head = r.first;
    launch_far_sum<T>(call.stream(), sum, plan, r.count, chunk_states.data());
  }
  Attend<T> a = call.attend_arguments(segments, r, begins);
  a.far = far.data();
  a.far_weights = far_weights.data();
  a.y = y.data;
  a.largest = statistics.largest.data;
  a.inverse_denominator = statistics.inverse_denominator.data;
  a.largest_at = statistics.largest_at.data;
  launch_attend(call.stream(), a, plan);
}

/// y (M, H * D) and, unless null, the row statistics (M, H).
template <class Map, Window W, class T>
void forward(const Cuda<T>& backend, const AttentionProblem<Cuda<T>, W>& p, View<T> y,
             const AttentionStatistics<Cuda<T>>& statistics) {
  using C = Call<T, Map, W>;
  const C call(backend, p);
  if (y && has_padding(*p.sequences)) backend.zero(y.data, y.size());
  if (p.sequences->count() == 0) return;
  Plan plan(*p.sequences);
  call.choose_chunks(plan, call.all_heads(), static_cast<int>(p.heads.size));
  const Index rows = p.sequences->rows();
  Workspace space(call.stream());
  const auto segment_piece = plan.reserve(space);
  const auto begins = space.add<int>(rows);
  space.allocate();
  const Segments segments = plan.upload(backend, segment_piece);
  call.run_window(segments, plan, begins.data());
  const View<const T> given_keys = C::given ? p.weights.key_features.value() : View<const T>{};
  call.for_heads(rows, C::far ? 2 * call.features() + p.heads.size + 1 : 0, [&](const HeadRange& r) {
    forward_heads(call, plan, segments, r, begins.data(), given_keys, y, statistics);
  });
}

/// From dphi (rows, maps, F) to the gradients of W and b, leaving dz behind in its place.
template <class Map, class T>
void pull_map(cudaStream_t stream, const MapInputs<T>& in, int tiles, float* dphi, const Weight<Cuda<T>>& map,
              const Weight<Cuda<T>>& bias, Index first_map) {
  pull_features<Map>(stream, in, tiles, dphi);
  if (!map.trained() && !bias.trained()) return;
  const int across = (in.width + tile - 1) / tile, down = (in.size + tile - 1) / tile, stride = Map::count * in.width;
  const int splits = std::clamp(4 * cuda::device().multiprocessors / std::max(1, across * down * in.maps), 1, tiles);
  const Index map_size = Index{in.maps} * in.size * in.width, bias_size = Index{in.maps} * in.width;
  cuda::Scratch<float> parts(splits * (map_size + bias_size), stream);
  float* bias_parts = parts.data() + splits * map_size;
  cuda::launch(
      "attention: gradients of maps", map_gradients<T>,
      {dim3(static_cast<unsigned>(across * down), static_cast<unsigned>(in.maps), static_cast<unsigned>(splits)),
       tile_threads, stream, sizeof(float) * 3 * tile_floats},
      in, static_cast<const float*>(dphi), stride, tiles, parts.data(), bias_parts);
  const auto add = [&](const float* from, Index part, int width, Index count, float* to) {
    cuda::launch("attention: sum of parts", add_parts<>, {cuda::blocks_for(count, 256), 256, stream}, from, splits,
                 part, width, count, to);
  };
  if (map.trained()) add(parts.data(), map_size, 1, map_size, map.gradient.data + first_map * in.size * in.width);
  if (!bias.trained()) return;
  if (Map::bias == Bias::vector) add(bias_parts, bias_size, 1, bias_size, bias.gradient.data + first_map * in.width);
  if (Map::bias == Bias::head) add(bias_parts, bias_size, in.width, in.maps, bias.gradient.data + first_map);
}

/// Adds what is wanted of q, k, v, given features, maps, biases and window factors.
template <class Map, Window W, class T>
void backward(Tape<Cuda<T>>& tape, const AttentionProblem<Cuda<T>, W>& p, View<const T> y, View<const T> dy,
              const AttentionStatistics<Cuda<T>>& statistics, const AttentionSinks<Cuda<T>>& sinks) {
  using C = Call<T, Map, W>;
  const Cuda<T>& backend = tape.backend();
  const C call(backend, p);
  const cudaStream_t stream = call.stream();
  const AttentionWeights<Cuda<T>>& w = p.weights;
  const bool padding = has_padding(*p.sequences) || p.sequences->count() == 0;
  for (const Sink<T>* sink : {&sinks.q, &sinks.k, &sinks.v, &sinks.query_features, &sinks.key_features}) {
    if (padding && sink->gradient && !sink->add) backend.zero(sink->gradient.data, sink->gradient.size());
  }
  if (p.sequences->count() == 0) return;

  const bool q_wanted = static_cast<bool>(sinks.q.gradient), k_wanted = static_cast<bool>(sinks.k.gradient),
             v_wanted = static_cast<bool>(sinks.v.gradient);
  const bool query_map_wanted = w.query_map.trained() || w.query_bias.trained();
  const bool key_map_wanted = w.key_map.trained() || w.key_bias.trained();
  const bool factors_wanted = C::far && w.window_factors.trained();
  const bool near_scores_wanted = C::near && (q_wanted || k_wanted);
  const bool dphi_k_wanted = C::far && (k_wanted || key_map_wanted || sinks.key_features.gradient);
  constexpr bool rounds = std::is_same_v<T, bf16>;  // then dy . y is corrected, which takes both sides
  const bool dphi_q_wanted = (C::far && (near_scores_wanted || q_wanted || query_map_wanted || factors_wanted ||
                                         sinks.query_features.gradient)) ||
                             (rounds && dphi_k_wanted);
  const bool dv_far_wanted = C::far && v_wanted;

  Plan plan(*p.sequences);
  const Index rows = p.sequences->rows(), F = call.features(), D = p.heads.size;
  call.choose_chunks(plan, call.all_heads(), static_cast<int>(std::max(F, D)));
  call.for_heads(rows, C::far ? 4 * F + D + 2 : 0, [&](const HeadRange& r) {
    const Index H = p.heads.queries, far_heads = C::far ? r.count : 0;
    const int maps = C::far ? call.key_maps(r) : 0, group = call.key_map_group(r);
    Workspace space(stream);
    const auto segment_piece = plan.reserve(space);
    const auto begins = space.add<int>(rows), ends = space.add<int>(rows);
    const auto delta = space.add<float>(rows * H), betas = space.add<float>(H);
    const auto phi_q = space.add<float>(rows * far_heads * F), phi_k = space.add<float>(rows * maps * F);
    const auto dphi_q = space.add<float>(dphi_q_wanted ? rows * far_heads * F : 0);
    const auto dphi_k = space.add<float>(dphi_k_wanted ? rows * far_heads * F : 0);
    const auto dphi_group = space.add<float>(dphi_k_wanted && group > 1 ? rows * maps * F : 0);
    const auto dv_far = space.add<float>(dv_far_wanted ? rows * far_heads * D : 0);
    const auto dots = space.add<float>(dphi_q_wanted ? rows * far_heads : 0);
    const auto chunk_states = space.add<float>(
        C::far ? far_chunk_floats(plan, r.count, static_cast<int>(std::max(F, D + 1)), static_cast<int>(std::max(F, D)))
               : 0);
    space.allocate();
    const Segments segments = plan.upload(backend, segment_piece);
    call.run_window(segments, plan, begins.data());
    cuda::launch("attention: window", window_ends<W>, {static_cast<unsigned>(plan.key_tiles), tile, stream}, segments,
                 p.window, ends.data());
    cuda::launch("attention: dy . y", row_deltas<T>,
                 {dim3(static_cast<unsigned>(plan.query_tiles), static_cast<unsigned>(H)), tile_threads, stream},
                 segments, y.data, dy.data, static_cast<int>(D), delta.data());

    PullNear<T> pull;
    pull.forward = call.attend_arguments(segments, r, begins.data());
    pull.forward.largest = statistics.largest.data;
    pull.forward.inverse_denominator = statistics.inverse_denominator.data;
    pull.forward.largest_at = statistics.largest_at.data;
    pull.ends = ends.data();
    pull.dy = dy.data;
    pull.delta = delta.data();
    pull.far_dots = dots.data();
    pull.dz_stride = static_cast<int>(F);
    pull.width = static_cast<int>(call.f());
    if constexpr (FeatureMap<Map>) pull.skip = Map::skip;

    MapInputs<T> query_inputs, key_inputs;
    if constexpr (C::far) {
      const T* factors = w.window_factors ? w.window_factors.value.data : nullptr;
      cuda::launch("attention: 1 - gamma", head_betas<T>, {cuda::blocks_for(H, 128), 128, stream}, factors, p.affine,
                   static_cast<int>(H), betas.data());
      const View<const T> given = w.key_features ? w.key_features.value() : View<const T>{};
      query_inputs = call.map_inputs(Side::query, segments, r, p.k.data, given);
      key_inputs = call.map_inputs(Side::key, segments, r, p.k.data, given);
      const auto phi_q_rows = [&] { return call.feature_rows(phi_q.data(), r.count, 1); };
      const auto phi_k_rows = [&] { return call.feature_rows(phi_k.data(), maps, group); };
      const auto weighted = [&](auto rows_of) {  // each row over its denominator
        rows_of.rows.factors = statistics.inverse_denominator.data + r.first;
        rows_of.rows.factor_stride = H;
        return rows_of;
      };
      const auto further = [&](HeadRows<T> rows_of, const float* numbers, float sign) {
        rows_of.rows.extras = numbers;
        rows_of.rows.extra_stride = numbers ? H : 0;
        rows_of.rows.extra = sign;
        return rows_of;
      };
      const auto common = [&](auto& sum, bool reverse, float* out) {
        sum.segments = segments;
        sum.bounds = reverse ? ends.data() : begins.data();
        sum.reverse = reverse;
        sum.out = out;
        sum.head_factors = betas.data() + r.first;
      };
      if (dphi_k_wanted || dphi_q_wanted) call.run_features(query_inputs, plan.query_tiles, phi_q.data());
      if (dphi_q_wanted || dv_far_wanted) call.run_features(key_inputs, plan.key_tiles, phi_k.data());
      if (dv_far_wanted && !dphi_k_wanted && !dphi_q_wanted)
        call.run_features(query_inputs, plan.query_tiles, phi_q.data());

      const auto run_dphi_q = [&] {  // beta (S dy - z delta) / den
        FarSum<T, float> sum;
        common(sum, false, dphi_q.data());
        sum.left = further(call.query_rows(dy.data, r), delta.data() + r.first, -1.0F);
        sum.right = further(call.key_rows(p.v.data, r), nullptr, 1.0F);
        sum.values = phi_k_rows();
        sum.out_factors = statistics.inverse_denominator.data + r.first;
        sum.out_factor_stride = H;
        launch_far_sum<T>(stream, sum, plan, r.count, chunk_states.data());
      };
      if (dphi_q_wanted) {
        run_dphi_q();
        cuda::launch(
            "attention: phi . dphi", feature_dots<>,
            {dim3(static_cast<unsigned>(plan.query_tiles), static_cast<unsigned>(r.count)), tile_threads, stream},
            segments, static_cast<const float*>(phi_q.data()), static_cast<const float*>(dphi_q.data()),
            static_cast<int>(F), dots.data());
        if constexpr (rounds) {
          launch_correct_rows(stream, pull, plan.query_tiles, delta.data(), dots.data());
          if (q_wanted || query_map_wanted || sinks.query_features.gradient) run_dphi_q();
        }
        if (factors_wanted) {
          cuda::launch("attention: gradient of window factors", add_factor_gradient<T>,
                       {static_cast<unsigned>(r.count), tile_threads, stream}, segments,
                       static_cast<const float*>(dots.data()), factors + r.first, p.affine,
                       w.window_factors.gradient.data + r.first);
        }
      }
      if (dphi_k_wanted) {  // beta (R v - r)
        FarSum<T, float> sum;
        common(sum, true, dphi_k.data());
        sum.left = further(call.key_rows(p.v.data, r), nullptr, -1.0F);
        sum.right = further(call.query_rows(dy.data, r), delta.data() + r.first, 1.0F);
        sum.values = weighted(phi_q_rows());
        launch_far_sum<T>(stream, sum, plan, r.count, chunk_states.data());
      }
      if (dv_far_wanted) {  // beta R^T phi_k
        FarSum<float, T> sum;
        common(sum, true, dv_far.data());
        sum.left = phi_k_rows();
        sum.right = phi_q_rows();
        sum.values = weighted(call.query_rows(dy.data, r));
        launch_far_sum<T>(stream, sum, plan, r.count, chunk_states.data());
      }
      float* dphi_keys = group > 1 ? dphi_group.data() : dphi_k.data();
      if (dphi_k_wanted && group > 1) {
        cuda::launch("attention: sum over query heads", sum_heads<>,
                     {dim3(static_cast<unsigned>(plan.key_tiles), static_cast<unsigned>(maps)), tile_threads, stream},
                     segments, static_cast<const float*>(dphi_k.data()), group, static_cast<int>(F), dphi_keys);
      }
      if constexpr (C::given) {
        const auto give = [&](const Sink<T>& sink, const MapInputs<T>& in, int tiles, const float* dphi, Index first) {
          if (!sink.gradient) return;
          cuda::launch("attention: gradients of given features", sum_rows<T>,
                       {dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(in.maps)), tile_threads, stream}, in,
                       dphi, 1, sink.gradient.data + first * F, sink.add);
        };
        give(sinks.query_features, query_inputs, plan.query_tiles, dphi_q.data(), r.first);
        give(sinks.key_features, key_inputs, plan.key_tiles, dphi_keys, group > 1 ? r.first_key_head() : r.first);
      } else {
        if (q_wanted || query_map_wanted) {
          pull_map<Map>(stream, query_inputs, plan.query_tiles, dphi_q.data(), w.query_map, w.query_bias, r.first);
        }
        if (dphi_k_wanted) {
          pull_map<Map>(stream, key_inputs, plan.key_tiles, dphi_keys, w.key_map, w.key_bias,
                        group > 1 ? r.first_key_head() : r.first);
        }
      }
    }
    if (q_wanted) {
      if (FeatureMap<Map>) pull.dz = dphi_q.data();
      pull.map = query_inputs.map;
      pull.maps = r.count;
      launch_pull_queries(stream, pull, plan.query_tiles, sinks.q);
    }
    if (k_wanted || v_wanted) {
      pull.dz = FeatureMap<Map> && k_wanted ? (group > 1 ? dphi_group.data() : dphi_k.data()) : nullptr;
      pull.map = key_inputs.map;
      pull.maps = maps;
      pull.map_group = group;
      KeySinks<T> to;
      to.dk = sinks.k.gradient.data;
      to.dv = sinks.v.gradient.data;
      to.add_k = sinks.k.add;
      to.add_v = sinks.v.add;
      to.dv_far = dv_far.data();
      launch_pull_keys(stream, pull, plan.key_tiles, to);
    }
  });
}

}  // namespace lolcats::general
