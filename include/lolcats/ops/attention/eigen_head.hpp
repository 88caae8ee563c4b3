// One head of one sequence on the CPU: its rows, its window, its memory, and which keys are near beside the window's.
#pragma once

#include <lolcats/ops/attention/eigen_cache.hpp>
#include <lolcats/ops/attention/eigen_features.hpp>
#include <lolcats/ops/attention/eigen_gate.hpp>
#include <lolcats/ops/attention/eigen_received.hpp>

#include <cmath>
#include <vector>

namespace lolcats::eigen {

/// Queries per tile and near keys per block: a float score tile is 32 KB, which stays in the first-level cache.
inline constexpr Index query_tile = 64;
inline constexpr Index key_block = 128;

/// What is the same for every window and map: the kernels below are compiled for three kinds of attention, not for
/// every policy.
enum class Kind { near, far, mixed };  // softmax alone, linear attention alone, both

template <class Map, class W>
inline constexpr Kind kind_of = !W::has_near ? Kind::far : reads_far<Map, W> ? Kind::mixed : Kind::near;

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
  std::unique_ptr<FeatureSource<T>> query_features = {}, key_features = {};
  Index sinks = 0;               // so many keys at the start of the sequence are never far
  /// Near keys beside those of the window: sinks and cached ones; their rows, and who reads them.
  ConstRows<T> kept_k = k, kept_v = v;
  std::vector<KeptKey> kept = {};
  std::vector<double> decay = {};  // G of each key, a running sum of log a from some start; empty without a gate
  /// With a cache, keys do not become far in order: `key_features` and `far_v` then are those of `far`, rows of k in the
  /// order in which they become far, the first far_counts[i] of them for query i.
  ConstRows<T> far_v = v;
  std::vector<Index> far = {}, far_counts = {};
  std::vector<RowMatrix<T>> storage = {};  // of rows that lie nowhere else

  T score_scale() const { return T(1) / std::sqrt(static_cast<T>(q.cols())); }
  /// Keys from here on are no sinks.
  Index behind_sinks() const { return std::max<Index>(0, sinks - k_position); }
  /// Keys from here on are in the window of query i.
  Index begin(Index i) const { return std::max(behind_sinks(), begins[static_cast<std::size_t>(i)] - k_position); }
  /// Keys from this index on are in the future of query i.
  Index end(Index i) const { return q_position + i + 1 - k_position; }
  bool cached() const { return !far_counts.empty(); }
  /// Far keys of query i are [far_begin(), far_end(i)), rows of key features and far_v.
  Index far_begin() const { return cached() ? 0 : behind_sinks(); }
  Index far_end(Index i) const { return cached() ? far_counts[static_cast<std::size_t>(i)] : begin(i); }
  /// What query i and key j decay by between them.
  T decayed(Index i, Index j) const { return static_cast<T>(std::exp(decay_of_query(i) - decay[static_cast<std::size_t>(j)])); }
  /// G of query i.
  double decay_of_query(Index i) const { return decay[static_cast<std::size_t>(q_position + i - k_position)]; }
  /// Kept keys that some of queries [first, last) read.
  std::vector<KeptKey> kept_by(Index first, Index last) const {
    std::vector<KeptKey> some;
    for (const KeptKey& key : kept) {
      if (key.from < q_position + last && key.until > q_position + first) some.push_back(key);
    }
    return some;
  }
  bool keeps(const KeptKey& key, Index i) const { return key.from <= q_position + i && q_position + i < key.until; }
};

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

/// What recall errors of one key/value head are computed from; spoiled by it.
template <class T>
struct RecallInputs {
  std::vector<Columns<T>> phi;  // by query head: cached keys, then those to be scored (rows, F)
  RowMatrix<T> v;               // (rows, D)
  std::vector<RowMatrix<T>> sums;       // S (F, D) and z (F) of the keys before all of these, by query head
  std::vector<Column<T>> normalizers;
};
/// Those of the rows behind the first `cached` ones, see RecallError.
template <class T>
std::vector<double> recall_errors(RecallInputs<T>& x, Index cached) {
  const Index count = x.v.rows() - cached;
  std::vector<double> errors(static_cast<std::size_t>(count), 0.0);
  for (std::size_t h = 0; h < x.phi.size(); ++h) {
    RowMatrix<T>& sums = x.sums[h];
    Column<T>& normalizer = x.normalizers[h];
    for (Index i = 0; i < x.v.rows(); ++i) {
      const auto phi = x.phi[h].row(i);  // (F)
      if (i >= cached) {
        const T weight = phi.dot(normalizer.transpose()) + static_cast<T>(linear_epsilon);
        const double error = (x.v.row(i) - (phi * sums) / weight).norm();
        errors[static_cast<std::size_t>(i - cached)] += error;
      }
      sums += phi.transpose() * x.v.row(i);
      normalizer += phi.transpose();
    }
  }
  return errors;
}

/// How many keys a head's cache holds.
template <MemoryPolicy M, class T, class W>
Index cache_size(const AttentionProblem<Cpu<T>, W>& p, Index g) {
  const Weight<Cpu<T>>& sizes = p.weights.cache_sizes;
  return sizes ? std::clamp<Index>(static_cast<Index>(sizes.value.data[g]), 0, M::Cache::size) : M::Cache::size;
}

/// The cache of key/value head g over a whole sequence of extent e; rows are those of the extent.
template <class Map, MemoryPolicy M, class T, class W>
  requires caches<M>
