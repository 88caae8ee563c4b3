// Attention forward on the CPU: tiles of queries, a running state of far keys.
#pragma once

#include <lolcats/ops/attention/eigen_features.hpp>
#include <lolcats/ops/attention/eigen_gate.hpp>

#include <cmath>
#include <limits>
#include <vector>

namespace lolcats::eigen {

/// Queries per tile and near keys per block: a float score tile is 32 KB, which stays in the first-level cache.
inline constexpr Index query_tile = 64;
inline constexpr Index key_block = 128;
/// Added to the denominator where no near key keeps it away from zero [QUIRKS 3].
inline constexpr double linear_epsilon = 1e-12;

/// Scores or weights of one tile against one block.
template <class T>
using ScoreTile = Eigen::Array<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor, query_tile, key_block>;

/// What is the same for every window and map: the kernels below are compiled for three kinds of attention, not for
/// every policy.
enum class Kind { near, far, mixed };  // softmax alone, linear attention alone, both

template <class Map, class W>
inline constexpr Kind kind_of = !W::has_near ? Kind::far : W::has_far && !std::is_same_v<Map, NoMap> ? Kind::mixed : Kind::near;

/// One head of one sequence.  Queries are at positions q_position ..., keys at k_position ..., keys before that are in
/// the state or among the sinks.
template <class T>
struct Head {
  ConstRows<T> q, k, v;  // (queries, D), (keys, D), (keys, D)
  Index q_position = 0;
  Index k_position = 0;
  std::vector<Index> begins;  // window.begin of each query
  Index period = 1;           // of the window
  T gamma = 1;
  T beta = 1;
  bool affine = false;
  std::unique_ptr<FeatureSource<T>> query_features, key_features;
  Index sinks = 0;               // so many keys at the start of the sequence are near beside those of the window,
  ConstRows<T> sink_k = q, sink_v = q;  // (up to sinks, D): those that there are
  std::vector<double> decay = {};  // G of each key, a running sum of log a from some start; empty without a gate

  T score_scale() const { return T(1) / std::sqrt(static_cast<T>(q.cols())); }
  /// Keys from here on are no sinks.
  Index behind_sinks() const { return std::max<Index>(0, sinks - k_position); }
  /// Keys behind the sinks and before this index are far for query i; from here on they are in its window.
  Index begin(Index i) const { return std::max(behind_sinks(), begins[static_cast<std::size_t>(i)] - k_position); }
  /// Keys from this index on are in the future of query i.
  Index end(Index i) const { return q_position + i + 1 - k_position; }
  /// Sinks that query i reads.
  Index sinks_of(Index i) const { return std::min({sinks, sink_k.rows(), q_position + i + 1}); }
  /// What query i and key j decay by between them.
  T decayed(Index i, Index j) const { return static_cast<T>(std::exp(decay_of_query(i) - decay[static_cast<std::size_t>(j)])); }
  /// G of query i.
  double decay_of_query(Index i) const { return decay[static_cast<std::size_t>(q_position + i - k_position)]; }
};

/// The window's begin for `count` queries from `position` on.
template <class W>
std::vector<Index> begins_of(const W& window, Index position, Index count) {
  std::vector<Index> begins(static_cast<std::size_t>(count));
  for (Index i = 0; i < count; ++i) begins[static_cast<std::size_t>(i)] = window.begin(position + i);
  return begins;
}

/// The sums over far keys in someone's memory: S (F, D) and z (F).
template <class T>
struct FarSums {
  Eigen::Map<RowMatrix<T>> sums;
  Eigen::Map<Column<T>> normalizer;
  double decay = 0;  // G that they are as of: a key j counts exp(decay - G_j)

  /// As of a later token.
  void advance(double to) {
    const T factor = static_cast<T>(std::exp(to - decay));
    sums *= factor;
    normalizer *= factor;
    decay = to;
  }
};

/// The same in its own memory, nothing read yet.
template <class T>
class FarState {
 public:
  FarState(Index features, Index size) : storage_(static_cast<std::size_t>(features * (size + 1)), T(0)), features_(features), size_(size) {}
  FarSums<T> sums() {
    return {{storage_.data(), features_, size_}, {storage_.data() + features_ * size_, features_}};
  }

