// Decoding states on the CPU.
#pragma once

#include <lolcats/ops/attention/eigen_forward.hpp>
#include <lolcats/ops/attention/state.hpp>

namespace lolcats {

template <class T, class Map, Window W>
struct AttentionStateKernel<Cpu<T>, Map, W> {
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
    if (move) slot.begin = 0;
    if (far && !slot.sums) {
      const Index features = given ? count_given(p) : count(p.weights.query_map);
      slot.sums = Tensor<T>(Shape{states(p, features), features, p.heads.size});
      slot.normalizer = Tensor<T>(Shape{states(p, features), features});
      std::fill_n(slot.sums.data(), slot.sums.size(), T(0));
      std::fill_n(slot.normalizer.data(), slot.normalizer.size(), T(0));
    }
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

  static void read(const AttentionProblem<B, W>& p, Index n, Index h, Slot& slot, View<T> y) {
    const Extent& e = (*p.sequences)[n];
    const Index size = p.heads.size;
    const Index g = h / p.heads.group();
    const Index keys = slot.length - slot.first + e.length;
    const auto k = kept(slot, slot.keys, g, keys);
    auto here = eigen::training_head<Map>(p, e, h);
    const eigen::Head<T> head{here.q,       k,          kept(slot, slot.values, g, keys), slot.length,
                              slot.first,   eigen::begins_of(p.window, slot.length, e.length),
                              here.period,  here.gamma, here.beta,         here.affine,
                              std::move(here.query_features), key_source(p, slot, k, e, h)};
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
      eigen::fold(phi, head.v, folded, leaving, state);
    } else {
      eigen::FarState<T> none(0, size);
      eigen::attend<T, kind>(head, eigen::Columns<T>(keys, 0), none.sums(), out, {});
    }
  }
};

}  // namespace lolcats
