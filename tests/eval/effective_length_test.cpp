#include "plain_weights.hpp"

#include <lolcats/eval/effective_length.hpp>
#include <lolcats/policy/feature_map/relu.hpp>

#include <doctest/doctest.h>

#include <algorithm>

using namespace lolcats;

namespace {

double lookback(Index n, const std::vector<double>& a) {
  double sum = 0;
  for (Index j = 0; j <= n; ++j) sum += static_cast<double>(n - j) * a[static_cast<std::size_t>(j)];
  return sum;
}

void check_equal(const PerHead& got, const std::vector<std::vector<double>>& want) {
  REQUIRE(got.values.size() == want.size());
  for (std::size_t l = 0; l < want.size(); ++l) {
    for (std::size_t h = 0; h < want[l].size(); ++h) {
      CHECK(want[l][h] > 0.5);
      CHECK(got.values[l][h] == doctest::Approx(want[l][h]).epsilon(1e-11));  // a difference of two sums
    }
  }
}

}  // namespace

TEST_CASE("effective_length: student and teacher, by plain loops over the weights") {
  using Student = Llama<Cpu<double>, Hybrid<Hedgehog<2>, Terraced<3>>>;
  Student model = tiny::student<Student>(2);
  const DataSet data = tiny::data(3, {17, 9});
  const auto hybrid = [](auto q, auto k, Index h) { return tiny::hybrid_weights(q, k, h, Terraced<3>()); };
  check_equal(effective_length(model, data, 2), tiny::plain_average(model, data, hybrid, lookback));
  const auto softmax = [](auto q, auto k, Index h) { return tiny::softmax_weights(q, k, h); };
  check_equal(teacher_effective_length(model, data), tiny::plain_average(model, data, softmax, lookback));
}

TEST_CASE("effective_length: weights that do not sum to 1, of queries that no key answers") {
  using Student = Llama<Cpu<double>, Linear<Relu<4>>>;
  Student model = tiny::student<Student>(2);
  const DataSet data = tiny::data(3, {17, 9});
  Index silent = 0;
  const auto relu = [&](View<const double> q, View<const double> k, Index h) {
    std::vector<std::vector<double>> a;
    for (Index n = 0; n < q.rows(); ++n) {
      std::vector<double> row;
      double sum = 1e-12;
      for (Index j = 0; j <= n; ++j) {
        double p = 0;
        for (Index d = 0; d < 4; ++d)
          p += std::max(q.data[n * 16 + h * 4 + d], 1e-12) * std::max(k.data[j * 8 + h / 2 * 4 + d], 1e-12);
        row.push_back(p);
        sum += p;
      }
      silent += n > 0 && sum < 1e-10;
      for (double& p : row) p /= sum;
      a.push_back(std::move(row));
    }
    return a;
  };
  check_equal(effective_length(model, data, 2), tiny::plain_average(model, data, relu, lookback));
  CHECK(silent > 0);  // their weights sum to less than 1: the 1e-12 in the denominator counts
}
