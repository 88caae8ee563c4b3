// The words in which a feature map is written.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>

namespace lolcats {

/// A map works on rows: z = xW + b is a row of `projected` numbers, and everything a map does to it is elementwise or a
/// reduction over the row.  So a map is written once, against any type `Row` with
///
///   a + b, a - b, a * b, a / b, -a      elementwise; b may also be a PerRow (one number per row) or a double
///   exp(a), maximum(a, c), minimum(a, c), positive(a)    elementwise; c a double; positive(a) is 1 where a > 0, else 0
///   max(a), min(a), sum(a)              reductions over the row, giving a PerRow
///   is_max(a)                           1 at the row's largest entry (the first of equals), else 0
///
/// and it runs on whatever models that: one row of doubles in the tests, a tile of rows in Eigen arrays on the CPU, a
/// register fragment on a GPU.
// clang-format off
template <class Row>
concept RowAlgebra = std::copyable<Row> && requires(const Row a, const Row b, double c) {
  { a + b } -> std::same_as<Row>;  { a - b } -> std::same_as<Row>;  { a * b } -> std::same_as<Row>;
  { a / b } -> std::same_as<Row>;  { -a } -> std::same_as<Row>;
  { a + c } -> std::same_as<Row>;  { a * c } -> std::same_as<Row>;
  { exp(a) } -> std::same_as<Row>;
  { maximum(a, c) } -> std::same_as<Row>;  { minimum(a, c) } -> std::same_as<Row>;
  { positive(a) } -> std::same_as<Row>;    { is_max(a) } -> std::same_as<Row>;
  { a - max(a) } -> std::same_as<Row>;     { a + min(a) } -> std::same_as<Row>;
  { a * sum(a) } -> std::same_as<Row>;     { a / sum(a) } -> std::same_as<Row>;
};
// clang-format on

/// The features of a map: `Count` rows side by side.  Hedgehog has two, one for each sign.
template <class Row, int Count>
using Features = std::array<Row, static_cast<std::size_t>(Count)>;

/// exp(z) normalised to sum to one over the row, stable.
template <class Row>
constexpr Row softmax(const Row& z) {
  const Row e = exp(z - max(z));
  return e / sum(e);
}

/// Gradient through p = softmax(z): dz = p * (dp - <p, dp>).
template <class Row>
constexpr Row softmax_pullback(const Row& p, const Row& dp) {
  return p * (dp - sum(p * dp));
}

}  // namespace lolcats
