#include <lolcats/train/schedule.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace lolcats;

namespace {
struct NoState {};
}  // namespace
static_assert(!Schedule<NoState>);

TEST_CASE("constant is constant") {
  Constant::State s({}, 0.25, 100);
  for (const Index u : {0, 1, 99, 1000}) CHECK(s.rate(u) == 0.25);
  s.observe(1.0);
  CHECK(s.rate(7) == 0.25);
  CHECK(s.save().empty());
  CHECK_THROWS_AS(s.load(std::vector<double>{1.0}), FormatError);
}

TEST_CASE("cosine warms up linearly, then falls along half a cosine to its floor") {
  const Cosine::State s({.warmup = 4, .total = 12, .floor = 0.1}, 2.0, 99);
  CHECK(s.rate(0) == 0.5);
  CHECK(s.rate(1) == 1.0);
  CHECK(s.rate(3) == 2.0);
  CHECK(s.rate(4) == 2.0);
  CHECK(s.rate(6) == doctest::Approx(0.2 + 1.8 * (1 + std::sqrt(0.5)) / 2).epsilon(1e-14));  // cos(pi / 4)
  CHECK(s.rate(8) == doctest::Approx(0.2 + 1.8 / 2).epsilon(1e-14));                         // half way
  CHECK(s.rate(12) == doctest::Approx(0.2).epsilon(1e-14));
  CHECK(s.rate(1000) == doctest::Approx(0.2).epsilon(1e-14));
}

TEST_CASE("cosine without a total is as long as the run") {
  CHECK(Cosine::State({}, 1.0, 10).rate(5) == doctest::Approx(0.5).epsilon(1e-14));
  CHECK(Cosine::State({}, 1.0, 10).describe() == "cosine(warmup=0, total=10, floor=0)");
  CHECK_THROWS_AS(Cosine::State({.warmup = 5, .total = 4}, 1.0, 10), ConfigError);
  CHECK_THROWS_AS(Cosine::State({.floor = 1.5}, 1.0, 10), ConfigError);
}

TEST_CASE("reduce on plateau forgives `patience` bad evaluations and reduces at the next") {
  ReduceOnPlateau::State s({}, 1e-2, 0);
  std::vector<double> rates;
  for (int i = 0; i < 12; ++i) {
    s.observe(1.0);
    rates.push_back(s.rate(0));
  }
  CHECK(rates[10] == 1e-2);                                  // the first is good, ten are bad
  CHECK(rates[11] == doctest::Approx(1e-3).epsilon(1e-14));  // the eleventh bad one
}

TEST_CASE("reduce on plateau: what counts as good, and where it ends") {
  ReduceOnPlateau::State s({.patience = 0}, 1e-2, 0);
  s.observe(1.0);
  s.observe(1.0 - 0.9e-4);  // better, but by less than the threshold: bad
  CHECK(s.rate(0) == doctest::Approx(1e-3));
  s.observe(1.0 - 1.1e-4);  // good
  CHECK(s.rate(0) == doctest::Approx(1e-3));
  s.observe(2.0);
  CHECK(s.rate(0) == doctest::Approx(1e-4));
  for (int i = 0; i < 5; ++i) s.observe(2.0);
  CHECK(s.rate(0) == 1e-5);  // the floor
}

TEST_CASE("reduce on plateau leaves a rate that is nearly at the floor, as torch does") {
  const auto reduced = [](double rate) {
    ReduceOnPlateau::State s({.patience = 0}, rate, 0);
    s.observe(1.0);
    s.observe(1.0);
    return s.rate(0);
  };
  CHECK(reduced(1e-5 + 0.9e-8) == 1e-5 + 0.9e-8);
  CHECK(reduced(1e-5 + 1.1e-8) == 1e-5);
}

TEST_CASE("a good evaluation starts the count of bad ones anew") {
  ReduceOnPlateau::State s({.patience = 1}, 1.0, 0);
  for (const double loss : {5.0, 6.0, 4.0, 6.0}) s.observe(loss);
  CHECK(s.rate(0) == 1.0);
  s.observe(6.0);
  CHECK(s.rate(0) == doctest::Approx(0.1));
}

TEST_CASE("reduce on plateau goes on from its saved state") {
  const ReduceOnPlateau::State whole({.factor = 0.5, .patience = 1}, 1.0, 0);
  const std::vector<double> losses{3, 4, 2, 2, 2, 2, 1.9, 5, 5, 5, 5};
  for (std::size_t cut = 0; cut <= losses.size(); ++cut) {
    ReduceOnPlateau::State a = whole, b = whole, c = whole;
    for (std::size_t i = 0; i < losses.size(); ++i) {
      a.observe(losses[i]);
      if (i == cut) c.load(b.save());
      (i < cut ? b : c).observe(losses[i]);
    }
    if (cut < losses.size()) CHECK(a.save() == c.save());
  }
  CHECK_THROWS_AS(ReduceOnPlateau::State(whole).load(std::vector<double>{1.0}), FormatError);
  const double nan = std::nan(""), infinity = INFINITY;
  for (const auto& hostile : std::vector<std::vector<double>>{
           {0.1, 1, 1e300}, {0.1, 1, -1}, {0.1, 1, nan}, {nan, 1, 0}, {infinity, 1, 0}, {-0.1, 1, 0}, {0.1, nan, 0}}) {
    CHECK_THROWS_AS(ReduceOnPlateau::State(whole).load(hostile), FormatError);
  }
  CHECK_NOTHROW(ReduceOnPlateau::State(whole).load(std::vector<double>{0.1, infinity, 0}));  // before an evaluation
  CHECK_THROWS_AS(ReduceOnPlateau::State({.factor = 1.0}, 1.0, 0), ConfigError);
}
