// Attention forward on the CPU: tiles of queries, a running state of far keys.
#pragma once

#include <lolcats/ops/attention/eigen_head.hpp>

#include <cmath>
#include <limits>
#include <vector>

namespace lolcats::eigen {

/// Scores or weights of one tile against one block.
template <class T>
using ScoreTile = Eigen::Array<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor, query_tile, key_block>;

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
  const auto v = head.far_v.middleRows(first, last - first);
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

/// Calls f(keys, k, v) for blocks of kept keys: which they are, and their rows.
template <class T, class F>
void for_kept_blocks(const Head<T>& head, const std::vector<KeptKey>& kept, F&& f) {
  for (std::size_t block = 0; block < kept.size(); block += key_block) {
    const std::size_t width = std::min<std::size_t>(key_block, kept.size() - block);
    std::vector<Index> rows;
    for (std::size_t c = block; c < block + width; ++c) rows.push_back(kept[c].key);
    f(kept.data() + block, gather<T>(head.kept_k, rows), gather<T>(head.kept_v, rows));
  }
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
/// tiles; returns how many of the far rows it has taken up.
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
  Index folded = head.far_begin();

  for_query_tiles(head.period, head.q_position, head.q.rows(), [&](Index first, Index last) {
    const Index tile = last - first;
    const Index keys_end = head.end(last - 1);
    const Index near_begin = std::min(head.begin(first), std::max(head.behind_sinks(), keys_end));
    const Index mixed_begin = head.cached() ? head.far_end(first) : near_begin;
    const Index mixed_end = head.far_end(last - 1);

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

    // The scores of `width` near keys are in p: turns those that `see(row, lo, hi)` leaves into weights.  `at(c)` is the
    // place of key c.
    const auto weigh = [&](Index width, auto&& see, auto&& at) {
      const Index wide = padded(width);
      for (Index i = 0; i < tile; ++i) {
        Index lo = 0, hi = width;
        auto row = p.row(i);
        see(i, lo, hi);
        const T top = lo < hi ? row.segment(lo, hi - lo).maxCoeff() : lowest;
        if (top == lowest) {
          row.head(wide).setZero();
          continue;
        }
        if (top > largest(i)) {
          const T shrink = std::exp(largest(i) - top);
          near_sum.row(i) *= shrink;
          near_weight(i) *= shrink;
          largest(i) = top;
          if (saved.largest_at) {
            const T* scores = p.data() + i * key_block;
            largest_at[static_cast<std::size_t>(i)] = at(std::find(scores + lo, scores + hi, top) - scores);
          }
        }
        row.head(wide) = (row.head(wide) - largest(i)).exp();
        row.head(lo).setZero();
        row.segment(hi, wide - hi).setZero();
        near_weight(i) += row.head(wide).sum();
      }
    };
    if constexpr (near) {
      p.resize(tile, key_block);
      const std::vector<KeptKey> kept = head.kept_by(first, last);
      for_kept_blocks<T>(head, kept, [&](const KeptKey* keys, const RowMatrix<T>& k, const RowMatrix<T>& v) {
        const Index width = k.rows();
        set_product(p.leftCols(width), q, k.transpose());
        weigh(width, [&](Index i, Index&, Index&) {
          for (Index c = 0; c < width; ++c) {
            if (!head.keeps(keys[c], first + i)) p(i, c) = lowest;
          }
        }, [&](Index c) { return keys[c].key; });
        add_product(near_sum, p.leftCols(width), v);
      });
      for (Index block = near_begin; block < keys_end; block += key_block) {
        const Index width = std::min(key_block, keys_end - block);
        set_product(p.leftCols(width), q, head.k.middleRows(block, width).transpose());
        weigh(width, [&](Index i, Index& lo, Index& hi) {
          lo = std::clamp<Index>(head.begin(first + i) - block, 0, width);
          hi = std::clamp<Index>(head.end(first + i) - block, 0, width);
        }, [&](Index c) { return block + c; });
        add_product(near_sum, p.leftCols(width), head.v.middleRows(block, width));
      }
    }
    if constexpr (far) {
      for (Index block = mixed_begin; block < mixed_end; block += key_block) {
        const Index mixed = std::min(key_block, mixed_end - block);
        p.resize(tile, key_block);
        set_product(p.leftCols(mixed), phi, key_phi.middleRows(block, mixed).transpose());
        if (decays) decay_pairs(head, first, tile, block, mixed, p);
        for (Index i = 0; i < tile; ++i) {
          const Index hi = std::clamp<Index>(head.far_end(first + i) - block, 0, mixed);
          p.row(i).segment(hi, mixed - hi).setZero();
          far_weight(i) += p.row(i).head(hi).sum();
        }
        add_product(far_sum, p.leftCols(mixed), head.far_v.middleRows(block, mixed));
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
extern template void fold<float>(const Head<float>&, const Columns<float>&, Index, Index, FarSums<float>&);
extern template void fold<double>(const Head<double>&, const Columns<double>&, Index, Index, FarSums<double>&);
#endif

}  // namespace lolcats::eigen
