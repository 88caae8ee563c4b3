// Decoding states on the CPU.
#pragma once

#include <lolcats/ops/attention/eigen_forward.hpp>
#include <lolcats/ops/attention/state.hpp>

#include <span>

namespace lolcats {

template <class T, class Map, Window W, MemoryPolicy M>
struct AttentionStateKernel<Cpu<T>, Map, W, M> {
  using B = Cpu<T>;
  using Slot = typename AttentionState<B>::Slot;

  static void step(const B& backend, const AttentionProblem<B, W>& p, std::span<Slot* const> slots, View<T> y) {
    backend.zero(y.data, y.size());
    const Heads& heads = p.heads;
    const Index sequences = p.sequences->count();
    parallel_for(sequences, [&](Index n) { append(p, (*p.sequences)[n], *slots[static_cast<std::size_t>(n)]); });
    parallel_for(sequences * heads.keys, [&](Index item) {
      const Index n = item / heads.keys;
      const Index g = item % heads.keys;
      Slot& slot = *slots[static_cast<std::size_t>(n)];
      if constexpr (counts_attention<M>) receive(p, n, g, slot);
      const Beside beside = rows_beside(p, n, g, slot);
      for (Index h = g * heads.group(); h < (g + 1) * heads.group(); ++h) read(p, n, h, slot, beside, y);
      if constexpr (caches<M>) store_cache(slot, beside, g);  // behind all readers of the old one
    });
    // Keys before the next query's window are given up: their rows stay in the buffer until it moves.
    for (Index n = 0; n < sequences; ++n) {
      Slot& slot = *slots[static_cast<std::size_t>(n)];
      slot.length += (*p.sequences)[n].length;
      const Index kept = std::min(slot.length, p.window.begin(slot.length));
      if (kept > slot.first) {
        slot.begin += kept - slot.first;
        slot.first = kept;
      }
    }
  }

 private:
  static constexpr eigen::Kind kind = eigen::kind_of<Map, W>;
  static constexpr bool far = kind != eigen::Kind::near;

  static constexpr Index sinks = sinks_of<W>;
  static constexpr bool given = std::is_same_v<Map, GivenFeatures>;

  /// Copies the new keys and values behind the kept ones, moving those to the front or to another buffer when full.
  static void append(const AttentionProblem<B, W>& p, const Extent& e, Slot& slot) {
    const Index kept = slot.length - slot.first;
    const Index needed = kept + e.length;
    const Index capacity = slot.keys ? slot.keys.shape()[1] : 0;
    // Room for as many again, so that moving costs a constant per token; a buffer that a long prompt left is given back.
    const bool resize = 2 * needed > capacity || capacity > 8 * needed;
    const bool move = slot.begin + needed > capacity || capacity > 8 * needed;
    const auto extend = [&](Tensor<T>& buffer, View<const T> x, Index heads) {
      const Index size = x.cols() / heads, before = capacity * size;
      Tensor<T> target = move && resize ? Tensor<T>(Shape{heads, 2 * needed, size}) : buffer;  // (heads, capacity, size)
      const Index after = target.shape()[1] * size;
      for (Index g = 0; g < heads; ++g) {
        T* const to = target.data() + g * after;
        if (move && kept > 0) std::copy_n(buffer.data() + g * before + slot.begin * size, kept * size, to);
        const T* from = x.data + e.row * x.cols() + g * size;
        for (Index i = move ? kept : slot.begin + kept, n = 0; n < e.length; ++i, ++n, from += x.cols()) {
          std::copy_n(from, size, to + i * size);
        }
      }
      buffer = target;
    };
    extend(slot.keys, p.k, p.heads.keys);
    extend(slot.values, p.v, p.heads.keys);
    if constexpr (given) {
      const View<const T> features = p.weights.key_features.value();
      extend(slot.features, features, features.cols() / count_given(p));
    }
    // Numbers of the new tokens beside their keys, (count, capacity).
    const auto append_numbers = [&](Tensor<T>& numbers, Index count, auto&& of) {
      const Index size = move && resize ? 2 * needed : capacity;
      Tensor<T> target = numbers && numbers.shape()[1] == size ? numbers : Tensor<T>(Shape{count, size});
      for (Index s = 0; s < count; ++s) {
        T* const to = target.data() + s * size;
        if (move && kept > 0) std::copy_n(numbers.data() + s * numbers.shape()[1] + slot.begin, kept, to);
        for (Index n = 0; n < e.length; ++n) to[(move ? kept : slot.begin + kept) + n] = of(e.row + n, s);
      }
      numbers = target;
    };
    if constexpr (decays<M>) {
      append_numbers(slot.decays, p.weights.gate_bias.value.size(), [&](Index row, Index s) {
        return static_cast<T>(M::Gate::log_decay(eigen::gate_input<typename M::Gate>(p, row, s)));
      });
    }
    if constexpr (scored_when_read<M>) {
      const View<const T> score = p.weights.score.value();
      append_numbers(slot.scores, p.heads.keys, [&](Index row, Index g) { return score.data[row * score.cols() + g]; });
    } else if constexpr (counts_attention<M>) {  // what they have received so far
      append_numbers(slot.scores, p.heads.keys, [](Index, Index) { return T(0); });
    }
    if constexpr (sinks > 0) append_sinks(p, e, slot);
    if (move) slot.begin = 0;
    if constexpr (caches<M>) {
      if (slot.cache_begins.empty()) append_cache(p, slot);
    }
    if (far && !slot.sums) {  // S (states, F, D) and z (states, F) of the keys that have left the window
      const Index features = given ? count_given(p) : count(p.weights.query_map);
      slot.sums = Tensor<T>(Shape{states(p, features), features, p.heads.size});
      slot.normalizer = Tensor<T>(Shape{states(p, features), features});
      std::fill_n(slot.sums.data(), slot.sums.size(), T(0));
      std::fill_n(slot.normalizer.data(), slot.normalizer.size(), T(0));
    }
  }

