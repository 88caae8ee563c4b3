#include <lolcats/testing/naive_attention.hpp>

#include <lolcats/core/rng.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

NaiveAttention random_problem(Index tokens, bool affine) {
  NaiveAttention c{.tokens = tokens,
                   .heads = 4,
                   .groups = 2,
                   .size = 3,
                   .features = 2,
                   .begin = [](Index n) { return n > 2 ? n - 2 : 0; },
                   .affine = affine,
                   .q = {},
                   .k = {},
                   .v = {},
                   .query_features = {},
                   .key_features = {},
                   .gamma_logits = {-1, 0, 0.5, 2}};
  Rng rng(3);
  const auto draw = [&](Index count, bool positive) {
    std::vector<double> values;
    for (Index i = 0; i < count; ++i) values.push_back(positive ? std::exp(rng.normal()) : rng.normal());
    return values;
  };
  c.q = draw(tokens * 12, false);
  c.k = draw(tokens * 6, false);
  c.v = draw(tokens * 6, false);
  c.query_features = draw(tokens * 8, true);
  c.key_features = draw(tokens * 8, true);
  return c;
}

}  // namespace

TEST_CASE("the reference by hand: two tokens, one head of size one") {
  const NaiveAttention c{.tokens = 2,
                         .heads = 1,
                         .groups = 1,
                         .size = 1,
                         .features = 1,
                         .begin = [](Index n) { return n; },
                         .q = {0, 0},
                         .k = {1, 2},
                         .v = {10, 20},
                         .query_features = {1, 3},
                         .key_features = {5, 1},
                         .gamma_logits = {0}};
  // Token 1: its own key weighs gamma exp(0) = 0.5, the far key 3 * 5 = 15.
  const auto result = naive_attention(c);
  CHECK(close(std::vector<double>{10, (0.5 * 20 + 15 * 10) / 15.5}, result.y, 1e-15));
  CHECK(close(std::vector<double>{1, 0, 15 / 15.5, 0.5 / 15.5}, result.weights, 1e-15));
}

TEST_CASE("weights of the reference sum to one and leave the future alone") {
  const auto c = random_problem(7, true);
  const auto result = naive_attention(c);
  for (Index row = 0; row < 4 * 7; ++row) {
    double sum = 0;
    for (Index j = 0; j < 7; ++j) {
      const double a = result.weights[static_cast<std::size_t>(row * 7 + j)];
      if (j > row % 7) CHECK(a == 0);
      sum += a;
    }
    CHECK(sum == doctest::Approx(1).epsilon(1e-14));
  }
}

TEST_CASE("gradients of the reference are its derivatives") {
  for (const bool affine : {false, true}) {
    CAPTURE(affine);
    auto c = random_problem(6, affine);
    Rng rng(5);
    std::vector<double> dy;
    for (std::size_t i = 0; i < c.q.size(); ++i) dy.push_back(rng.normal());
    const auto loss = [&] {
      const auto y = naive_attention(c).y;
      double sum = 0;
      for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * dy[i];
      return sum;
    };
    const auto d = naive_attention_gradients(c, dy);
    CHECK(close(numerical_gradient(loss, c.q), d.q, 1e-9));
    CHECK(close(numerical_gradient(loss, c.k), d.k, 1e-9));
    CHECK(close(numerical_gradient(loss, c.v), d.v, 1e-9));
    CHECK(close(numerical_gradient(loss, c.query_features), d.query_features, 1e-9));
    CHECK(close(numerical_gradient(loss, c.key_features), d.key_features, 1e-9));
    CHECK(close(numerical_gradient(loss, c.gamma_logits), d.gamma_logits, 1e-9));
  }
}
