// The attention that keys receive within the window, on the CPU: what ReceivedAttention scores them by.
#pragma once

#include <lolcats/ops/attention/attention.hpp>
#include <lolcats/ops/attention/eigen_features.hpp>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

namespace lolcats::eigen {

/// The rows of one head over extent e, of x (M, heads * size).
template <class T>
ConstRows<T> rows_of_head(View<const T> x, const Extent& e, Index head, Index size) {
  return rows(x.data + e.row * x.cols() + head * size, e.length, size, x.cols());
}

/// The window's begin for `count` queries from `position` on.
template <class W>
std::vector<Index> begins_of(const W& window, Index position, Index count) {
  std::vector<Index> begins(static_cast<std::size_t>(count));
  for (Index i = 0; i < count; ++i) begins[static_cast<std::size_t>(i)] = window.begin(position + i);
  return begins;
}

/// Adds to received[j] what key row j gets from the queries of extent e, which start at position q_position, in all query heads of
/// key/value head g: softmax over the window and the sinks `sink_k` alone.  Rows of k start at position k_position and go to
/// the last query; those of sinks get nothing.
template <class T, class W, class Number>
void add_received_attention(const AttentionProblem<Cpu<T>, W>& p, const Extent& e, Index g, Index q_position, const ConstRows<T>& k,
                            Index k_position, const std::type_identity_t<RowMatrix<T>>& sink_k, Number* received) {
  constexpr Index tile_size = 64;
  const std::vector<Index> begins = begins_of(p.window, q_position, e.length);
  RowMatrix<T> weights, sink_weights;  // (tile, keys), (tile, sinks)
  const auto first_row = [&](Index i) { return std::max(begins[static_cast<std::size_t>(i)], sinks_of<W>) - k_position; };
  for (Index h = g * p.heads.group(); h < (g + 1) * p.heads.group(); ++h) {
    const auto q = rows_of_head(p.q, e, h, p.heads.size);
    const T scale = T(1) / std::sqrt(static_cast<T>(p.heads.size));
    for (Index first = 0; first < e.length; first += tile_size) {
      const Index tile = std::min(tile_size, e.length - first);
      const Index end = q_position + first + tile - k_position, begin = std::min(first_row(first), end);
      weights.setZero(tile, end - begin);
      sink_weights.setZero(tile, sink_k.rows());
      add_product(weights, q.middleRows(first, tile), k.middleRows(begin, end - begin).transpose(), scale);
      if (sink_k.rows() > 0) add_product(sink_weights, q.middleRows(first, tile), sink_k.transpose(), scale);
      for (Index i = 0; i < tile; ++i) {
        const Index position = q_position + first + i;
        const Index from = first_row(first + i) - begin, count = position + 1 - k_position - begin - from;
        if (count <= 0) continue;  // so the query lies behind all sinks
        auto near = weights.row(i).segment(from, count).array();
        auto sinks = sink_weights.row(i).array();
        const T largest = sinks.size() > 0 ? std::max(near.maxCoeff(), sinks.maxCoeff()) : near.maxCoeff();
        near = (near - largest).exp();
        const T inverse = T(1) / (near.sum() + (sinks - largest).exp().sum());
        for (Index c = 0; c < count; ++c) received[begin + from + c] += static_cast<Number>(near(c) * inverse);
      }
    }
  }
}

/// On average over the queries that had the key in their window: those from its own position on, before `leaves`.
inline double mean_received(double sum, Index position, Index leaves) {
  return sum / static_cast<double>(std::max<Index>(1, leaves - position));
}

}  // namespace lolcats::eigen
