// The CPU backend: Eigen for products and vector arithmetic, parallel_for for threads.
#pragma once

#include <lolcats/backend/backend.hpp>
#include <lolcats/core/parallel.hpp>

// Threads are ours: Eigen's own would split a product by their number, and its last bits would depend on it.
#ifndef EIGEN_DONT_PARALLELIZE
#define EIGEN_DONT_PARALLELIZE
#endif
#include <Eigen/Core>

#include <algorithm>
#include <concepts>
#include <string_view>

namespace lolcats {

/// Everything in host memory with elements of type T.
template <std::floating_point T>
struct Cpu {
  using Scalar = T;
  using Real = T;
  using Space = Host;

  static constexpr std::string_view name() { return std::is_same_v<T, float> ? "cpu<float>" : "cpu<double>"; }

  static void zero(T* data, Index n) { std::fill_n(data, n, T(0)); }
  static void copy(const T* from, T* to, Index n) { std::copy_n(from, n, to); }
  template <class U>
  static void to_host(const U* from, double* to, Index n) {
    std::copy_n(from, n, to);
  }
  template <class U>
  static void from_host(const double* from, U* to, Index n) {
    std::transform(from, from + n, to, [](double x) { return static_cast<U>(x); });
  }

  friend bool operator==(const Cpu&, const Cpu&) = default;
};

static_assert(Backend<Cpu<float>> && Backend<Cpu<double>>);

/// Eigen's names for our arrays; used by `ops/*/eigen.hpp` only.
namespace eigen {

template <class T>
using RowMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using ConstRows = Eigen::Map<const RowMatrix<std::remove_const_t<T>>, 0, Eigen::OuterStride<>>;
template <class T>
using Rows = Eigen::Map<RowMatrix<T>, 0, Eigen::OuterStride<>>;

/// A (rows, cols) window of a row-major array whose rows are `stride` elements apart.
template <class T>
Rows<T> rows(T* data, Index count, Index cols, Index stride) {
  return {data, count, cols, Eigen::OuterStride<>(stride)};
}
template <class T>
ConstRows<T> rows(const T* data, Index count, Index cols, Index stride) {
  return {data, count, cols, Eigen::OuterStride<>(stride)};
}

/// A view as a matrix: all axes but the last are rows.
template <class T>
auto matrix(View<T> view) {
  return rows(view.data, view.rows(), view.cols(), view.cols());
}

/// Writes `expression` to `destination`, or adds it there.
template <class Destination, class Expression>
void store(Destination&& destination, const Expression& expression, bool add) {
  if (add) {
    destination.noalias() += expression;
  } else {
    destination.noalias() = expression;
  }
}

/// Rows per work item of a product with `work` multiplications per row: about a million, at least a register block.
inline Index row_grain(Index work) { return std::max<Index>(16, (Index{1} << 20) / std::max<Index>(work, 1)); }

}  // namespace eigen

}  // namespace lolcats
