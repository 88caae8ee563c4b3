// Attention on a GPU, general path: which kernels run in which order.  Any head size, map and window.
#pragma once

#include <lolcats/ops/attention/cuda_backward_maps.cuh>
#include <lolcats/ops/attention/cuda_backward_near.cuh>
#include <lolcats/ops/attention/cuda_key_sets.cuh>

namespace lolcats::general {

/// y (M, H * D) and, unless null, the row statistics (M, H).
template <class Map, MemoryPolicy M = Sum, Window W, class T>
void forward(const Cuda<T>& backend, const AttentionProblem<Cuda<T>, W>& p, View<T> y,
             const AttentionStatistics<Cuda<T>>& statistics) {
  using C = Call<T, Map, W, M>;
  const C call(backend, p);
  if (y && p.sequences->padded()) backend.zero(y.data, y.size());
  if (p.sequences->count() == 0) return;
  Plan plan(*p.sequences);
  call.choose_chunks(plan, call.all_heads(), static_cast<int>(p.heads.size));
  const Index rows = p.sequences->rows();
  Workspace space(call.stream());
  const auto segment_piece = plan.reserve(space);
  const auto begins = space.add<int>(rows);
  const auto running = space.add<double>(rows * call.gate_sums());
  space.allocate();
  const Segments segments = plan.upload(backend, segment_piece);
  call.run_window(segments, plan, begins.data());
  call.run_gate(segments, nullptr, running.data());
  const CachePass<T, Map, W, M> pass(call, plan);
  const View<const T> given_keys = C::given ? p.weights.key_features.value() : View<const T>{};
  call.for_heads(rows, C::far ? 2 * call.features() + p.heads.size + 1 : 0, [&](const HeadRange& r) {
    forward_heads(call, plan, segments, r, begins.data(), pass.keys(), running.data(), given_keys, y, statistics);
  });
}

/// What a backward pass is asked for, and what it needs for that.
struct BackwardNeeds {
  bool q, k, v;
  bool query_map, key_map, factors;  // W or b; window factors
  bool gate;                         // its input or its bias
  bool dphi_q, dphi_k, dv_far;       // gradients of features, and far keys' share of dv

  template <class C, class T>
  static BackwardNeeds of(const AttentionWeights<Cuda<T>>& w, const AttentionSinks<Cuda<T>>& sinks) {
    BackwardNeeds n;
    n.q = static_cast<bool>(sinks.q.gradient);
    n.k = static_cast<bool>(sinks.k.gradient);
    n.v = static_cast<bool>(sinks.v.gradient);
    n.query_map = w.query_map.trained() || w.query_bias.trained();
    n.key_map = w.key_map.trained() || w.key_bias.trained();
    n.factors = C::far && w.window_factors.trained();
    n.gate = C::gated && (w.gate_bias.trained() || sinks.gate.gradient);
    n.dv_far = C::far && n.v;
    n.dphi_k = C::far && (n.k || n.key_map || n.gate || sinks.key_features.gradient);
    const bool near_scores = C::near && (n.q || n.k);
    constexpr bool rounds = std::is_same_v<T, bf16>;  // then dy . y is corrected, which takes both sides
    n.dphi_q = (C::far && (near_scores || n.q || n.query_map || n.factors || n.gate || sinks.query_features.gradient)) ||
               (rounds && n.dphi_k);
    return n;
  }
};

/// The backward pass of the heads of a range: far keys first, as near ones read phi_q . dphi_q.
template <class T, class Map, Window W, MemoryPolicy M>
class BackwardOfHeads {
 public:
  using C = Call<T, Map, W, M>;
  using B = Cuda<T>;

  BackwardOfHeads(const C& call, const Plan& plan, const KeySets<T>& keys, const HeadRange& range, const BackwardNeeds& needs,
                  const AttentionStatistics<B>& statistics, const AttentionSinks<B>& sinks)
      : call_(call),
        plan_(plan),
        keys_(keys),
        r_(range),
        needs_(needs),
        statistics_(statistics),
        sinks_(sinks),
        maps_(C::far ? call.key_maps(range) : 0),
        group_(call.key_map_group(range)),
        space_(call.stream()) {}

