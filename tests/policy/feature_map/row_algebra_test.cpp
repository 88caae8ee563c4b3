#include <lolcats/policy/feature_map/row_algebra.hpp>

#include <lolcats/ops/attention/eigen_rows.hpp>
#include <lolcats/testing/archetypes.hpp>
#include <lolcats/testing/close.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

static_assert(RowAlgebra<PlainRow> && RowAlgebra<lolcats::detail::ArchetypeRow> && RowAlgebra<eigen::RowTile<float>>);
static_assert(!RowAlgebra<double> && !RowAlgebra<std::vector<double>>);

const std::vector<std::vector<double>> a_rows{
    {1, -2, 0.5, 0.5}, {-3, -1, -1, -4}, {0, 0, 0, 0}, {7, 2, 3, 4}, {-0.5, 2.5, 1, 2.5}};
const std::vector<std::vector<double>> b_rows{
    {2, 1, -1, 3}, {1, 1, 2, -2}, {5, -1, 1, 2}, {1, 2, 3, 4}, {-2, 0.5, 1, 8}};

PlainRow result_of(const PlainRow& row) { return row; }
PlainRow result_of(PlainRow::PerRow value) { return {{value.value}}; }

/// f(a, b) on a tile of rows in Eigen arrays equals f on each row of doubles.
template <class F>
void check_same(const char* name, F f) {
  INFO(name);
  const auto rows = static_cast<Index>(a_rows.size()), cols = static_cast<Index>(a_rows[0].size());
  eigen::RowTile<double> a, b;
  a.values.resize(rows, cols);
  b.values.resize(rows, cols);
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < cols; ++j) {
      a.values(i, j) = a_rows[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)];
      b.values(i, j) = b_rows[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)];
    }
  }
  const auto tile = f(a, b);
  for (Index i = 0; i < rows; ++i) {
    std::vector<double> got;
    for (Index j = 0; j < tile.values.cols(); ++j) got.push_back(tile.values(i, j));
    const auto at = static_cast<std::size_t>(i);
    CHECK(close(result_of(f(PlainRow{a_rows[at]}, PlainRow{b_rows[at]})).values, got, 1e-15));
  }
}

}  // namespace

TEST_CASE("tiles of Eigen arrays and rows of doubles are one algebra") {
  check_same("a + b", [](const auto& a, const auto& b) { return a + b; });
  check_same("a - b", [](const auto& a, const auto& b) { return a - b; });
  check_same("a * b", [](const auto& a, const auto& b) { return a * b; });
  check_same("a / b", [](const auto& a, const auto& b) { return a / b; });
  check_same("-a", [](const auto& a, const auto&) { return -a; });
  check_same("a + 2", [](const auto& a, const auto&) { return a + 2.0; });
  check_same("a - 2", [](const auto& a, const auto&) { return a - 2.0; });
  check_same("a * 2", [](const auto& a, const auto&) { return a * 2.0; });
  check_same("a / 2", [](const auto& a, const auto&) { return a / 2.0; });
  check_same("a + max b", [](const auto& a, const auto& b) { return a + max(b); });
  check_same("a - min b", [](const auto& a, const auto& b) { return a - min(b); });
  check_same("a * sum b", [](const auto& a, const auto& b) { return a * sum(b); });
  check_same("a / sum b", [](const auto& a, const auto& b) { return a / sum(b); });
  check_same("exp a", [](const auto& a, const auto&) { return exp(a); });
  check_same("maximum", [](const auto& a, const auto&) { return maximum(a, 0.25); });
  check_same("minimum", [](const auto& a, const auto&) { return minimum(a, 0.25); });
  check_same("positive", [](const auto& a, const auto&) { return positive(a); });
  check_same("max", [](const auto& a, const auto&) { return max(a); });
  check_same("min", [](const auto& a, const auto&) { return min(a); });
  check_same("sum", [](const auto& a, const auto&) { return sum(a); });
  check_same("is_max: the first of equals", [](const auto& a, const auto&) { return is_max(a); });
  check_same("softmax", [](const auto& a, const auto&) { return softmax(a); });
  check_same("softmax_pullback", [](const auto& a, const auto& b) { return softmax_pullback(softmax(a), b); });
}

TEST_CASE("softmax and its pullback are what they say, and large entries do not overflow") {
  const std::vector<double> z{1, -2, 0.5, 0.5}, dp{2, 1, -1, 3};
  double sum = 0, inner = 0;
  for (const double value : z) sum += std::exp(value);
  std::vector<double> p, dz;
  for (std::size_t i = 0; i < z.size(); ++i) {
    p.push_back(std::exp(z[i]) / sum);
    inner += p[i] * dp[i];
  }
  for (std::size_t i = 0; i < z.size(); ++i) dz.push_back(p[i] * (dp[i] - inner));
  CHECK(close(p, softmax(PlainRow{z}).values, 1e-15));
  CHECK(close(dz, softmax_pullback(PlainRow{p}, PlainRow{dp}).values, 1e-15));
  CHECK(close(std::vector{0.5, 0.5, 0.0}, softmax(PlainRow{{1000, 1000, -1000}}).values, 1e-15));
}
