// Attention backward on the CPU.
#pragma once

#include <lolcats/ops/attention/eigen_forward.hpp>

#include <vector>

namespace lolcats::eigen {

/// Gradients of one head; null pointers where nobody wants them.
template <class T>
struct HeadGradients {
  T* q = nullptr;  // first element of the head's rows, with the stride of the input
  T* k = nullptr;
  T* v = nullptr;
  FeatureGradients<T> query_features, key_features;
  T* window_factor = nullptr;
  std::vector<double>* decay = nullptr;  // dG of each token

  bool inputs() const { return q || k || v; }
  bool maps() const {
    return query_features.x || query_features.map || query_features.bias || key_features.x || key_features.map ||
           key_features.bias;
  }
};

/// Adds the gradients of one head, given y, dy (queries, D) and the forward pass's row statistics.
///
/// With g_nj = (dy_n.v_j - dy_n.y_n) / den_n, the gradient of the unnormalised weight p_nj, and S, z over keys, R, r over
/// queries (docs/math/attention.md):
///   near   ds_nj = p_nj g_nj (dq, dk through the score), and minus their sum over j at the largest score, through c_n
///   far    dphi_q_n = beta (S dy_n - z (dy_n.y_n)) / den_n,   dphi_k_j = beta (R v_j - r),   dv_j = beta R^T phi_k_j
///          R = sum_n phi_q_n dy_n^T / den_n,   r = sum_n phi_q_n (dy_n.y_n) / den_n,   n over queries that see j as far
/// The weights of a row sum to one, so sum_j p_nj g_nj = 0: the near sum is minus the far sum phi_q_n.dphi_q_n.  That
/// gives the gradient of gamma and of c_n without the near part, which is then only computed when q, k or v ask for it.
/// With a gate, a far weight has the factor exp(G_n - G_j), so dG_n = phi_q_n.dphi_q_n and dG_j = -phi_k_j.dphi_k_j.
template <class T, Kind kind>
void pull_head(const Head<T>& head, const ConstRows<T>& y, const ConstRows<T>& dy, const HeadStatistics<T>& saved,
               const HeadGradients<T>& to) {
  constexpr bool near = kind != Kind::far;
  constexpr bool far = kind != Kind::near;
  const Index queries = head.q.rows();
  const Index size = head.q.cols();
  const bool near_wanted = near && to.inputs();
  const bool decays = far && !head.decay.empty();
  const T scale = head.score_scale();

  const Columns<T> key_phi = all_features(head.key_features.get(), head.far_v.rows());  // (far rows, F)
  Columns<T> query_phi(far ? queries : 0, key_phi.cols());                    // (queries, F)
  Columns<T> key_dphi = Columns<T>::Zero(far ? head.far_v.rows() : 0, key_phi.cols());
  FarState<T> storage(key_phi.cols(), size);
  FarSums<T> state = storage.sums();
  Column<T> delta(queries);    // dy_n . y_n
  Column<T> inverse(queries);  // 1 / den_n
  for (Index n = 0; n < queries; ++n) {
    delta(n) = dy.row(n).dot(y.row(n));
    inverse(n) = saved.inverse_denominator[n * saved.stride];
  }
  const auto window_of = [&](T* data, const ConstRows<T>& like) { return rows(data, like.rows(), size, like.outerStride()); };
  // Adds to the gradients of far rows [first, ...), which are rows of k in another order where a cache is.
  const auto add_far = [&](T* data, Index first, const auto& x) {
    auto to_rows = window_of(data, head.v);
    if (head.far.empty()) {
      to_rows.middleRows(first, x.rows()) += x;
    } else {
      for (Index i = 0; i < x.rows(); ++i) to_rows.row(head.far[static_cast<std::size_t>(first + i)]) += x.row(i);
    }
  };

  struct Tile {
    Index first, last, far_end;
  };
  std::vector<Tile> tiles;
  ScoreTile<T> p, g;
  Columns<T> dphi;
  RowMatrix<T> q;
  Index folded = head.far_begin();
  T gamma_sum = 0;

  for_query_tiles(head.period, head.q_position, queries, [&](Index first, Index last) {
    const Index tile = last - first;
    const Index keys_end = head.end(last - 1);
    const Index near_begin = std::min(head.begin(first), std::max(head.behind_sinks(), keys_end));
    const Index mixed_begin = head.cached() ? head.far_end(first) : near_begin;
    const Index mixed_end = head.far_end(last - 1);
    const auto dy_tile = dy.middleRows(first, tile);           // (tile, D)
    const auto inverse_tile = inverse.segment(first, tile);    // (tile)
    const auto delta_tile = delta.segment(first, tile);        // (tile)
    tiles.push_back({first, last, mixed_begin});

    // g (tile, width) for keys with these values
    const auto weight_gradient = [&](const auto& v, Index width) {
      g.resize(tile, key_block);
      set_product(g.leftCols(width), dy_tile, v.transpose());
      for (Index i = 0; i < tile; ++i) g.row(i).head(width) = (g.row(i).head(width) - delta_tile(i)) * inverse_tile(i);
    };
    // p / den, whose transpose times dy is the gradient of the values
    const auto normalize = [&](Index width) {
      for (Index i = 0; i < tile; ++i) p.row(i).head(width) *= inverse_tile(i);
    };

    if constexpr (far) {
      if (decays) state.advance(head.decay_of_query(first));
      fold(head, key_phi, folded, mixed_begin, state);
      folded = std::max(folded, mixed_begin);
      head.query_features->forward(first, tile, query_phi.middleRows(first, tile));
      const auto phi = query_phi.middleRows(first, tile);          // (tile, F)
      dphi.resize(tile, key_phi.cols());                           // (tile, F)
      set_product(dphi, dy_tile, state.sums.transpose());
      add_product(dphi, delta_tile, state.normalizer.transpose(), T(-1));
      dphi.array().colwise() *= head.beta * inverse_tile.array();
      if (decays) {
        for (Index i = 0; i < tile; ++i) dphi.row(i) *= static_cast<T>(std::exp(head.decay_of_query(first + i) - state.decay));
      }
      for (Index block = mixed_begin; block < mixed_end; block += key_block) {
        const Index width = std::min(key_block, mixed_end - block);
        weight_gradient(head.far_v.middleRows(block, width), width);
        p.resize(tile, key_block);
        set_product(p.leftCols(width), phi, key_phi.middleRows(block, width).transpose());
        for (Index i = 0; i < tile; ++i) {
          const Index hi = std::clamp<Index>(head.far_end(first + i) - block, 0, width);
          p.row(i).segment(hi, width - hi).setZero();
          g.row(i).segment(hi, width - hi).setZero();
        }
        g.leftCols(width) *= head.beta;
        p.leftCols(width) *= head.beta;
        if (decays) {
          decay_pairs(head, first, tile, block, width, g);
          decay_pairs(head, first, tile, block, width, p);
        }
        add_product(dphi, g.leftCols(width), key_phi.middleRows(block, width));
        add_product(key_dphi.middleRows(block, width), g.leftCols(width).transpose(), phi);
        if (to.v) {
          normalize(width);
          RowMatrix<T> dv = RowMatrix<T>::Zero(width, size);
          add_product(dv, p.leftCols(width).transpose(), dy_tile);
          add_far(to.v, block, dv);
        }
      }
    }

    if (near_wanted) {
      q = head.q.middleRows(first, tile) * scale;
      // `width` near keys with rows k and v, their scores in p; `mask(row)` leaves those that it reads.  `add(to, product)`
      // adds (width, D) to their gradients.
      const auto pull_near = [&](const auto& k, const auto& v, Index width, auto&& mask, auto&& add) {
        const Index wide = padded(width);
        p.resize(tile, key_block);
        set_product(p.leftCols(width), q, k.transpose());
        for (Index i = 0; i < tile; ++i) {
          auto row = p.row(i);
          row.head(wide) = head.gamma * (row.head(wide) - saved.largest[(first + i) * saved.stride]).exp();
          mask(i, wide);
        }
        if (to.q || to.k) {
          weight_gradient(v, width);
          g.leftCols(width) *= p.leftCols(width);  // ds
          if (to.q) add_product(window_of(to.q, head.q).middleRows(first, tile), g.leftCols(width), k, scale);
          if (to.k) add(window_of(to.k, head.k), g.leftCols(width).transpose(), q);
        }
        if (to.v) {
          normalize(width);
          add(window_of(to.v, head.v), p.leftCols(width).transpose(), dy_tile);
        }
      };
      const std::vector<KeptKey> kept = head.kept_by(first, last);
      for_kept_blocks<T>(head, kept, [&](const KeptKey* keys, const RowMatrix<T>& k, const RowMatrix<T>& v) {
        const Index width = k.rows();
        pull_near(k, v, width, [&](Index i, Index wide) {
          for (Index c = 0; c < width; ++c) {
            if (!head.keeps(keys[c], first + i)) p(i, c) = 0;
          }
          p.row(i).segment(width, wide - width).setZero();
        }, [&](auto&& to_rows, const auto& left, const auto& right) {
          RowMatrix<T> some = RowMatrix<T>::Zero(width, size);
          add_product(some, left, right);
          for (Index c = 0; c < width; ++c) to_rows.row(keys[c].key) += some.row(c);
        });
      });
      for (Index block = near_begin; block < keys_end; block += key_block) {
        const Index width = std::min(key_block, keys_end - block);
        pull_near(head.k.middleRows(block, width), head.v.middleRows(block, width), width, [&](Index i, Index wide) {
          const Index lo = std::clamp<Index>(head.begin(first + i) - block, 0, width);
          const Index hi = std::max(lo, std::clamp<Index>(head.end(first + i) - block, 0, width));
          p.row(i).head(lo).setZero();
          p.row(i).segment(hi, wide - hi).setZero();
        }, [&](auto&& to_rows, const auto& left, const auto& right) {
          add_product(to_rows.middleRows(block, width), left, right);
        });
      }
    }

    if constexpr (far) {
      const Column<T> far_sums = (query_phi.middleRows(first, tile).array() * dphi.array()).rowwise().sum();  // (tile)
      if (to.decay) {
        for (Index i = 0; i < tile; ++i) (*to.decay)[static_cast<std::size_t>(first + i)] += static_cast<double>(far_sums(i));
      }
      if constexpr (near) {
        gamma_sum -= far_sums.sum();
        if (near_wanted && (to.q || to.k)) {
          for (Index i = 0; i < tile; ++i) {
            const Index at = saved.largest_at[(first + i) * saved.stride];
            if (to.q) window_of(to.q, head.q).row(first + i) += (scale * far_sums(i)) * head.k.row(at);
            if (to.k) window_of(to.k, head.k).row(at) += (scale * far_sums(i)) * head.q.row(first + i);
          }
        }
      }
      if (to.query_features.x || to.query_features.map || to.query_features.bias) {
        head.query_features->backward(first, tile, dphi, to.query_features);
      }
    }
  });

  if constexpr (far) {
    // d gamma / d factor = gamma (1 - gamma), and gamma dL/dgamma = gamma_sum; beta = 1 - gamma where affine, with
    // beta dL/dbeta = -gamma_sum.  Nothing is divided by, so that a saturated gamma is harmless.
    if (to.window_factor) *to.window_factor += head.affine ? gamma_sum : gamma_sum * (T(1) - head.gamma);
    if (!to.v && !to.key_features.x && !to.key_features.map && !to.key_features.bias && !to.decay) return;
    // Backwards over the tiles: R and r collect the queries behind a key, then that key leaves the state.
    RowMatrix<T> sums = RowMatrix<T>::Zero(key_phi.cols(), size);     // R (F, D)
    Column<T> normalizer = Column<T>::Zero(key_phi.cols());           // r (F)
    // G that both are as of: a query n counts exp(G_n - decay).  From the last one on, so that no exponent is positive.
    double decay = decays ? head.decay_of_query(queries - 1) : 0;
    Index far_end = folded;
    const auto pull_keys = [&](Index first, Index last) {
      if (first >= last) return;
      const Index count = last - first;
      const auto v = head.far_v.middleRows(first, count);
      Columns<T> phi = key_phi.middleRows(first, count);
      Columns<T> dphi_k = Columns<T>::Zero(count, phi.cols());
      add_product(dphi_k, v, sums.transpose(), head.beta);
      dphi_k.rowwise() -= head.beta * normalizer.transpose();
      if (decays) {
        for (Index j = 0; j < count; ++j) {
          const T factor = static_cast<T>(std::exp(decay - head.decay[static_cast<std::size_t>(first + j)]));
          dphi_k.row(j) *= factor;
          phi.row(j) *= factor;
        }
      }
      key_dphi.middleRows(first, count) += dphi_k;
      if (to.v && head.far.empty()) {
        add_product(window_of(to.v, head.v).middleRows(first, count), phi, sums, head.beta);
      } else if (to.v) {
        RowMatrix<T> dv = RowMatrix<T>::Zero(count, size);
        add_product(dv, phi, sums, head.beta);
        add_far(to.v, first, dv);
      }
    };
    for (std::size_t t = tiles.size(); t-- > 0;) {
      const auto [first, last, tile_far_end] = tiles[t];
      pull_keys(tile_far_end, far_end);  // keys that became far after this tile
      far_end = std::min(far_end, tile_far_end);
      const Index tile = last - first;
      Columns<T> weighted =
          (query_phi.middleRows(first, tile).array().colwise() * inverse.segment(first, tile).array()).matrix();
      if (decays) {
        const double here = head.decay_of_query(first);
        const T factor = static_cast<T>(std::exp(decay - here));
        sums *= factor;
        normalizer *= factor;
        decay = here;
        for (Index i = 0; i < tile; ++i) weighted.row(i) *= static_cast<T>(std::exp(head.decay_of_query(first + i) - here));
      }
      add_product(sums, weighted.transpose(), dy.middleRows(first, tile));
      add_product(normalizer, weighted.transpose(), delta.segment(first, tile));
    }
    pull_keys(head.far_begin(), far_end);
    if (to.decay) {
      for (Index j = 0; j < head.k.rows(); ++j) {
        (*to.decay)[static_cast<std::size_t>(j)] -= static_cast<double>(key_phi.row(j).dot(key_dphi.row(j)));
      }
    }
    if (to.key_features.x || to.key_features.map || to.key_features.bias) {
      FeatureGradients<T> features = to.key_features;
      RowMatrix<T> dx = RowMatrix<T>::Zero(features.x && !head.far.empty() ? head.far_v.rows() : 0, size);
      if (dx.rows() > 0) features.x = dx.data();
      for (Index first = 0; first < head.far_v.rows(); first += query_tile) {
        const Index n = std::min(query_tile, head.far_v.rows() - first);
        head.key_features->backward(first, n, key_dphi.middleRows(first, n), features);
      }
      if (dx.rows() > 0) add_far(to.key_features.x, 0, dx);
    }
  }
}

#ifdef LOLCATS_COMPILED_KERNELS
#define LOLCATS_DECLARE(T, kind)                                                                     \
  extern template void pull_head<T, kind>(const Head<T>&, const ConstRows<T>&, const ConstRows<T>&, \
                                          const HeadStatistics<T>&, const HeadGradients<T>&);
LOLCATS_DECLARE(float, Kind::near)
LOLCATS_DECLARE(float, Kind::far)
LOLCATS_DECLARE(float, Kind::mixed)
LOLCATS_DECLARE(double, Kind::near)
LOLCATS_DECLARE(double, Kind::far)
LOLCATS_DECLARE(double, Kind::mixed)
#undef LOLCATS_DECLARE
#endif

}  // namespace lolcats::eigen
