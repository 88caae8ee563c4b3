// The attention kernel on the CPU: every head of every sequence, in parallel over key/value heads.
//
// A work item is one key/value head of one sequence.  Its query heads go one after the other: they add to the same gradients
// of k and v, and may share features of keys.  Gradients of weights, which all sequences add to, are kept apart by sequence
// and added in their order at the end (eigen_partials.hpp), so that the bits do not depend on the number of threads.
#pragma once

#include <lolcats/ops/attention/eigen_backward.hpp>
#include <lolcats/ops/attention/eigen_partials.hpp>

namespace lolcats {

template <class T, class Map, Window W, MemoryPolicy M>
struct AttentionKernel<Cpu<T>, Map, W, M> {
  using B = Cpu<T>;
  using Problem = AttentionProblem<B, W>;

  static void forward(const B& backend, const Problem& p, View<T> y, const AttentionStatistics<B>& statistics) {
    backend.zero(y.data, y.size());  // rows outside every sequence
    for_groups(p, [&](Index n, Index g) {
      const Extent& e = (*p.sequences)[n];
      Columns key_phi;  // (far keys, F), computed once where the group's query heads share a key map
      const eigen::CachePlan plan = eigen::sequence_cache<Map, M>(p, e, g);  // one for the query heads of the group
      for (Index h = g * p.heads.group(); h < (g + 1) * p.heads.group(); ++h) {
        const auto head = eigen::sequence_head<Map, M>(p, e, h, plan);
        if (h == g * p.heads.group() || !shares_key_features(p)) key_phi = eigen::all_features(head.key_features.get(), head.far_v.rows());
        eigen::FarState<T> storage(key_phi.cols(), p.heads.size);
        eigen::FarSums<T> state = storage.sums();
        eigen::attend<T, kind>(head, key_phi, state, head_rows(y, p, e, h), head_statistics(statistics, p, e, h));
      }
    });
  }

  static void backward(Tape<B>& tape, const Problem& p, View<const T> y, View<const T> dy,
                       const AttentionStatistics<B>& statistics, const AttentionSinks<B>& sinks) {
    const auto start = [&](const Sink<T>& sink) {
      if (sink.gradient && !sink.add) tape.backend().zero(sink.gradient.data, sink.gradient.size());
    };
    for (const Sink<T>* sink : {&sinks.q, &sinks.k, &sinks.v, &sinks.query_features, &sinks.key_features, &sinks.gate}) {
      start(*sink);
    }

    const typename Tape<B>::Scope scope(tape);
    const AttentionWeights<B>& w = p.weights;
    const Index count = p.sequences->count();
    const Partials query_map(tape, w.query_map, count), query_bias(tape, w.query_bias, count), key_map(tape, w.key_map, count),
        key_bias(tape, w.key_bias, count), factors(tape, w.window_factors, count), gate_bias(tape, w.gate_bias, count);

    for_groups(p, [&](Index n, Index g) {
      const Extent& e = (*p.sequences)[n];
      const eigen::CachePlan plan = eigen::sequence_cache<Map, M>(p, e, g);
      for (Index h = g * p.heads.group(); h < (g + 1) * p.heads.group(); ++h) {
        const auto head = eigen::sequence_head<Map, M>(p, e, h, plan);
        eigen::HeadGradients<T> to;
        to.q = head_data(sinks.q.gradient, p.heads.size, h, e);
        to.k = head_data(sinks.k.gradient, p.heads.size, g, e);  // added to by all query heads of the group, in turn
        to.v = head_data(sinks.v.gradient, p.heads.size, g, e);
        if constexpr (std::is_same_v<Map, GivenFeatures>) {
          const Index features = head.query_features->count();
          to.query_features.x = head_data(sinks.query_features.gradient, features, h, e);
          // Given features of keys stand for a query head or for its group; their width tells.
          const Index key_head = sinks.key_features.gradient.cols() == p.heads.queries * features ? h : g;
          to.key_features.x = head_data(sinks.key_features.gradient, features, key_head, e);
        } else if constexpr (!std::is_same_v<Map, NoMap>) {
          const Index key_head = w.key_map.shape()[0] == p.heads.queries ? h : g;
          to.query_features = {to.q, query_map.at(n, h), query_bias.at(n, h)};
          to.key_features = {to.k, key_map.at(n, key_head), key_bias.at(n, key_head)};
        }
        to.window_factor = factors.at(n, h);
        std::vector<double> decay;  // dG of every token, in double: a sum over all later tokens follows
        if (decays<M> && (w.gate_bias.trained() || sinks.gate.gradient)) {
          decay.assign(static_cast<std::size_t>(e.length), 0.0);
          to.decay = &decay;
        }
        eigen::pull_head<T, kind>(head, head_rows(y, p, e, h), head_rows(dy, p, e, h), head_statistics(statistics, p, e, h), to);
        if (to.decay) pull_gate(p, e, eigen::sum_of(p, h), decay, sinks.gate, gate_bias.at(n, eigen::sum_of(p, h)));
      }
    });
    for (const Partials* partials : {&query_map, &query_bias, &key_map, &key_bias, &factors, &gate_bias}) partials->add();
  }

 private:
  static constexpr eigen::Kind kind = eigen::kind_of<Map, W>;
  using Columns = eigen::Columns<T>;
  using Partials = eigen::HeadPartials<T>;

  /// dz of every token of extent e from dG: log a of a token is in the G of all tokens from there on.
  static void pull_gate(const Problem& p, const Extent& e, Index s, const std::vector<double>& decay, const Sink<T>& gate,
                        T* bias) {
    using Gate = typename M::Gate;
    double sum = 0, bias_sum = 0;  // G_n = sum over j <= n of log a_j, so d log a_j = sum over n >= j of dG_n
    for (Index i = e.length; i-- > 0;) {
      sum += decay[static_cast<std::size_t>(i)];
      const double dz = sum * Gate::slope(eigen::gate_input<Gate>(p, e.row + i, s));
      bias_sum += dz;
      if (gate.gradient) gate.gradient.data[(e.row + i) * gate.gradient.cols() + s] += static_cast<T>(dz);
    }
    if (bias) *bias += static_cast<T>(bias_sum);
  }

  template <class F>
  static void for_groups(const Problem& p, F&& f) {
    parallel_for(p.sequences->count() * p.heads.keys,
                 [&](Index item) { f(item / p.heads.keys, item % p.heads.keys); });
  }
  static bool shares_key_features(const Problem& p) {
    if constexpr (FeatureMap<Map>) return p.weights.key_map.shape()[0] != p.heads.queries;
    return std::is_same_v<Map, NoMap>;
  }
  template <class U>
  static U* head_data(View<U> x, Index size, Index head, const Extent& e) {
    return x ? x.data + e.row * x.cols() + head * size : nullptr;
  }
  template <class U>
  static auto head_rows(View<U> x, const Problem& p, const Extent& e, Index h) {
    return eigen::rows(head_data(x, p.heads.size, h, e), e.length, p.heads.size, x.cols());
  }
  static eigen::HeadStatistics<T> head_statistics(const AttentionStatistics<B>& s, const Problem& p, const Extent& e, Index h) {
    if (!s.largest) return {};
    return {head_data(s.largest, 1, h, e), head_data(s.inverse_denominator, 1, h, e), head_data(s.largest_at, 1, h, e),
            p.heads.queries};
  }
};

}  // namespace lolcats