  /// Room for the keys that each head keeps.
  static void append_cache(const AttentionProblem<B, W>& p, Slot& slot) {
    slot.cache_begins.push_back(0);
    for (Index g = 0; g < p.heads.keys; ++g) slot.cache_begins.push_back(slot.cache_begins.back() + eigen::cache_size<M>(p, g));
    const Index places = slot.cache_begins.back();
    if (places == 0) return;
    slot.cache_keys = Tensor<T>(Shape{places, p.heads.size});
    slot.cache_values = Tensor<T>(Shape{places, p.heads.size});
    slot.cache_scores = Tensor<T>(Shape{places});
  }

  /// Those of the first tokens of the sequence that are among the new ones.
  static void append_sinks(const AttentionProblem<B, W>& p, const Extent& e, Slot& slot) {
    const Index size = p.heads.size;
    if (!slot.sink_keys) {
      slot.sink_keys = Tensor<T>(Shape{p.heads.keys, sinks, size});
      slot.sink_values = Tensor<T>(Shape{p.heads.keys, sinks, size});
    }
    for (Index n = 0; n < e.length && slot.length + n < sinks; ++n) {
      for (Index g = 0; g < p.heads.keys; ++g) {
        const Index from = (e.row + n) * p.k.cols() + g * size, to = (g * sinks + slot.length + n) * size;
        std::copy_n(p.k.data + from, size, slot.sink_keys.data() + to);
        std::copy_n(p.v.data + from, size, slot.sink_values.data() + to);
      }
    }
  }

  /// G of the kept keys and of the new ones, as of the last token read: that of S and z is 0.
  static std::vector<double> running_decay(const Slot& slot, Index s, Index kept, Index keys) {
    const T* logs = slot.decays.data() + s * slot.decays.shape()[1] + slot.begin;
    std::vector<double> sums(static_cast<std::size_t>(keys));
    double sum = 0;
    // Forwards from there for new tokens, whose G is at most 0, and backwards for kept keys, whose G is at least 0.
    for (Index j = kept; j < keys; ++j) sums[static_cast<std::size_t>(j)] = sum += static_cast<double>(logs[j]);
    sum = 0;
    for (Index j = kept; j-- > 0;) {
      sums[static_cast<std::size_t>(j)] = sum;
      sum -= static_cast<double>(logs[j]);
    }
    return sums;
  }