  void operator()(View<const T> y, View<const T> dy) {
    dy_ = dy.data;
    allocate();
    const AttentionProblem<B, W>& p = call_.problem();
    segments_ = plan_.upload(call_.backend(), segment_piece_);
    call_.run_window(segments_, plan_, begins_.data());
    cuda::launch("attention: window", window_ends<W>, {static_cast<unsigned>(plan_.key_tiles), tile, call_.stream()},
                 segments_, p.window, ends_.data());
    call_.run_gate(segments_, nullptr, running_.data());
    cuda::launch("attention: dy . y", row_dots<T>, by_query_tile(static_cast<int>(H())), segments_, y.data, dy.data,
                 r_.size, delta_.data());
    near_.forward = call_.attend_arguments(segments_, r_, begins_.data());
    near_.forward.cached = keys_.cached;
    near_.forward.largest = statistics_.largest.data;
    near_.forward.inverse_denominator = statistics_.inverse_denominator.data;
    near_.forward.largest_at = statistics_.largest_at.data;
    near_.ends = ends_.data();
    near_.dy = dy.data;
    near_.delta = delta_.data();
    near_.far_dots = dots_.data();
    near_.through.dz_stride = static_cast<int>(F());
    near_.through.size = r_.size;
    near_.through.width = static_cast<int>(call_.f());
    if constexpr (FeatureMap<Map>) near_.through.skip = Map::skip;
    if constexpr (C::far) {
      far_sums();
      give_features();
    }
    pull_rows();
  }

 private:
  Index H() const { return call_.problem().heads.queries; }
  Index F() const { return call_.features(); }

  void allocate() {
    const Index rows = call_.problem().sequences->rows(), D = r_.size, heads = C::far ? r_.count : 0;
    segment_piece_ = plan_.reserve(space_);
    begins_ = space_.template add<int>(rows);
    ends_ = space_.template add<int>(rows);
    running_ = space_.template add<double>(rows * call_.gate_sums());
    const auto floats = [&](Index count) { return space_.template add<float>(count); };
    delta_ = floats(rows * H());
    betas_ = floats(H());
    phi_q_ = floats(rows * heads * F());
    phi_k_ = floats(rows * maps_ * F());
    dphi_q_ = floats(needs_.dphi_q ? rows * heads * F() : 0);
    dphi_k_ = floats(needs_.dphi_k ? rows * heads * F() : 0);
    dphi_group_ = floats(needs_.dphi_k && group_ > 1 ? rows * maps_ * F() : 0);
    dv_far_ = floats(needs_.dv_far ? rows * heads * D : 0);
    dv_in_order_ = floats(needs_.dv_far && C::cached ? rows * heads * D : 0);
    dots_ = floats(needs_.dphi_q ? rows * heads : 0);
    key_dots_ = floats(needs_.gate ? rows * heads : 0);
    chunk_states_ = floats(C::far ? far_chunk_floats(plan_, r_.count, static_cast<int>(std::max(F(), D + 1)),
                                                     static_cast<int>(std::max(F(), D)))
                                  : 0);
    space_.allocate();
  }

  cuda::Launch by_query_tile(int heads) const {
    return {dim3(static_cast<unsigned>(plan_.query_tiles), static_cast<unsigned>(heads)), tile_threads, call_.stream()};
  }
  cuda::Launch by_key_tile(int maps) const {
    return {dim3(static_cast<unsigned>(plan_.key_tiles), static_cast<unsigned>(maps)), tile_threads, call_.stream()};
  }
  HeadRows<float> phi_q_rows() const { return call_.feature_rows(phi_q_.data(), r_.count, 1); }
  HeadRows<float> phi_k_rows() const { return call_.feature_rows(phi_k_.data(), maps_, group_); }
  HeadRows<T> values() const { return call_.key_rows(keys_.far_v, r_); }
  HeadRows<T> output_gradients() const { return call_.query_rows(dy_, r_); }

