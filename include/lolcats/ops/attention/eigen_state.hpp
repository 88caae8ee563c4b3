// Decoding states on the CPU.
#pragma once

#include <lolcats/ops/attention/eigen_forward.hpp>
#include <lolcats/ops/attention/state.hpp>

namespace lolcats {

template <class T, class Map, Window W, MemoryPolicy M>
struct AttentionStateKernel<Cpu<T>, Map, W, M> {
  using B = Cpu<T>;
  using Slot = typename AttentionState<B>::Slot;

  static void step(const B& backend, const AttentionProblem<B, W>& p, AttentionState<B>& state, View<T> y) {
    backend.zero(y.data, y.size());
    const Heads& heads = p.heads;
    const Index sequences = p.sequences->count();
    parallel_for(sequences, [&](Index n) { append(p, (*p.sequences)[n], state.slots[static_cast<std::size_t>(n)]); });
    parallel_for(sequences * heads.keys, [&](Index item) {
      const Index n = item / heads.keys;
      const Index g = item % heads.keys;
      for (Index h = g * heads.group(); h < (g + 1) * heads.group(); ++h) {
        read(p, n, h, state.slots[static_cast<std::size_t>(n)], y);
      }
    });
    for (Index n = 0; n < sequences; ++n) {
      Slot& slot = state.slots[static_cast<std::size_t>(n)];
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
      Tensor<T> target = move && resize ? Tensor<T>(Shape{heads, 2 * needed, size}) : buffer;
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
    if constexpr (decays<M>) append_decays(p, e, slot, kept, move && resize ? 2 * needed : capacity, move);
    if constexpr (sinks > 0) append_sinks(p, e, slot);
    if (move) slot.begin = 0;
    if (far && !slot.sums) {
      const Index features = given ? count_given(p) : count(p.weights.query_map);
      slot.sums = Tensor<T>(Shape{states(p, features), features, p.heads.size});
      slot.normalizer = Tensor<T>(Shape{states(p, features), features});
      std::fill_n(slot.sums.data(), slot.sums.size(), T(0));
      std::fill_n(slot.normalizer.data(), slot.normalizer.size(), T(0));
    }
  }

  /// log a of the new tokens (sums, capacity) beside their keys.
  static void append_decays(const AttentionProblem<B, W>& p, const Extent& e, Slot& slot, Index kept, Index capacity, bool move) {
    const Index count = p.weights.gate_bias.value.size();
    Tensor<T> target = slot.decays;
    if (!target || target.shape()[1] != capacity) target = Tensor<T>(Shape{count, capacity});
    for (Index s = 0; s < count; ++s) {
      T* const to = target.data() + s * capacity;
      if (move && kept > 0) std::copy_n(slot.decays.data() + s * slot.decays.shape()[1] + slot.begin, kept, to);
      T* const fresh = to + (move ? kept : slot.begin + kept);
      for (Index n = 0; n < e.length; ++n) {
        fresh[n] = static_cast<T>(M::Gate::log_decay(eigen::gate_input<typename M::Gate>(p, e.row + n, s)));
      }
    }
    slot.decays = target;
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

  /// The sinks of one head that have been read after `length` tokens.
  static eigen::ConstRows<T> sink_rows(const Tensor<T>& x, Index length, Index head) {
    const Index size = x.shape()[2];
    return eigen::rows(static_cast<const T*>(x.data()) + head * sinks * size, std::min(length, sinks), size, size);
  }

  static void read(const AttentionProblem<B, W>& p, Index n, Index h, Slot& slot, View<T> y) {
    const Extent& e = (*p.sequences)[n];
    const Index size = p.heads.size;
    const Index g = h / p.heads.group();
    const Index keys = slot.length - slot.first + e.length;
    const auto k = kept(slot, slot.keys, g, keys);
    const auto v = kept(slot, slot.values, g, keys);
    auto here = eigen::training_head<Map, Sum>(p, e, h);
    eigen::Head<T> head{.q = here.q, .k = k, .v = v, .q_position = slot.length, .k_position = slot.first,
                        .begins = eigen::begins_of(p.window, slot.length, e.length), .period = here.period,
                        .gamma = here.gamma, .beta = here.beta, .affine = here.affine,
                        .query_features = std::move(here.query_features), .key_features = key_source(p, slot, k, e, h),
                        .sinks = sinks,
                        .sink_k = sinks > 0 ? sink_rows(slot.sink_keys, slot.length + e.length, g) : k,
                        .sink_v = sinks > 0 ? sink_rows(slot.sink_values, slot.length + e.length, g) : v};
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
      const Index leaving = std::clamp<Index>(std::min(length, p.window.begin(length)) - slot.first, 0, keys);
      const eigen::Columns<T> phi = eigen::all_features(head.key_features.get(), leaving);
      const Index folded = eigen::attend<T, kind>(head, phi, state, out, {});
      if constexpr (decays<M>) state.advance(head.decay.back());
      eigen::fold(head, phi, folded, leaving, state);
    } else {
      eigen::FarState<T> storage(0, size);
      eigen::FarSums<T> none = storage.sums();
      eigen::attend<T, kind>(head, eigen::Columns<T>(keys, 0), none, out, {});
    }
  }
};

}  // namespace lolcats