  /// How many pairs S and z there are: one per query head, or one per key/value head if its query heads share a key map.
  static Index states(const AttentionProblem<B, W>& p, Index features) {
    const Index maps = given ? p.weights.key_features.cols() / features : p.weights.key_map.shape()[0];
    return maps == p.heads.keys ? p.heads.keys : p.heads.queries;
  }

  static Index count_given(const AttentionProblem<B, W>& p) {  // features of one head
    return p.weights.query_features.cols() / p.heads.queries;
  }
  static Index count(const Weight<B>& map) {
    if constexpr (FeatureMap<Map>) return feature_count<Map>(map.shape()[2]);
    return 0;
  }

  static std::unique_ptr<eigen::FeatureSource<T>> key_source(const AttentionProblem<B, W>& p, const Slot& slot,
                                                 const eigen::ConstRows<T>& k, const Extent& e, Index h) {
    if constexpr (given) {
      const Index index = slot.features.shape()[0] == p.heads.queries ? h : h / p.heads.group();
      return std::make_unique<eigen::StoredFeatures<T>>(kept(slot, slot.features, index, k.rows()));
    } else {
      return eigen::feature_source<Map, false>(p, k, e, h);
    }
  }

  /// The `keys` kept rows of one head in a buffer (heads, capacity, size) of the slot.
  static eigen::ConstRows<T> kept(const Slot& slot, const Tensor<T>& x, Index head, Index keys) {
    const Index capacity = x.shape()[1], size = x.shape()[2];
    return eigen::rows(static_cast<const T*>(x.data()) + (head * capacity + slot.begin) * size, keys, size, size);
  }

  /// What a key/value head keeps beside its window: sinks, cached keys, and keys that leave the window in this call.
  struct Beside {
    eigen::RowMatrix<T> k, v;          // (sinks + cached + leaving, D)
    std::vector<eigen::KeptKey> kept;  // rows of k
    // With a cache:
    eigen::CachePlan plan;             // its keys are rows of k
    std::vector<double> scores;        // of the rows behind the sinks
    Index sinks = 0;                   // that have been read
    std::vector<Index> far_counts;
  };

  static Beside rows_beside(const AttentionProblem<B, W>& p, Index n, Index g, const Slot& slot) {
    Beside beside;
    if constexpr (sinks == 0 && !caches<M>) return beside;
    const Extent& e = (*p.sequences)[n];
    const Index size = p.heads.size, end = slot.length + e.length;
    beside.sinks = std::min(sinks, end);
    Index cached = 0;
    std::vector<Index> leaves;  // when the keys that leave do so
    if constexpr (caches<M>) {
      cached = std::min(slot.places(g), std::max<Index>(0, slot.first - sinks));
      // Key j leaves when a query at `at` is the first whose window begins behind it.
      for (Index at = slot.length, j = std::max(slot.first, sinks); at <= end; ++at) {
        for (; j < std::min(p.window.begin(at), end); ++j) leaves.push_back(at);
      }
    }
    const Index leaving = static_cast<Index>(leaves.size());
    const auto collect = [&](const Tensor<T>& sink_rows, const Tensor<T>& cache_rows, const Tensor<T>& ring) {
      eigen::RowMatrix<T> all(beside.sinks + cached + leaving, size);
      const auto part = [&](const Tensor<T>& x, Index first, Index count) {
        return eigen::rows(static_cast<const T*>(x.data()) + first * size, count, size, size);
      };
      const auto of_head = [&](const Tensor<T>& x, Index first) { return g * x.shape()[1] + first; };
      if (beside.sinks > 0) all.topRows(beside.sinks) = part(sink_rows, of_head(sink_rows, 0), beside.sinks);
      if (cached > 0) all.middleRows(beside.sinks, cached) = part(cache_rows, slot.cache_begins[static_cast<std::size_t>(g)], cached);
      if (leaving > 0) all.bottomRows(leaving) = part(ring, of_head(ring, slot.begin + std::max<Index>(0, sinks - slot.first)), leaving);
      return all;
    };
    beside.k = collect(slot.sink_keys, slot.cache_keys, slot.keys);
    beside.v = collect(slot.sink_values, slot.cache_values, slot.values);
    for (Index j = 0; j < beside.sinks; ++j) beside.kept.push_back({j, j, end});
    if constexpr (caches<M>) {
      for (Index c = 0; c < cached; ++c) {
        beside.scores.push_back(static_cast<double>(slot.cache_scores.data()[slot.cache_begins[static_cast<std::size_t>(g)] + c]));
      }
      const std::vector<double> fresh = scores_of(p, g, slot, beside, cached, leaves);
      beside.scores.insert(beside.scores.end(), fresh.begin(), fresh.end());
      // Cached keys compete again with those that leave now, by their scores; who loses is folded into S and z.
      beside.plan = eigen::plan_cache(beside.scores, cached, leaves, slot.places(g), slot.length, end);
      // The plan counts from the first cached key, rows of k from the first sink.
      for (auto* rows : {&beside.plan.far, &beside.plan.left}) {
        for (Index& row : *rows) row += beside.sinks;
      }
      for (eigen::KeptKey key : beside.plan.kept) beside.kept.push_back({key.key + beside.sinks, key.from, key.until});
      beside.far_counts = eigen::far_counts(beside.plan, slot.length, e.length);
    }
    return beside;
  }

