// Attention weights on the CPU.
#pragma once

#include <lolcats/ops/attention/eigen_forward.hpp>
#include <lolcats/ops/attention/weights.hpp>

namespace lolcats {

namespace eigen {

/// Weights in full, which attention itself never forms: by tiles of queries against all keys, far ones included, so O(N^2).
///
/// p (tile, keys) of queries [first, last) over all keys up to the last query, and 1 / den (tile); a = p / den.
template <class T>
void tile_weights(Kind kind, const Head<T>& head, const Columns<T>& key_phi, Index first, Index last, RowMatrix<T>& p,
                  Columns<T>& phi, Column<T>& inverse) {
  const bool near = kind != Kind::far;
  const bool far = kind != Kind::near;
  const Index tile = last - first;
  const Index keys = head.end(last - 1);
  p.setZero(tile, keys);
  if (far) {
    phi.resize(tile, key_phi.cols());
    head.query_features->forward(first, tile, phi);
    const Index far_end = std::min(head.far_end(last - 1), key_phi.rows());
    RowMatrix<T> weights = RowMatrix<T>::Zero(tile, far_end);
    add_product(weights, phi, key_phi.topRows(far_end).transpose(), head.beta);
    if (!head.decay.empty()) decay_pairs(head, first, tile, 0, far_end, weights);  // times e^(G_n - G_j)
    // A row ends where its query's own window begins; with a cache, far keys are a list and go back to their columns.
    for (Index i = 0; i < tile; ++i) {
      for (Index j = head.far_begin(); j < std::min(far_end, head.far_end(first + i)); ++j) {
        p(i, head.far.empty() ? j : head.far[static_cast<std::size_t>(j)]) = weights(i, j);
      }
    }
  }
  const Index near_begin = std::min(keys, head.begin(first));
  const std::vector<KeptKey> kept = near ? head.kept_by(first, last) : std::vector<KeptKey>{};
  RowMatrix<T> scores, kept_scores;
  if (near) {
    std::vector<Index> kept_rows;
    for (const KeptKey& key : kept) kept_rows.push_back(key.key);
    const auto q = head.q.middleRows(first, tile);
    kept_scores.setZero(tile, static_cast<Index>(kept.size()));
    if (!kept.empty()) add_product(kept_scores, q, gather<T>(head.kept_k, kept_rows).transpose(), head.score_scale());
    scores.setZero(tile, keys - near_begin);
    if (keys > near_begin) add_product(scores, q, head.k.middleRows(near_begin, keys - near_begin).transpose(), head.score_scale());
  }
  inverse.resize(tile);
  for (Index i = 0; i < tile; ++i) {
    if (near) {
      T largest = -std::numeric_limits<T>::infinity();
      const auto for_near = [&](auto&& f) {
        for (std::size_t c = 0; c < kept.size(); ++c) {
          if (head.keeps(kept[c], first + i)) f(kept[c].key, kept_scores(i, static_cast<Index>(c)));
        }
        for (Index j = std::min(keys, head.begin(first + i)); j < head.end(first + i); ++j) f(j, scores(i, j - near_begin));
      };
      for_near([&](Index, T score) { largest = std::max(largest, score); });
      for_near([&](Index j, T score) { p(i, j) = head.gamma * std::exp(score - largest); });
    }
    // The largest near weight is gamma, so only a denominator of far keys alone needs a floor.
    inverse(i) = T(1) / (p.row(i).sum() + (near ? T(0) : static_cast<T>(linear_epsilon)));
  }
}

#ifdef LOLCATS_COMPILED_KERNELS
#define LOLCATS_DECLARE(T) \
  extern template void tile_weights<T>(Kind, const Head<T>&, const Columns<T>&, Index, Index, RowMatrix<T>&, Columns<T>&, Column<T>&);
LOLCATS_DECLARE(float)
LOLCATS_DECLARE(double)
#undef LOLCATS_DECLARE
#endif

}  // namespace eigen

template <class T, class Map, Window W, MemoryPolicy M>
struct AttentionWeightsKernel<Cpu<T>, Map, W, M> {
  template <class F>
  static void visit(const Cpu<T>&, const AttentionProblem<Cpu<T>, W>& p, F&& f) {
    parallel_for(p.sequences->count() * p.heads.queries, [&](Index item) {
      const Index n = item / p.heads.queries;
      const Index h = item % p.heads.queries;
      const Extent& e = (*p.sequences)[n];
      const auto head = eigen::sequence_head<Map, M>(p, e, h, eigen::sequence_cache<Map, M>(p, e, h / p.heads.group()));
      const eigen::Columns<T> key_phi = eigen::all_features(head.key_features.get(), head.far_v.rows());
      eigen::RowMatrix<T> weights;  // (tile, keys)
      eigen::Columns<T> phi;
      eigen::Column<T> inverse;
      for (Index first = 0; first < e.length; first += eigen::query_tile) {
        const Index last = std::min(e.length, first + eigen::query_tile);
        eigen::tile_weights(eigen::kind_of<Map, W>, head, key_phi, first, last, weights, phi, inverse);
        weights.array().colwise() *= inverse.array();
        f(n, h, first, View<const T>(weights.data(), Shape{weights.rows(), weights.cols()}));
      }
    });
  }

  static void largest(const Cpu<T>& backend, const AttentionProblem<Cpu<T>, W>& p, const std::vector<int>& begins,
                      std::vector<float>& to) {
    visit(backend, p, [&](Index n, Index h, Index first, View<const T> a) {
      const Index row = (*p.sequences)[n].row;
      for (Index i = 0; i < a.rows(); ++i) {
        const Index end = std::min<Index>(a.cols(), begins[static_cast<std::size_t>(row + first + i)]);
        for (Index j = 0; j < end; ++j) {
          float& most = to[static_cast<std::size_t>((row + j) * p.heads.queries + h)];
          most = std::max(most, static_cast<float>(a.data[i * a.cols() + j]));
        }
      }
    });
  }
};

}  // namespace lolcats
