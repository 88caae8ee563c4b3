// Attention weights on the CPU.
#pragma once

#include <lolcats/ops/attention/eigen_forward.hpp>
#include <lolcats/ops/attention/weights.hpp>

namespace lolcats {

namespace eigen {

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
    const Index far_end = std::min(keys, head.begin(last - 1));
    add_product(p.leftCols(far_end), phi, key_phi.topRows(far_end).transpose(), head.beta);
    if (!head.decay.empty()) decay_pairs(head, first, tile, 0, far_end, p);
  }
  RowMatrix<T> scores, sink_scores;
  const Index near_begin = std::min(keys, head.begin(first));
  const Index sinks = std::min(keys, head.sinks_of(last - 1));
  if (near && sinks > 0) {
    sink_scores.setZero(tile, sinks);
    add_product(sink_scores, head.q.middleRows(first, tile), head.sink_k.topRows(sinks).transpose(), head.score_scale());
  }
  if (near) {
    scores.setZero(tile, keys - near_begin);
    add_product(scores, head.q.middleRows(first, tile), head.k.middleRows(near_begin, keys - near_begin).transpose(),
                head.score_scale());
  }
  inverse.resize(tile);
  for (Index i = 0; i < tile; ++i) {
    const Index lo = std::min(keys, head.begin(first + i));
    const Index hi = head.end(first + i);
    auto row = p.row(i);
    row.segment(lo, keys - lo).setZero();
    if (near) {
      const Index seen = std::min(sinks, hi);
      const auto s = scores.row(i).segment(lo - near_begin, std::max<Index>(0, hi - lo)).array();
      T largest = -std::numeric_limits<T>::infinity();
      if (lo < hi) largest = s.maxCoeff();
      if (seen > 0) largest = std::max(largest, sink_scores.row(i).head(seen).maxCoeff());
      if (lo < hi) row.segment(lo, hi - lo) = (head.gamma * (s - largest).exp()).matrix();
      row.head(sinks).setZero();
      if (seen > 0) row.head(seen) = (head.gamma * (sink_scores.row(i).head(seen).array() - largest).exp()).matrix();
    }
    inverse(i) = T(1) / (row.sum() + (near ? T(0) : static_cast<T>(linear_epsilon)));
  }
}

}  // namespace eigen

template <class T, class Map, Window W, MemoryPolicy M>
struct AttentionWeightsKernel<Cpu<T>, Map, W, M> {
  template <class F>
  static void visit(const Cpu<T>&, const AttentionProblem<Cpu<T>, W>& p, F&& f) {
    parallel_for(p.sequences->count() * p.heads.queries, [&](Index item) {
      const Index n = item / p.heads.queries;
      const Index h = item % p.heads.queries;
      const Extent& e = (*p.sequences)[n];
      const auto head = eigen::training_head<Map, M>(p, e, h);
      const eigen::Columns<T> key_phi = eigen::all_features(head.key_features.get(), e.length);
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
};

}  // namespace lolcats
