// dropout, and its mask.
#include "checks.hpp"

#include <lolcats/ops/dropout/eigen.hpp>
#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("dropout is its reference, values and gradients", B, Cpu<float>, Cpu<double>) { check_dropout<B>(); }

TEST_CASE("dropout has the derivatives of what it computes") {
  using B = Cpu<double>;
  Rng rng(1);
  CHECK(check_gradients({normal<B>(Shape{5, 3}, rng)}, {}, [](Tape<B>& tape, std::span<const Var<B>> x) {
    tape.training = true;
    return dropout(tape, x[0], 0.4, 4);
  }));
}

TEST_CASE("the mask drops a share p, independently by element, stream and seed") {
  constexpr Index count = 100000;
  for (const double p : {0.0, 0.05, 0.5, 0.9}) {
    const DropoutMask mask("test", p, 1, 2), other_stream("test", p, 1, 3), other_seed("test", p, 2, 2);
    double dropped = 0, next_too = 0, streams = 0, seeds = 0;
    for (Index i = 0; i < count; ++i) {
      if (mask.keeps(i)) continue;
      dropped += 1;
      next_too += !mask.keeps(i + 1);
      streams += !other_stream.keeps(i);
      seeds += !other_seed.keeps(i);
    }
    CAPTURE(p);
    // Five standard deviations of a count of independent events.
    CHECK(std::abs(dropped - p * count) <= 5 * std::sqrt(count * p * (1 - p)));
    for (const double both : {next_too, streams, seeds}) {
      CHECK(std::abs(both - p * p * count) <= 5 * std::sqrt(count * p * p * (1 - p * p)) + 1e-9);
    }
  }
}

TEST_CASE_TEMPLATE("the backward pass draws the same mask, whatever the seed is by then", B, Cpu<float>, Cpu<double>) {
  Tape<B> tape;
  tape.training = true;
  tape.seed = 3;
  const auto ones = array<B>(Shape{1000}, std::vector<double>(1000, 1.0));
  const auto x = tape.variable(ones.view());
  const auto y = dropout(tape, x, 0.5, 1);
  tape.seed = 4;
  tape.backward(sum(tape, y));
  CHECK(same(y.value(), x.gradient()));
  CHECK_FALSE(close(y.value(), dropout(tape, x, 0.5, 1).value(), 0.5));
}

TEST_CASE("dropout does nothing outside training or at p = 0, and refuses p outside [0, 1)") {
  using B = Cpu<float>;
  Tape<B> tape;
  const auto x = tape.variable(tape.scratch<float>(Shape{8}));
  CHECK(dropout(tape, x, 0.5, 1).value().data == x.value().data);
  tape.training = true;
  CHECK(dropout(tape, x, 0.0, 1).value().data == x.value().data);
  CHECK(tape.records() == 0);
  CHECK_THROWS_WITH_AS(dropout(tape, x, 1.0, 1), "dropout: dropout is 1, expected 0 <= p < 1", ConfigError);
  CHECK_THROWS_AS(dropout(tape, x, -0.1, 1), ConfigError);
  CHECK_THROWS_AS(dropout(tape, x, std::nan(""), 1), ConfigError);
}