CachePlan sequence_cache(const AttentionProblem<Cpu<T>, W>& p, const Extent& e, Index g) {
  constexpr Index sinks = sinks_of<W>;
  std::vector<Index> leaves;
  for (Index n = 0, j = sinks; n < e.length; ++n) {
    for (; j < std::min(p.window.begin(n), e.length); ++j) leaves.push_back(n);
  }
  std::vector<double> scores;
  if constexpr (scored_when_read<M>) {
    const View<const T> all = p.weights.score.value();
    for (Index j = sinks; j < e.length; ++j) scores.push_back(static_cast<double>(all.data[(e.row + j) * all.cols() + g]));
  } else if constexpr (counts_attention<M>) {
    std::vector<double> received(static_cast<std::size_t>(e.length), 0.0);
    const auto k = rows_of_head(p.k, e, g, p.heads.size);
    add_received_attention(p, e, g, 0, k, 0, k.topRows(std::min(sinks, e.length)), received.data());
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      const Index j = sinks + static_cast<Index>(i);
      scores.push_back(mean_received(received[static_cast<std::size_t>(j)], j, leaves[i]));
    }
  } else if (!leaves.empty()) {
    RecallInputs<T> x;
    const Index count = static_cast<Index>(leaves.size());
    x.v = rows_of_head(p.v, e, g, p.heads.size).middleRows(sinks, count);
    for (Index h = g * p.heads.group(); h < (g + 1) * p.heads.group(); ++h) {
      const auto features = feature_source<Map, false>(p, rows_of_head(p.k, e, g, p.heads.size), e, h);
      x.phi.push_back(all_features(features.get(), sinks + count).bottomRows(count));
      x.sums.push_back(RowMatrix<T>::Zero(features->count(), p.heads.size));
      x.normalizers.push_back(Column<T>::Zero(features->count()));
    }
    scores = recall_errors(x, 0);
  }
  CachePlan plan = plan_cache(scores, 0, leaves, cache_size<M>(p, g), 0, e.length);
  for (KeptKey& key : plan.kept) key.key += sinks;
  for (Index& key : plan.far) key += sinks;
  return plan;
}

/// Without a cache there is nothing to plan.
template <class Map, MemoryPolicy M, class T, class W>
CachePlan sequence_cache(const AttentionProblem<Cpu<T>, W>&, const Extent&, Index) {
  return {};
}

/// How many keys are far for each of `count` queries from `position` on.
inline std::vector<Index> far_counts(const CachePlan& plan, Index position, Index count) {
  std::vector<Index> counts;
  for (Index i = 0, n = 0; i < count; ++i) {
    while (n < static_cast<Index>(plan.far.size()) && plan.far_from[static_cast<std::size_t>(n)] <= position + i) ++n;
    counts.push_back(n);
  }
  return counts;
}

/// gamma and beta of query head h.
template <class T, class W>
void mix(Head<T>& head, const AttentionProblem<Cpu<T>, W>& p, Index h) {
  head.affine = p.affine;
  if (p.weights.window_factors) head.gamma = T(1) / (T(1) + std::exp(-p.weights.window_factors.value.data[h]));
  if (p.affine) head.beta = T(1) - head.gamma;
}

/// The problem's head h over extent e, all keys of the extent in place; `plan` is the sequence_cache of its key/value head.
template <class Map, MemoryPolicy M, class T, class W>
Head<T> sequence_head(const AttentionProblem<Cpu<T>, W>& p, const Extent& e, Index h,
                      [[maybe_unused]] const CachePlan& plan = {}) {
  const Heads& n = p.heads;
  const Index g = h / n.group();
  const auto q = rows_of_head(p.q, e, h, n.size), k = rows_of_head(p.k, e, g, n.size), v = rows_of_head(p.v, e, g, n.size);
  std::vector<RowMatrix<T>> storage;
  std::vector<Index> far, counts;
  std::vector<KeptKey> kept;
  for (Index j = 0; j < std::min(sinks_of<W>, e.length); ++j) kept.push_back({j, j, e.length});
  if constexpr (caches<M>) {
    counts = far_counts(plan, 0, e.length);
    kept.insert(kept.end(), plan.kept.begin(), plan.kept.end());
    far = plan.far;
    if constexpr (!std::is_same_v<Map, NoMap>) {
      storage.push_back(gather<T>(k, far));
      storage.push_back(gather<T>(v, far));
    }
  }
  const auto stored = [&](std::size_t i, const ConstRows<T>& otherwise) {
    return storage.empty() ? otherwise : rows(static_cast<const T*>(storage[i].data()), storage[i].rows(), n.size, n.size);
  };
  const ConstRows<T> far_k = stored(0, k);
  Head<T> head{.q = q, .k = k, .v = v, .begins = begins_of(p.window, 0, e.length), .period = p.window.period(),
               .query_features = feature_source<Map, true>(p, q, e, h), .key_features = feature_source<Map, false>(p, far_k, e, h),
               .sinks = sinks_of<W>, .kept = std::move(kept), .far_v = stored(1, v), .far = std::move(far), .far_counts = std::move(counts), .storage = std::move(storage)};
  mix(head, p, h);
  if constexpr (decays<M>) head.decay = running_decay<typename M::Gate>(p, e, sum_of(p, h));
  return head;
}

}  // namespace lolcats::eigen