 private:
  std::vector<T> storage_;
  Index features_, size_;
};

/// Calls f(first, last) for tiles of at most query_tile queries, cut where the window's pattern restarts, so that the
/// queries of a tile of a terraced window agree about what is far.
template <class F>
void for_query_tiles(Index period, Index position, Index count, F&& f) {
  const Index cut = period >= query_tile / 2 ? period : query_tile;
  for (Index first = 0; first < count;) {
    const Index to_cut = cut - (position + first) % cut;
    const Index last = std::min({count, first + to_cut, first + query_tile});
    f(first, last);
    first = last;
  }
}

/// Adds keys [first, last) to the state.
template <class T>
void fold(const Head<T>& head, const Columns<T>& phi, Index first, Index last, FarSums<T>& state) {
  if (first >= last) return;
  const auto v = head.v.middleRows(first, last - first);
  if (head.decay.empty()) {
    add_product(state.sums, phi.middleRows(first, last - first).transpose(), v);
    state.normalizer += phi.middleRows(first, last - first).colwise().sum().transpose();
  } else {
    Columns<T> decayed = phi.middleRows(first, last - first);
    for (Index j = first; j < last; ++j) {
      decayed.row(j - first) *= static_cast<T>(std::exp(state.decay - head.decay[static_cast<std::size_t>(j)]));
    }
    add_product(state.sums, decayed.transpose(), v);
    state.normalizer += decayed.colwise().sum().transpose();
  }
}

/// Multiplies the far weights p (tile, width) of queries from `first` on keys from `block` by what lies between them, up
/// to each query's own bound.
template <class T, class P>
void decay_pairs(const Head<T>& head, Index first, Index tile, Index block, Index width, P&& p) {
  for (Index i = 0; i < tile; ++i) {
    const Index end = std::clamp<Index>(head.begin(first + i) - block, 0, width);
    for (Index j = 0; j < end; ++j) p(i, j) *= head.decayed(first + i, block + j);
  }
}

/// Features of all keys (keys, F); empty without a map.
template <class T>
Columns<T> all_features(const FeatureSource<T>* source, Index count) {
  if (!source) return Columns<T>(count, 0);
  Columns<T> phi(count, source->count());
  for (Index first = 0; first < count; first += query_tile) {
    const Index n = std::min(query_tile, count - first);
    source->forward(first, n, phi.middleRows(first, n));
  }
  return phi;
}

/// Columns rounded up to whole vectors, so that exp never falls back to one element at a time.
inline Index padded(Index width) { return std::min(key_block, (width + 15) / 16 * 16); }

/// Row statistics of one head, `stride` elements apart; null when nobody will ask for a gradient.
template <class T>
struct HeadStatistics {
  T* largest = nullptr;
  T* inverse_denominator = nullptr;
  std::int32_t* largest_at = nullptr;
  Index stride = 1;
};

/// y (queries, D) of one head.  `state` holds the keys before k_position and takes up keys as they become far for whole
/// tiles; returns how many of `head.k` it has taken up.
template <class T, Kind kind>
Index attend(const Head<T>& head, const Columns<T>& key_phi, FarSums<T>& state, Rows<T> y, HeadStatistics<T> saved) {
  constexpr bool near = kind != Kind::far;
  constexpr bool far = kind != Kind::near;
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  const bool decays = far && !head.decay.empty();
  const Index size = head.q.cols();
  ScoreTile<T> p;
  Columns<T> phi, decayed_phi;
  RowMatrix<T> q, near_sum, far_sum;  // (tile, D)
  Column<T> near_weight, far_weight;  // (tile)
  Column<T> largest;
  std::vector<Index> largest_at(query_tile);
  Index folded = head.behind_sinks();

  for_query_tiles(head.period, head.q_position, head.q.rows(), [&](Index first, Index last) {
    const Index tile = last - first;
    const Index mixed_begin = std::min(head.begin(first), std::max(head.behind_sinks(), head.end(last - 1)));
    const Index mixed_end = head.begin(last - 1);
    const Index keys_end = head.end(last - 1);

    near_sum.setZero(tile, size);
    near_weight.setZero(tile);
    largest.setConstant(tile, lowest);
    if constexpr (near) q = head.q.middleRows(first, tile) * head.score_scale();
    if constexpr (far) {
      if (decays) state.advance(head.decay_of_query(first));
      fold(head, key_phi, folded, mixed_begin, state);
      folded = std::max(folded, mixed_begin);
      phi.resize(tile, key_phi.cols());
      head.query_features->forward(first, tile, phi);
      far_sum.resize(tile, size);
      far_weight.resize(tile);
      if (decays) {
        decayed_phi = phi;
        for (Index i = 0; i < tile; ++i) {
          decayed_phi.row(i) *= static_cast<T>(std::exp(head.decay_of_query(first + i) - state.decay));
        }
      }
      const Columns<T>& seen = decays ? decayed_phi : phi;
      set_product(far_sum, seen, state.sums);            // (tile, D)
      set_product(far_weight, seen, state.normalizer);  // (tile)
    }

    // Near keys, `width` of them: k and v are their rows, query i reads those in [lo(i), hi(i)), `at` is the first one's place.
    const auto read_near = [&](const auto& k, const auto& v, Index width, Index at, auto&& lo_of, auto&& hi_of) {
      p.resize(tile, key_block);
      set_product(p.leftCols(width), q, k.transpose());
      const Index wide = padded(width);
      for (Index i = 0; i < tile; ++i) {
        const Index lo = std::clamp<Index>(lo_of(first + i), 0, width);
        const Index hi = std::clamp<Index>(hi_of(first + i), 0, width);
        auto row = p.row(i);
        if (lo >= hi) {
          row.head(wide).setZero();
          continue;
        }
        const T top = row.segment(lo, hi - lo).maxCoeff();
        if (top > largest(i)) {
          const T shrink = std::exp(largest(i) - top);
          near_sum.row(i) *= shrink;
          near_weight(i) *= shrink;
          largest(i) = top;
          if (saved.largest_at) {
            const T* scores = p.data() + i * key_block;
            largest_at[static_cast<std::size_t>(i)] = at + (std::find(scores + lo, scores + hi, top) - scores);
          }
        }
        row.head(wide) = (row.head(wide) - largest(i)).exp();
        row.head(lo).setZero();
        row.segment(hi, wide - hi).setZero();
        near_weight(i) += row.head(wide).sum();
      }
      add_product(near_sum, p.leftCols(width), v);
    };
    if constexpr (near) {
      for (Index block = 0; block < head.sinks_of(last - 1); block += key_block) {
        const Index width = std::min(key_block, head.sinks_of(last - 1) - block);
        read_near(head.sink_k.middleRows(block, width), head.sink_v.middleRows(block, width), width, block,
                  [](Index) { return Index{0}; }, [&](Index i) { return head.sinks_of(i) - block; });
      }
    }
    for (Index block = mixed_begin; block < keys_end; block += key_block) {
      const Index width = std::min(key_block, keys_end - block);
      const auto v = head.v.middleRows(block, width);
      if constexpr (near) {
        read_near(head.k.middleRows(block, width), v, width, block, [&](Index i) { return head.begin(i) - block; },
                  [&](Index i) { return head.end(i) - block; });
      }
      if constexpr (far) {
        const Index mixed = std::min(width, mixed_end - block);
        if (mixed > 0) {
          p.resize(tile, key_block);
          set_product(p.leftCols(mixed), phi, key_phi.middleRows(block, mixed).transpose());
          if (decays) decay_pairs(head, first, tile, block, mixed, p);
          for (Index i = 0; i < tile; ++i) {
            const Index hi = std::clamp<Index>(head.begin(first + i) - block, 0, mixed);
            p.row(i).segment(hi, mixed - hi).setZero();
            far_weight(i) += p.row(i).head(hi).sum();
          }
          add_product(far_sum, p.leftCols(mixed), v.topRows(mixed));
        }
      }
    }

    for (Index i = 0; i < tile; ++i) {
      T denominator = head.gamma * near_weight(i);
      if constexpr (far) denominator += head.beta * far_weight(i);
      if constexpr (!near) denominator += static_cast<T>(linear_epsilon);
      const T inverse = T(1) / denominator;
      auto row = y.row(first + i);
      if constexpr (near && far) {
        row = (head.gamma * inverse) * near_sum.row(i) + (head.beta * inverse) * far_sum.row(i);
      } else if constexpr (near) {
        row = (head.gamma * inverse) * near_sum.row(i);
      } else {
        row = (head.beta * inverse) * far_sum.row(i);
      }
      const Index at = (first + i) * saved.stride;
      if (saved.inverse_denominator) saved.inverse_denominator[at] = inverse;
      if (saved.largest) saved.largest[at] = largest(i);
      if (saved.largest_at) {
        saved.largest_at[at] = static_cast<std::int32_t>(largest_at[static_cast<std::size_t>(i)]);
      }
    }
  });
  return folded;
}

#ifdef LOLCATS_COMPILED_KERNELS
#define LOLCATS_DECLARE(T, kind) \
  extern template Index attend<T, kind>(const Head<T>&, const Columns<T>&, FarSums<T>&, Rows<T>, HeadStatistics<T>);
LOLCATS_DECLARE(float, Kind::near)
LOLCATS_DECLARE(float, Kind::far)
LOLCATS_DECLARE(float, Kind::mixed)
LOLCATS_DECLARE(double, Kind::near)
LOLCATS_DECLARE(double, Kind::far)
LOLCATS_DECLARE(double, Kind::mixed)
#undef LOLCATS_DECLARE
#endif

/// The problem's head h over extent e, all keys of the extent in place.
template <class Map, MemoryPolicy M, class T, class W>
Head<T> training_head(const AttentionProblem<Cpu<T>, W>& p, const Extent& e, Index h) {
  const Heads& n = p.heads;
  const Index g = h / n.group();
  const auto window = [&](View<const T> x, Index index) {
    return rows(x.data + e.row * x.cols() + index * n.size, e.length, n.size, x.cols());
  };
  const auto q = window(p.q, h), k = window(p.k, g), v = window(p.v, g);
  Head<T> head{.q = q, .k = k, .v = v, .begins = begins_of(p.window, 0, e.length), .period = p.window.period(),
               .affine = p.affine, .query_features = feature_source<Map, true>(p, q, e, h),
               .key_features = feature_source<Map, false>(p, k, e, h), .sinks = sinks_of<W>, .sink_k = k, .sink_v = v};
  if (p.weights.window_factors) head.gamma = T(1) / (T(1) + std::exp(-p.weights.window_factors.value.data[h]));
  if (p.affine) head.beta = T(1) - head.gamma;
  if constexpr (decays<M>) head.decay = running_decay<typename M::Gate>(p, e, sum_of(p, h));
  return head;
}

}  // namespace lolcats::eigen
