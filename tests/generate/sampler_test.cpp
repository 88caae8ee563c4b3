#include <lolcats/generate/sampler.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <vector>

using namespace lolcats;

namespace {

/// Pearson's statistic of `draws` draws against expected probabilities; its mean is (categories - 1).
double chi_square(const Sampler& sampler, const std::vector<double>& logits, const std::map<Index, double>& expected,
                  Index draws) {
  std::map<Index, Index> seen;
  for (Index i = 0; i < draws; ++i) ++seen[sampler(logits, i % 7, i / 7)];
  double statistic = 0;
  for (const auto& [token, probability] : expected) {
    const double want = probability * static_cast<double>(draws);
    const double got = static_cast<double>(seen[token]);
    statistic += (got - want) * (got - want) / want;
    seen.erase(token);
  }
  for (const auto& [token, count] : seen) CHECK_MESSAGE(count == 0, "token ", token, " cannot be drawn");
  return statistic;
}

std::map<Index, double> softmax_of(const std::vector<double>& logits, const std::vector<Index>& tokens,
                                   double temperature) {
  std::map<Index, double> p;
  double sum = 0;
  for (const Index token : tokens) sum += p[token] = std::exp(logits[static_cast<std::size_t>(token)] / temperature);
  for (auto& [token, probability] : p) probability /= sum;
  return p;
}

const std::vector<double> logits = {0.3, 2.0, -1.0, 1.1, 0.9, -4.0};

}  // namespace

TEST_CASE("Sampler: greedy takes the largest logit, and the first of equal ones") {
  CHECK(Sampler{}(logits) == 1);
  CHECK(Sampler{}(std::vector<double>{1, 3, 3, 2}) == 1);
  CHECK(Sampler{}.distribution(logits).size() == 1);
}

TEST_CASE("Sampler: draws follow the softmax at a temperature") {
  // 99.9% quantile of chi-square with 5 degrees of freedom: 20.5; the seed is fixed.
  for (const double temperature : {0.5, 1.0, 2.0}) {
    const Sampler sampler{.temperature = temperature, .seed = 11};
    CHECK(chi_square(sampler, logits, softmax_of(logits, {0, 1, 2, 3, 4, 5}, temperature), 20000) < 20.5);
  }
  // The statistic notices another temperature.
  CHECK(chi_square({.temperature = 1.0, .seed = 11}, logits, softmax_of(logits, {0, 1, 2, 3, 4, 5}, 1.2), 20000) > 100);
}

TEST_CASE("Sampler: top-k keeps the k largest logits") {
  const Sampler sampler{.temperature = 0.8, .top_k = 3, .seed = 5};
  CHECK(chi_square(sampler, logits, softmax_of(logits, {1, 3, 4}, 0.8), 20000) < 13.8);  // 99.9%, 2 degrees
  CHECK(Sampler{.temperature = 1, .top_k = 100}.distribution(logits).size() == logits.size());
  CHECK(Sampler{.temperature = 3, .top_k = 1}(logits) == 1);
  // Ties go to the smaller token.
  CHECK(Sampler{.temperature = 1}.distribution(std::vector<double>{0, 1, 1, 1})[0].token == 1);
  CHECK(Sampler{.temperature = 1, .top_k = 2}.distribution(std::vector<double>{0, 1, 1, 1})[1].token == 2);
}

TEST_CASE("Sampler: top-p keeps the smallest set with at least that mass") {
  // Probabilities 0.5, 0.25, 0.125, 0.125.
  const std::vector<double> halves = {std::log(2.0), std::log(4.0), std::log(1.0), std::log(1.0)};
  const auto count = [&](double p) { return Sampler{.temperature = 1, .top_p = p}.distribution(halves).size(); };
  CHECK(count(0.01) == 1);
  CHECK(count(0.49) == 1);
  CHECK(count(0.51) == 2);
  CHECK(count(0.74) == 2);
  CHECK(count(0.76) == 3);
  CHECK(count(0.99) == 4);
  CHECK(count(1.0) == 4);
  const auto kept = Sampler{.temperature = 1, .top_p = 0.7}.distribution(halves);
  CHECK(kept[0].token == 1);
  CHECK(kept[0].probability == doctest::Approx(2.0 / 3).epsilon(1e-12));
  CHECK(kept[1].token == 0);
  // Two equal logits have a half each, exactly: half the mass is one token, the smaller.
  const auto half = Sampler{.temperature = 1, .top_p = 0.5}.distribution(std::vector<double>{1, 1});
  REQUIRE(half.size() == 1);
  CHECK(half[0].token == 0);
  const Sampler sampler{.temperature = 1, .top_p = 0.7, .seed = 3};
  CHECK(chi_square(sampler, halves, {{0, 1.0 / 3}, {1, 2.0 / 3}}, 20000) < 10.8);  // 99.9%, 1 degree
}

TEST_CASE("Sampler: top-p counts the mass that top-k left") {
  // After top-k 2: 2/3 and 1/3, so 0.6 keeps one token; of all four it would keep two.
  const std::vector<double> halves = {std::log(2.0), std::log(4.0), std::log(1.0), std::log(1.0)};
  CHECK(Sampler{.temperature = 1, .top_k = 2, .top_p = 0.6}.distribution(halves).size() == 1);
}

TEST_CASE("Sampler: a draw is a function of seed, sequence and step") {
  const Sampler a{.temperature = 1, .seed = 1}, b{.temperature = 1, .seed = 2};
  int other_seed = 0, other_sequence = 0, other_step = 0;
  for (Index i = 0; i < 200; ++i) {
    CHECK(a(logits, 3, i) == a(logits, 3, i));
    other_seed += a(logits, 3, i) != b(logits, 3, i);
    other_sequence += a(logits, 3, i) != a(logits, 4, i);
    other_step += a(logits, 3, i) != a(logits, 3, i + 1);
  }
  CHECK(other_seed > 50);
  CHECK(other_sequence > 50);
  CHECK(other_step > 50);
}

TEST_CASE("Sampler: large logits do not overflow, and impossible settings are errors") {
  CHECK(Sampler{.temperature = 0.01}(std::vector<double>{-1e4, 1e4, 0}) == 1);
  CHECK_THROWS_AS(Sampler{.temperature = -1}(logits), ConfigError);
  CHECK_THROWS_AS((Sampler{.temperature = 1, .top_p = 0}(logits)), ConfigError);
  CHECK_THROWS_AS((Sampler{.temperature = 1, .top_k = -2}(logits)), ConfigError);
  CHECK_THROWS_AS(Sampler{}(std::vector<double>{}), DataError);
  CHECK_THROWS_WITH_AS(Sampler{}(std::vector<double>{0, std::nan(""), 1}), "Sampler: the logit of token 1 is nan",
                       NumericError);
}