  /// Each row over its denominator.
  template <class R>
  HeadRows<R> weighted(HeadRows<R> rows) const {
    rows.rows.factors = statistics_.inverse_denominator.data + r_.first;
    rows.rows.factor_stride = H();
    return rows;
  }
  /// Rows with a further column: `numbers`, or a constant, times `sign`.
  HeadRows<T> extended(HeadRows<T> rows, const float* numbers, float sign) const {
    rows.rows.extras = numbers;
    rows.rows.extra_stride = numbers ? H() : 0;
    rows.rows.extra = sign;
    return rows;
  }
  template <class A, class V>
  FarSum<A, V> far_sum_into(float* out, bool reverse) const {
    FarSum<A, V> sum;
    sum.segments = segments_;
    sum.bounds = reverse ? ends_.data() : begins_.data();
    sum.reverse = reverse;
    sum.start = call_.far_start(keys_.starts, r_);
    sum.decay = call_.decay_of(r_, running_.data());
    sum.out = out;
    sum.head_factors = betas_.data() + r_.first;
    return sum;
  }
  template <class A, class V>
  void launch(const FarSum<A, V>& sum) const {
    launch_far_sum<T>(call_.stream(), sum, plan_, r_.count, chunk_states_.data());
  }

  /// dphi_q, dphi_k (M, heads or maps, F), far keys' share of dv (M, heads, D), and the gradient of window factors.
  void far_sums() {
    const AttentionWeights<B>& w = call_.problem().weights;
    const T* factors = w.window_factors ? w.window_factors.value.data : nullptr;
    const bool affine = call_.problem().affine;
    cuda::launch("attention: 1 - gamma", head_betas<T>, {cuda::blocks_for(H(), 128), 128, call_.stream()}, factors,
                 affine, static_cast<int>(H()), betas_.data());
    const View<const T> given = w.key_features ? w.key_features.value() : View<const T>{};
    query_inputs_ = call_.map_inputs(Side::query, segments_, r_, keys_.far_k, given);
    key_inputs_ = call_.map_inputs(Side::key, segments_, r_, keys_.far_k, given);
    if (needs_.dphi_q || needs_.dphi_k || needs_.dv_far) {
      call_.run_features(query_inputs_, plan_.query_tiles, phi_q_.data());
    }
    if (needs_.dphi_q || needs_.dv_far) call_.run_features(key_inputs_, plan_.key_tiles, phi_k_.data());

    if (needs_.dphi_q) {
      sum_dphi_q();
      cuda::launch("attention: phi . dphi", row_dots<float>, by_query_tile(r_.count), segments_,
                   static_cast<const float*>(phi_q_.data()), static_cast<const float*>(dphi_q_.data()),
                   static_cast<int>(F()), dots_.data());
      if constexpr (std::is_same_v<T, bf16>) {
        launch_correct_rows(call_.stream(), near_, plan_.query_tiles, delta_.data(), dots_.data());
        // dphi_q was computed with the rounded delta; gamma needs its dots only, which are corrected already.
        if (needs_.q || needs_.query_map || sinks_.query_features.gradient) sum_dphi_q();
      }
      if (needs_.factors) {
        cuda::launch("attention: gradient of window factors", add_factor_gradient<T>,
                     {static_cast<unsigned>(r_.count), tile_threads, call_.stream()}, segments_,
                     static_cast<const float*>(dots_.data()), factors + r_.first, affine,
                     w.window_factors.gradient.data + r_.first);
      }
    }
    if (needs_.dphi_k) sum_dphi_k();
    if (needs_.gate) pull_gate();
    if (needs_.dv_far) {  // beta R^T phi_k
      auto sum = far_sum_into<float, T>(C::cached ? dv_in_order_.data() : dv_far_.data(), true);
      sum.left = phi_k_rows();
      sum.right = phi_q_rows();
      sum.values = weighted(output_gradients());
      launch(sum);
      if constexpr (C::cached) to_keys(dv_in_order_.data(), r_.count, r_.size, dv_far_.data());
    }
  }