  /// Adds to the scores of the kept keys of key/value head g what they receive from the new queries.
  static void receive(const AttentionProblem<B, W>& p, Index n, Index g, Slot& slot) {
    const Extent& e = (*p.sequences)[n];
    const eigen::ConstRows<T> k = kept(slot, slot.keys, g, slot.length - slot.first + e.length);
    eigen::RowMatrix<T> sink_k;
    if (const Index read = std::min(sinks, slot.length + e.length); read > 0) {
      const Index size = p.heads.size;
      sink_k = eigen::rows(static_cast<const T*>(slot.sink_keys.data()) + g * sinks * size, read, size, size);
    }
    eigen::add_received_attention(p, e, g, slot.length, k, slot.first, sink_k,
                                  slot.scores.data() + g * slot.scores.shape()[1] + slot.begin);
  }

  /// Of the keys that leave the window in this call, when `leaves` says.
  static std::vector<double> scores_of(const AttentionProblem<B, W>& p, Index g, const Slot& slot, const Beside& beside,
                                       Index cached, const std::vector<Index>& leaves) {
    const Index leaving = static_cast<Index>(leaves.size());
    std::vector<double> scores;
    if constexpr (!recalls_values<M>) {
      const Index first = std::max(slot.first, sinks);
      const T* ring = slot.scores.data() + g * slot.scores.shape()[1] + slot.begin + first - slot.first;
      for (Index i = 0; i < leaving; ++i) {
        const double score = static_cast<double>(ring[i]);
        scores.push_back(counts_attention<M> ? eigen::mean_received(score, first + i, leaves[static_cast<std::size_t>(i)]) : score);
      }
    } else if constexpr (FeatureMap<Map>) {
      eigen::RecallInputs<T> x;  // how badly S and z of each head recall the value of a key
      x.v = beside.v.bottomRows(cached + leaving);
      const eigen::RowMatrix<T> k = beside.k.bottomRows(cached + leaving);
      for (Index h = g * p.heads.group(); h < (g + 1) * p.heads.group(); ++h) {
        const Extent here{0, cached + leaving, 0};
        const auto source = eigen::feature_source<Map, false>(p, eigen::rows(k.data(), k.rows(), k.cols(), k.cols()), here, h);
        x.phi.push_back(eigen::all_features(source.get(), cached + leaving));
        const Index features = slot.normalizer.shape()[1];
        const Index s = slot.normalizer.shape()[0] == p.heads.queries ? h : g;
        const T *sums = slot.sums.data() + s * features * p.heads.size, *normalizer = slot.normalizer.data() + s * features;
        x.sums.push_back(eigen::rows(sums, features, p.heads.size, p.heads.size));
        x.normalizers.push_back(Eigen::Map<const eigen::Column<T>>(normalizer, features));
      }
      scores = eigen::recall_errors(x, cached);
    }
    return scores;
  }

