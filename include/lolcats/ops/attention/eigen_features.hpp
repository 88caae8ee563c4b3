// The features of one head on the CPU: forward, and back to x, W and b.
#pragma once

#include <lolcats/ops/attention/attention.hpp>
#include <lolcats/ops/attention/eigen_rows.hpp>

namespace lolcats::eigen {

template <class T>
using Columns = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
template <class T>
using Column = Eigen::Matrix<T, Eigen::Dynamic, 1>;

/// Where the gradients of one head's features go; null where nobody wants them.
template <class T>
struct FeatureGradients {
  T* x = nullptr;     // first element of the head's rows, same stride as x
  T* map = nullptr;   // (D, f), added to
  T* bias = nullptr;  // (f) or (1), added to
};

/// phi of the rows of one head.
template <class T, class Map>
class FeatureSource {
 public:
  /// x: the head's (rows, D) window; map, bias: the head's slices of the weights.
  FeatureSource(ConstRows<T> x, const T* map, Index width, const T* bias) : x_(x), map_(map), width_(width), bias_(bias) {}

  Index count() const { return Map::count * width_; }

  /// phi (rows, F) of rows [first, first + rows).
  void forward(Index first, Index rows, Eigen::Ref<Columns<T>> phi) const {
    store_features<Map>(Map::features(project(first, rows)), phi);
  }

  /// Adds the gradients that follow from dphi (rows, F).
  template <class Source>
  void backward(Index first, Index rows, const Source& dphi, const FeatureGradients<T>& to) const {
    const Columns<T> dz = pull_features<Map>(project(first, rows), dphi).values.matrix();  // (rows, f)
    if (to.x) {
      auto dx = eigen::rows(to.x + first * x_.outerStride(), rows, x_.cols(), x_.outerStride());
      add_product(dx, dz, weight().transpose());
      if constexpr (Map::skip) dx += dz;
    }
    if (to.map) add_product(eigen::rows(to.map, x_.cols(), width_, width_), x_.middleRows(first, rows).transpose(), dz);
    if constexpr (Map::bias == Bias::vector) {
      if (to.bias) Eigen::Map<Column<T>>(to.bias, width_) += dz.colwise().sum().transpose();
    } else if constexpr (Map::bias == Bias::head) {
      if (to.bias) *to.bias += dz.sum();
    }
  }

 private:
  ConstRows<T> weight() const { return eigen::rows(map_, x_.cols(), width_, width_); }

  /// z = xW + b (+ x), (rows, f).
  RowTile<T> project(Index first, Index rows) const {
    RowTile<T> z;
    z.values.resize(rows, width_);
    set_product(z.values, x_.middleRows(first, rows), weight());
    if constexpr (Map::bias == Bias::vector) {
      z.values.rowwise() += Eigen::Map<const Column<T>>(bias_, width_).transpose().array();
    } else if constexpr (Map::bias == Bias::head) {
      z.values += *bias_;
    }
    if constexpr (Map::skip) z.values += x_.middleRows(first, rows).array();
    return z;
  }

  ConstRows<T> x_;
  const T* map_;
  Index width_;
  const T* bias_;
};

/// Features that are already there: x is (rows, F) itself.
template <class T>
class FeatureSource<T, GivenFeatures> {
 public:
  explicit FeatureSource(ConstRows<T> x) : x_(x) {}

  Index count() const { return x_.cols(); }
  void forward(Index first, Index rows, Eigen::Ref<Columns<T>> phi) const { phi = x_.middleRows(first, rows); }
  template <class Source>
  void backward(Index first, Index rows, const Source& dphi, const FeatureGradients<T>& to) const {
    if (to.x) eigen::rows(to.x + first * x_.outerStride(), rows, x_.cols(), x_.outerStride()) += dphi;
  }

 private:
  ConstRows<T> x_;
};

/// No features: nothing is far.
template <class T>
class FeatureSource<T, NoMap> {
 public:
  Index count() const { return 0; }
};

/// The query or key features of head `h` in the rows of extent `e`.
template <class Map, bool Query, class T, class W>
FeatureSource<T, Map> feature_source(const AttentionProblem<Cpu<T>, W>& p, ConstRows<T> x, const Extent& e, Index h) {
  const Heads& heads = p.heads;
  if constexpr (std::is_same_v<Map, NoMap>) {
    return {};
  } else if constexpr (std::is_same_v<Map, GivenFeatures>) {
    const auto all = (Query ? p.weights.query_features : p.weights.key_features).value();  // (M, heads * F)
    const Index count = p.weights.query_features.cols() / heads.queries;
    const Index index = Query || all.cols() == heads.queries * count ? h : h / heads.group();
    return FeatureSource<T, Map>(rows(all.data + e.row * all.cols() + index * count, e.length, count, all.cols()));
  } else {
    const Weight<Cpu<T>>& map = Query ? p.weights.query_map : p.weights.key_map;
    const Weight<Cpu<T>>& bias = Query ? p.weights.query_bias : p.weights.key_bias;
    const Index index = map.shape()[0] == heads.queries ? h : h / heads.group();
    const Index width = map.shape()[2];
    const Index bias_width = Map::bias == Bias::vector ? width : 1;
    return {x, map.value.data + index * heads.size * width, width,
            bias ? bias.value.data + index * bias_width : nullptr};
  }
}

}  // namespace lolcats::eigen