  /// With a cache: rows of far keys (M, heads, width), in their order, to the keys that they belong to.
  void to_keys(const float* in_order, int heads, int width, float* to) const {
    cuda::launch("attention: far keys out of order", scatter_evicted<>, by_key_tile(heads), segments_, keys_.evicted_by,
                 r_.keys, r_.first_key_head(), heads / r_.key_heads(), width, in_order, to);
  }

  void sum_dphi_q() const {  // beta (S dy - z delta) / den
    auto sum = far_sum_into<T, float>(dphi_q_.data(), false);
    sum.left = extended(output_gradients(), delta_.data() + r_.first, -1.0F);
    sum.right = extended(values(), nullptr, 1.0F);
    sum.values = phi_k_rows();
    sum.out_factors = statistics_.inverse_denominator.data + r_.first;
    sum.out_factor_stride = H();
    launch(sum);
  }

  void sum_dphi_k() const {  // beta (R v - r)
    auto sum = far_sum_into<T, float>(dphi_k_.data(), true);
    sum.left = extended(values(), nullptr, -1.0F);
    sum.right = extended(output_gradients(), delta_.data() + r_.first, 1.0F);
    sum.values = weighted(phi_q_rows());
    launch(sum);
    if (group_ == 1) return;
    cuda::launch("attention: sum over query heads", sum_heads<>, by_key_tile(maps_), segments_,
                 static_cast<const float*>(dphi_k_.data()), group_, static_cast<int>(F()), dphi_group_.data());
  }

  /// Gradients of the gate's input and bias; reads dphi_k before it turns into dz.
  void pull_gate() const {
    if constexpr (C::gated) {
      cuda::launch("attention: phi_k . dphi_k", key_dots<>, by_key_tile(r_.count), segments_,
                   static_cast<const float*>(phi_k_.data()), static_cast<const float*>(dphi_k_.data()), group_,
                   static_cast<int>(F()), key_dots_.data());
      const RunningDecay decay = call_.decay_of(r_, running_.data());
      const Weight<B>& bias = call_.problem().weights.gate_bias;
      cuda::launch("attention: gradient of the gate", pull_decay<typename M::Gate, T>,
                   {static_cast<unsigned>(r_.count / decay.per), scan_threads, call_.stream()}, segments_,
                   call_.gate_inputs(), decay, r_.count, static_cast<const float*>(dots_.data()),
                   static_cast<const float*>(key_dots_.data()), sinks_.gate.gradient.data, sinks_.gate.add,
                   bias.trained() ? bias.gradient.data : nullptr);
    }
  }

  float* dphi_of_key_maps() const { return group_ > 1 ? dphi_group_.data() : dphi_k_.data(); }
  Index first_key_map() const { return group_ > 1 ? r_.first_key_head() : r_.first; }

  /// Gradients of features on to whoever gave them, or through the maps: then dz takes their place.
  void give_features() {
    if constexpr (C::given) {
      const auto give = [&](const Sink<T>& sink, const MapInputs<T>& in, int tiles, const float* dphi, Index first) {
        if (!sink.gradient) return;
        cuda::launch("attention: gradients of given features", copy_rows_back<T>,
                     {dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(in.maps)), tile_threads, call_.stream()},
                     in, dphi, sink.gradient.data + first * F(), sink.add);
      };
      give(sinks_.query_features, query_inputs_, plan_.query_tiles, dphi_q_.data(), r_.first);
      give(sinks_.key_features, key_inputs_, plan_.key_tiles, dphi_of_key_maps(), first_key_map());
    } else {
      const AttentionWeights<B>& w = call_.problem().weights;
      if (needs_.q || needs_.query_map) {
        pull_map<Map>(call_.stream(), query_inputs_, plan_.query_tiles, dphi_q_.data(), w.query_map, w.query_bias,
                      r_.first);
      }
      if (needs_.dphi_k) {
        pull_map<Map>(call_.stream(), key_inputs_, plan_.key_tiles, dphi_of_key_maps(), w.key_map, w.key_bias,
                      first_key_map());
      }
    }
  }

