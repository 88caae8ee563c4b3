// novelty.
#include "checks.hpp"

#include <lolcats/ops/novelty/eigen.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("novelty is its reference, at once and in pieces", B, Cpu<float>, Cpu<double>) { check_novelty<B>(); }

TEST_CASE("novelty: against the mean direction of all that came before") {
  using B = Cpu<double>;
  Tape<B> tape;
  const auto k = array<B>(Shape{4, 2}, {1, 0, 0, 9, 2, 2, -5, -5});
  const auto y = host(B{}, novelty(tape, tape.constant(k.view()), Sequences::rectangular(1, 4), 1).value());
  CHECK(y[0] == doctest::Approx(1));  // nothing came before
  CHECK(y[1] == doctest::Approx(1));  // at a right angle
  CHECK(y[2] == doctest::Approx(0));  // however long they are, (1, 0) and (0, 1) have this mean
  CHECK(y[3] == doctest::Approx(2));  // the opposite
}

TEST_CASE("novelty names what does not fit") {
  using B = Cpu<float>;
  Tape<B> tape;
  const auto k = tape.constant(tape.scratch<float>(Shape{4, 6}));
  float sum = 0;
  float* const one[] = {&sum};
  CHECK_THROWS_WITH_AS(novelty(tape, k, Sequences::rectangular(1, 4), 4), "novelty: k has shape (4, 6), expected (4, 4 * D)", ShapeError);
  CHECK_THROWS_AS(novelty(tape, k, Sequences::rectangular(1, 5), 2), ShapeError);
  CHECK_THROWS_WITH_AS(novelty(tape, k, Sequences::rectangular(2, 2), 2, one), "novelty: 1 sums, expected 2, one per sequence", ShapeError);
}
