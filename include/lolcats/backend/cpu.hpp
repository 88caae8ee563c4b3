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

/// A dense matrix as a factor of a product: column-major, or row-major and then seen as the transpose of one.
template <class T>
struct Factor {
  const T* data = nullptr;
  Index rows = 0;
  Index cols = 0;
  Index stride = 0;
  bool row_major = false;

  template <class Derived>
  explicit Factor(const Eigen::DenseBase<Derived>& x)
      : data(x.derived().data()),
        rows(x.rows()),
        cols(x.cols()),
        stride(x.derived().outerStride()),
        row_major(Derived::IsRowMajor) {}
  Factor(const T* first, Index row_count, Index col_count, Index outer_stride, bool rows_first)
      : data(first), rows(row_count), cols(col_count), stride(outer_stride), row_major(rows_first) {}

  Factor transposed() const { return {data, cols, rows, stride, !row_major}; }
};

/// c (rows, cols) += factor * a b, with c column-major.
///
/// The one product of the CPU backend.  Eigen compiles a product anew for every pair of expression types, at two to
/// five seconds each; here every kernel of a program shares four.
template <class T>
void add_column_major_product(T* c, Index c_stride, const Factor<T>& a, const Factor<T>& b, T factor) {
  using Columns = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
  using Into = Eigen::Map<Columns, 0, Eigen::OuterStride<>>;
  using ByColumns = Eigen::Map<const Columns, 0, Eigen::OuterStride<>>;
  Into into(c, a.rows, b.cols, Eigen::OuterStride<>(c_stride));
  const auto by_rows = [](const Factor<T>& x) { return rows(x.data, x.rows, x.cols, x.stride); };
  const auto by_columns = [](const Factor<T>& x) {
    return ByColumns(x.data, x.rows, x.cols, Eigen::OuterStride<>(x.stride));
  };
  if (a.row_major) {
    if (b.row_major) into.noalias() += factor * by_rows(a) * by_rows(b);
    else into.noalias() += factor * by_rows(a) * by_columns(b);
  } else {
    if (b.row_major) into.noalias() += factor * by_columns(a) * by_rows(b);
    else into.noalias() += factor * by_columns(a) * by_columns(b);
  }
}

#ifdef LOLCATS_COMPILED_KERNELS  // a program that links one unit with the instantiations spares its other units theirs
extern template void add_column_major_product<float>(float*, Index, const Factor<float>&, const Factor<float>&, float);
extern template void add_column_major_product<double>(double*, Index, const Factor<double>&, const Factor<double>&, double);
#endif

/// c += factor * a b.  c, a and b are matrices with one contiguous axis, blocks or transposes of such; c overlaps
/// neither a nor b.
template <class C, class A, class B>
void add_product(C&& c, const A& a, const B& b, typename A::Scalar factor = 1) {
  using T = typename A::Scalar;
  const Factor<T> left(a), right(b);
  eigen_assert(c.rows() == left.rows && c.cols() == right.cols && left.cols == right.rows);
  if (left.rows == 0 || right.cols == 0 || left.cols == 0) return;
  // A row-major c is the transpose of a column-major one: c^T += b^T a^T.
  if constexpr (std::remove_cvref_t<C>::IsRowMajor) {
    add_column_major_product<T>(c.data(), c.outerStride(), right.transposed(), left.transposed(), factor);
  } else {
    add_column_major_product<T>(c.data(), c.outerStride(), left, right, factor);
  }
}

/// c = factor * a b, or c += factor * a b.
template <class C, class A, class B>
void set_product(C&& c, const A& a, const B& b, typename A::Scalar factor = 1, bool add = false) {
  if (!add) c.setZero();
  add_product(c, a, b, factor);
}

}  // namespace eigen

}  // namespace lolcats
