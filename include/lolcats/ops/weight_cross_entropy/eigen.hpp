// Cross-entropy of attention weights on the CPU, by tiles of queries.
#pragma once

#include <lolcats/ops/attention/eigen_partials.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>
#include <lolcats/ops/weight_cross_entropy/weight_cross_entropy.hpp>

#include <vector>

namespace lolcats {

template <class T, class Map, Window W>
struct WeightCrossEntropyKernel<Cpu<T>, Map, W> {
  using B = Cpu<T>;
  using Problem = AttentionProblem<B, W>;

  static void forward(Tape<B>&, const Problem& p, Sliding<> teacher_window, double scale, View<T> y) {
    std::vector<double> sums(static_cast<std::size_t>(p.sequences->count() * p.heads.queries), 0.0);
    parallel_for(static_cast<Index>(sums.size()), [&](Index item) {
      double& sum = sums[static_cast<std::size_t>(item)];
      for_tiles(p, teacher_window, item / p.heads.queries, item % p.heads.queries, [&](const Tile& tile) {
        for (Index i = 0; i < tile.a.rows(); ++i) {
          const auto a = tile.a.row(i).head(tile.first + i + 1).array();  // causal keys
          const auto clamped = a.max(static_cast<T>(weight_floor));
          sum += std::log(partition(tile, i)) -
                 (tile.t.row(i).head(a.size()).array() * clamped.log()).template cast<double>().sum();
        }
      });
    });
    double total = 0;
    for (const double sum : sums) total += sum;
    *y.data = static_cast<T>(scale * total);
  }

  static void backward(Tape<B>& tape, const Problem& p, Sliding<> teacher_window, double scale, View<const T> upstream) {
    const typename Tape<B>::Scope scope(tape);
    const T factor_of_loss = static_cast<T>(scale * static_cast<double>(*upstream.data));
    const AttentionWeights<B>& w = p.weights;
    const Index count = p.sequences->count();
    const Partials query_map(tape, w.query_map, count), query_bias(tape, w.query_bias, count), key_map(tape, w.key_map, count),
        key_bias(tape, w.key_bias, count), factors(tape, w.window_factors, count);

    parallel_for(count * p.heads.keys, [&](Index item) {
      const Index n = item / p.heads.keys;
      const Index g = item % p.heads.keys;
      for (Index h = g * p.heads.group(); h < (g + 1) * p.heads.group(); ++h) {
        eigen::Columns<T> key_dphi;
        T gamma_sum = 0;  // sum of p dL/dp over near keys
        T beta_sum = 0;   // over far keys
        const auto head = for_tiles(p, teacher_window, n, h, [&](Tile& tile) {
          if (key_dphi.size() == 0) key_dphi.setZero(tile.key_phi.rows(), tile.key_phi.cols());
          // e = dL / dp, in place of t
          for (Index i = 0; i < tile.a.rows(); ++i) {
            const Index causal = tile.first + i + 1;
            const Index near = std::min(causal, tile.begin(i));
            const auto a = tile.a.row(i).head(causal).array();
            auto e = tile.t.row(i).head(causal).array();
            e = (a > static_cast<T>(weight_floor)).select(static_cast<T>(1 / partition(tile, i)) - e / a, T(0));
            e = (e - (e * a).sum()) * (tile.inverse(i) * factor_of_loss);
            const T to_weights = T(1) / tile.inverse(i);
            gamma_sum += to_weights * (e * a).tail(causal - near).sum();
            beta_sum += to_weights * (e * a).head(near).sum();
            tile.t.row(i).tail(tile.t.cols() - near).setZero();  // the rest is for far keys
          }
          const Index keys = tile.t.cols();
          eigen::Columns<T> dphi = eigen::Columns<T>::Zero(tile.t.rows(), tile.key_phi.cols());  // (tile, F)
          eigen::add_product(dphi, tile.t, tile.key_phi.topRows(keys), tile.beta);
          eigen::add_product(key_dphi.topRows(keys), tile.t.transpose(), tile.phi, tile.beta);
          tile.query_features.backward(tile.first, dphi.rows(), dphi, {nullptr, query_map.at(n, h), query_bias.at(n, h)});
        });
        const Index key_head = w.key_map && w.key_map.shape()[0] == p.heads.queries ? h : g;
        for (Index first = 0; first < key_dphi.rows(); first += eigen::query_tile) {
          const Index rows = std::min(eigen::query_tile, key_dphi.rows() - first);
          head.key_features->backward(first, rows, key_dphi.middleRows(first, rows),
                                     {nullptr, key_map.at(n, key_head), key_bias.at(n, key_head)});
        }
        if (T* factor = factors.at(n, h)) {
          *factor += gamma_sum * (T(1) - head.gamma) - (head.affine ? beta_sum * head.gamma : T(0));
        }
      }
    });
    for (const Partials* partials : {&query_map, &query_bias, &key_map, &key_bias, &factors}) partials->add();
  }

 private:
  using Partials = eigen::HeadPartials<T>;
  using HeadOf = eigen::Head<T>;
  static_assert(!std::is_same_v<Map, NoMap>, "weight_cross_entropy compares softmax with an attention that has maps");

  /// A tile of queries from `first`: a and t (tile, keys) are the weights of the student and of the teacher.
  struct Tile {
    const HeadOf& head;
    const eigen::FeatureSource<T>& query_features;
    T beta;
    Index first;
    Index length;
    eigen::RowMatrix<T>& a;
    eigen::RowMatrix<T>& t;
    const eigen::Columns<T>& phi;
    const eigen::Columns<T>& key_phi;
    const eigen::Column<T>& inverse;

    Index begin(Index i) const { return head.begin(first + i); }
  };

  /// Sum of the clamped weights over all keys of the sequence, future ones included.
  static double partition(const Tile& tile, Index i) {
    const Index causal = tile.first + i + 1;
    return static_cast<double>(tile.a.row(i).head(causal).array().max(static_cast<T>(weight_floor)).sum()) +
           static_cast<double>(tile.length - causal) * weight_floor;
  }

  template <class F>
  static HeadOf for_tiles(const Problem& p, Sliding<> teacher_window, Index n, Index h, F&& f) {
    const Extent& e = (*p.sequences)[n];
    HeadOf head = eigen::sequence_head<Map, Sum>(p, e, h);
    const HeadOf teacher{.q = head.q, .k = head.k, .v = head.v, .begins = eigen::begins_of(teacher_window, 0, e.length)};
    const eigen::Columns<T> key_phi = eigen::all_features(head.key_features.get(), e.length);
    const eigen::Columns<T> none;
    eigen::RowMatrix<T> a, t;
    eigen::Columns<T> phi, unused;
    eigen::Column<T> inverse, teacher_inverse;
    for (Index first = 0; first < e.length; first += eigen::query_tile) {
      const Index last = std::min(e.length, first + eigen::query_tile);
      eigen::tile_weights(eigen::kind_of<Map, W>, head, key_phi, first, last, a, phi, inverse);
      eigen::tile_weights(eigen::Kind::near, teacher, none, first, last, t, unused, teacher_inverse);
      a.array().colwise() *= inverse.array();
      t.array().colwise() *= teacher_inverse.array();
      Tile tile{head, *head.query_features, head.beta, first, e.length, a, t, phi, key_phi, inverse};
      f(tile);
    }
    return head;
  }
};

}  // namespace lolcats