  /// dq, dk and dv: near keys, and what came back through the maps.
  void pull_rows() {
    if (needs_.q) {
      if (FeatureMap<Map>) near_.through.dz = dphi_q_.data();
      near_.through.map = query_inputs_.map;
      near_.through.maps = r_.count;
      launch_pull_queries(call_.stream(), near_, plan_.query_tiles, sinks_.q);
    }
    if (!needs_.k && !needs_.v) return;
    near_.through.dz = FeatureMap<Map> && needs_.k ? dphi_of_key_maps() : nullptr;
    if constexpr (C::cached) {
      if (near_.through.dz) {  // phi_k has been read for the last time
        to_keys(near_.through.dz, maps_, static_cast<int>(F()), phi_k_.data());
        near_.through.dz = phi_k_.data();
      }
    }
    near_.through.map = key_inputs_.map;
    near_.through.maps = maps_;
    near_.map_group = group_;
    const KeySinks<T> to{sinks_.k.gradient.data, sinks_.v.gradient.data, sinks_.k.add, sinks_.v.add, dv_far_.data()};
    launch_pull_keys(call_.stream(), near_, plan_.key_tiles, to);
  }

  const C& call_;
  const Plan& plan_;
  const KeySets<T>& keys_;
  HeadRange r_;
  BackwardNeeds needs_;
  const AttentionStatistics<B>& statistics_;
  const AttentionSinks<B>& sinks_;
  int maps_, group_;  // key maps, and query heads that share one
  const T* dy_ = nullptr;
  Workspace space_;
  Segments segments_;
  PullNear<T> near_;
  MapInputs<T> query_inputs_, key_inputs_;
  Workspace::Piece<Segment> segment_piece_;
  Workspace::Piece<int> begins_, ends_;                  // (M)
  Workspace::Piece<float> delta_, betas_;                // (M, H), (H)
  Workspace::Piece<float> phi_q_, dphi_q_, dots_;        // (M, heads, F) both, phi_q . dphi_q (M, heads)
  Workspace::Piece<float> phi_k_, dphi_k_, dphi_group_;  // (M, maps, F), (M, heads, F), (M, maps, F)
  Workspace::Piece<float> dv_far_, dv_in_order_;         // (M, heads, D); with a cache, also in the order of far keys
  Workspace::Piece<float> chunk_states_;
  Workspace::Piece<double> running_;  // G (M, sums)
  Workspace::Piece<float> key_dots_;  // phi_k . dphi_k (M, heads)
};

/// Adds what is wanted of q, k, v, given features, maps, biases, window factors and gates.
template <class Map, MemoryPolicy M = Sum, Window W, class T>
void backward(Tape<Cuda<T>>& tape, const AttentionProblem<Cuda<T>, W>& p, View<const T> y, View<const T> dy,
              const AttentionStatistics<Cuda<T>>& statistics, const AttentionSinks<Cuda<T>>& sinks) {
  using C = Call<T, Map, W, M>;
  const Cuda<T>& backend = tape.backend();
  const C call(backend, p);
  const bool padding = p.sequences->padded() || p.sequences->count() == 0;
  for (const Sink<T>* sink : {&sinks.q, &sinks.k, &sinks.v, &sinks.query_features, &sinks.key_features, &sinks.gate}) {
    if (padding && sink->gradient && !sink->add) backend.zero(sink->gradient.data, sink->gradient.size());
  }
  if (p.sequences->count() == 0) return;
  const auto needs = BackwardNeeds::of<C>(p.weights, sinks);
  Plan plan(*p.sequences);
  const Index F = call.features(), D = p.heads.size;
  call.choose_chunks(plan, call.all_heads(), static_cast<int>(std::max(F, D)));
  const CachePass<T, Map, W, M> pass(call, plan);
  call.for_heads(p.sequences->rows(), C::far ? 4 * F + D + 3 : 0, [&](const HeadRange& r) {
    BackwardOfHeads<T, Map, W, M>(call, plan, pass.keys(), r, needs, statistics, sinks)(y, dy);
  });
}

}  // namespace lolcats::general
