// The row algebra on Eigen arrays: a tile of rows, one column per feature, so that vector lanes run over rows.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/policy/feature_map/feature_map.hpp>

#include <utility>

namespace lolcats::eigen {

/// One number per row of a tile.
template <class T>
struct PerRow {
  Eigen::Array<T, Eigen::Dynamic, 1> values;
};

/// A tile of rows, column-major; models RowAlgebra.
template <class T>
struct RowTile {
  using Array = Eigen::Array<T, Eigen::Dynamic, Eigen::Dynamic>;
  Array values;  // (rows, f)

  friend RowTile operator+(const RowTile& a, const RowTile& b) { return {a.values + b.values}; }
  friend RowTile operator-(const RowTile& a, const RowTile& b) { return {a.values - b.values}; }
  friend RowTile operator*(const RowTile& a, const RowTile& b) { return {a.values * b.values}; }
  friend RowTile operator/(const RowTile& a, const RowTile& b) { return {a.values / b.values}; }
  friend RowTile operator-(const RowTile& a) { return {-a.values}; }

  friend RowTile operator+(const RowTile& a, const PerRow<T>& b) { return {a.values.colwise() + b.values}; }
  friend RowTile operator-(const RowTile& a, const PerRow<T>& b) { return {a.values.colwise() - b.values}; }
  friend RowTile operator*(const RowTile& a, const PerRow<T>& b) { return {a.values.colwise() * b.values}; }
  friend RowTile operator/(const RowTile& a, const PerRow<T>& b) {
    return {a.values.colwise() * b.values.inverse().eval()};  // one division per row, not per entry
  }

  friend RowTile operator+(const RowTile& a, double c) { return {a.values + static_cast<T>(c)}; }
  friend RowTile operator-(const RowTile& a, double c) { return {a.values - static_cast<T>(c)}; }
  friend RowTile operator*(const RowTile& a, double c) { return {a.values * static_cast<T>(c)}; }
  friend RowTile operator/(const RowTile& a, double c) { return {a.values / static_cast<T>(c)}; }

  friend RowTile exp(const RowTile& a) { return {a.values.exp()}; }
  friend RowTile maximum(const RowTile& a, double c) { return {a.values.max(static_cast<T>(c))}; }
  friend RowTile minimum(const RowTile& a, double c) { return {a.values.min(static_cast<T>(c))}; }
  friend RowTile positive(const RowTile& a) { return {(a.values > T(0)).template cast<T>()}; }

  friend PerRow<T> max(const RowTile& a) {
    return fold(a, [](const auto& x, const auto& y) { return x.max(y); });
  }
  friend PerRow<T> min(const RowTile& a) {
    return fold(a, [](const auto& x, const auto& y) { return x.min(y); });
  }
  friend PerRow<T> sum(const RowTile& a) {
    return fold(a, [](const auto& x, const auto& y) { return x + y; });
  }
  friend RowTile is_max(const RowTile& a) {
    RowTile found{Array::Zero(a.values.rows(), a.values.cols())};
    for (Index row = 0; row < a.values.rows(); ++row) {
      Index at = 0;
      a.values.row(row).maxCoeff(&at);
      found.values(row, at) = T(1);
    }
    return found;
  }

 private:
  /// Column by column, so that every step is one vector operation over the rows.
  template <class F>
  static PerRow<T> fold(const RowTile& a, F f) {
    PerRow<T> result{a.values.col(0)};
    for (Index j = 1; j < a.values.cols(); ++j) result.values = f(result.values, a.values.col(j)).eval();
    return result;
  }
};

static_assert(RowAlgebra<RowTile<float>>);

/// Writes the features of a tile, clamped as the map says, to `phi` (rows, F).
template <FeatureMap M, class T, class Destination>
void store_features(const Features<RowTile<T>, M::count>& f, Destination&& phi) {
  Index column = 0;
  for (const RowTile<T>& part : f) {
    const Index width = part.values.cols();
    if constexpr (M::clamped) {
      phi.middleCols(column, width) = part.values.max(static_cast<T>(M::floor)).matrix();
    } else {
      phi.middleCols(column, width) = part.values.matrix();
    }
    column += width;
  }
}

/// dz (rows, f) from dphi (rows, F): the map's pullback behind the clamp's, which passes nothing where it binds.
template <FeatureMap M, class T, class Source>
RowTile<T> pull_features(const RowTile<T>& z, const Source& dphi) {
  const auto f = M::features(z);
  Features<RowTile<T>, M::count> df;
  const Index width = z.values.cols();
  for (std::size_t part = 0; part < f.size(); ++part) {
    df[part].values = dphi.middleCols(static_cast<Index>(part) * width, width).array();
    if constexpr (M::clamped) df[part].values *= (f[part].values > static_cast<T>(M::floor)).template cast<T>();
  }
  return M::pullback(z, f, df);
}

}  // namespace lolcats::eigen