  static void store_cache(Slot& slot, const Beside& beside, Index g) {
    const Index size = beside.k.cols();
    Index to = slot.cache_begins[static_cast<std::size_t>(g)];
    for (const Index row : beside.plan.left) {
      std::copy_n(beside.k.data() + row * size, size, slot.cache_keys.data() + to * size);
      std::copy_n(beside.v.data() + row * size, size, slot.cache_values.data() + to * size);
      slot.cache_scores.data()[to++] = static_cast<T>(beside.scores[static_cast<std::size_t>(row - beside.sinks)]);
    }
  }

  static void read(const AttentionProblem<B, W>& p, Index n, Index h, Slot& slot, const Beside& beside, View<T> y) {
    const Extent& e = (*p.sequences)[n];
    const Index size = p.heads.size;
    const Index g = h / p.heads.group();
    const Index keys = slot.length - slot.first + e.length;
    const auto k = kept(slot, slot.keys, g, keys);
    const auto v = kept(slot, slot.values, g, keys);
    const auto rows_of = [&](const eigen::RowMatrix<T>& x, const eigen::ConstRows<T>& otherwise) {
      return x.size() > 0 ? eigen::rows(x.data(), x.rows(), size, size) : otherwise;
    };
    std::vector<eigen::RowMatrix<T>> storage;
    if constexpr (caches<M> && far) storage = {eigen::gather<T>(beside.k, beside.plan.far), eigen::gather<T>(beside.v, beside.plan.far)};
    const auto far_rows = [&](std::size_t i, const eigen::ConstRows<T>& otherwise) {
      return storage.empty() ? otherwise
                             : eigen::rows(static_cast<const T*>(storage[i].data()), storage[i].rows(), size, size);
    };
    const auto far_k = far_rows(0, k);
    const auto far_v = far_rows(1, v);
    const auto q = eigen::rows_of_head(p.q, e, h, size);
    eigen::Head<T> head{.q = q, .k = k, .v = v, .q_position = slot.length, .k_position = slot.first,
                        .begins = eigen::begins_of(p.window, slot.length, e.length), .period = p.window.period(),
                        .query_features = eigen::feature_source<Map, true>(p, q, e, h),
                        .key_features = key_source(p, slot, far_k, e, h),
                        .sinks = sinks, .kept_k = rows_of(beside.k, k), .kept_v = rows_of(beside.v, v), .kept = beside.kept,
                        .far_v = far_v, .far_counts = beside.far_counts, .storage = std::move(storage)};
    eigen::mix(head, p, h);
    if constexpr (decays<M>) head.decay = running_decay(slot, eigen::sum_of(p, h), slot.length - slot.first, keys);
    auto out = eigen::rows(y.data + e.row * y.cols() + h * size, e.length, size, y.cols());
    if constexpr (far) {
      const Index features = slot.normalizer.shape()[1];
      const bool shared = slot.normalizer.shape()[0] != p.heads.queries;
      T* sums = slot.sums.data() + (shared ? g : h) * features * size;
      T* normalizer = slot.normalizer.data() + (shared ? g : h) * features;
      // Reading moves the state on.  Of the heads that share one, the last moves it and the others move copies.
      std::vector<T> copy;
      if (shared && h + 1 < (g + 1) * p.heads.group()) {
        copy.assign(sums, sums + features * size);
        copy.insert(copy.end(), normalizer, normalizer + features);
        sums = copy.data();
        normalizer = copy.data() + features * size;
      }
      eigen::FarSums<T> state{{sums, features, size}, {normalizer, features}};
      // Only keys that are far for someone, or will be when this call ends, need features.
      const Index length = slot.length + e.length;
      const Index leaving = caches<M> ? far_v.rows()
                                      : std::clamp<Index>(std::min(length, p.window.begin(length)) - slot.first, 0, keys);
      const eigen::Columns<T> phi = eigen::all_features(head.key_features.get(), leaving);
      const Index folded = eigen::attend<T, kind>(head, phi, state, out, {});
      if constexpr (decays<M>) state.advance(head.decay.back());
      eigen::fold(head, phi, folded, leaving, state);
    } else {
      eigen::FarState<T> nothing(0, size);
      eigen::FarSums<T> none = nothing.sums();
      eigen::attend<T, kind>(head, eigen::Columns<T>(keys, 0), none, out, {});
    }
  }
};

}  // namespace lolcats
