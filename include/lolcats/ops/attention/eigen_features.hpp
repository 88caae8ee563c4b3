// The features of one head on the CPU: forward, and back to x, W and b.
#pragma once

#include <lolcats/ops/attention/attention.hpp>
#include <lolcats/ops/attention/eigen_rows.hpp>

#include <memory>

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

/// phi of the rows of one head, a tile at a time.  Virtual, so that the kernels around it are compiled once for all maps: a
/// call handles a tile of up to 64 rows.
template <class T>
class FeatureSource {
 public:
  virtual ~FeatureSource() = default;

  /// F.
  virtual Index count() const = 0;
  /// phi (rows, F) of rows [first, first + rows).
  virtual void forward(Index first, Index rows, Eigen::Ref<Columns<T>> phi) const = 0;
  /// Adds the gradients that follow from dphi (rows, F).
  virtual void backward(Index first, Index rows, const Eigen::Ref<const Columns<T>>& dphi,
                        const FeatureGradients<T>& to) const = 0;
};

/// Features by a map of x: the head's (rows, D) window.
template <class T, class Map>
class MappedFeatures final : public FeatureSource<T> {
 public:
  /// map (D, width), bias: the head's slices of the weights.
  MappedFeatures(ConstRows<T> x, const T* map, Index width, const T* bias) : x_(x), map_(map), width_(width), bias_(bias) {}

  Index count() const override { return Map::count * width_; }

  void forward(Index first, Index rows, Eigen::Ref<Columns<T>> phi) const override {
    store_features<Map>(Map::features(project(first, rows)), phi);
  }

  void backward(Index first, Index rows, const Eigen::Ref<const Columns<T>>& dphi,
                const FeatureGradients<T>& to) const override {
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
class StoredFeatures final : public FeatureSource<T> {
 public:
  explicit StoredFeatures(ConstRows<T> x) : x_(x) {}

  Index count() const override { return x_.cols(); }
  void forward(Index first, Index rows, Eigen::Ref<Columns<T>> phi) const override { phi = x_.middleRows(first, rows); }
  void backward(Index first, Index rows, const Eigen::Ref<const Columns<T>>& dphi,
                const FeatureGradients<T>& to) const override {
    if (to.x) eigen::rows(to.x + first * x_.outerStride(), rows, x_.cols(), x_.outerStride()) += dphi;
  }

 private:
  ConstRows<T> x_;
};

/// The query or key features of head `h` in the rows of extent `e`; null without a map.
template <class Map, bool Query, class T, class W>
std::unique_ptr<FeatureSource<T>> feature_source(const AttentionProblem<Cpu<T>, W>& p, const ConstRows<T>& x,
                                                 const Extent& e, Index h) {
  const Heads& heads = p.heads;
  if constexpr (std::is_same_v<Map, NoMap>) {
    return nullptr;
  } else if constexpr (std::is_same_v<Map, GivenFeatures>) {
    const auto all = (Query ? p.weights.query_features : p.weights.key_features).value();  // (M, heads * F)
    const Index count = p.weights.query_features.cols() / heads.queries;
    const Index index = Query || all.cols() == heads.queries * count ? h : h / heads.group();
    return std::make_unique<StoredFeatures<T>>(
        rows(all.data + e.row * all.cols() + index * count, e.length, count, all.cols()));
  } else {
    const Weight<Cpu<T>>& map = Query ? p.weights.query_map : p.weights.key_map;
    const Weight<Cpu<T>>& bias = Query ? p.weights.query_bias : p.weights.key_bias;
    const Index index = map.shape()[0] == heads.queries ? h : h / heads.group();
    const Index width = map.shape()[2];
    const Index bias_width = Map::bias == Bias::vector ? width : 1;
    return std::make_unique<MappedFeatures<T, Map>>(x, map.value.data + index * heads.size * width, width,
                                                    bias ? bias.value.data + index * bias_width : nullptr);
  }
}

}  // namespace lolcats::eigen
