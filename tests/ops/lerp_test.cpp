// lerp.
#include "checks.hpp"

#include <lolcats/ops/lerp/eigen.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("lerp is its reference, values and gradients", B, Cpu<float>, Cpu<double>) { check_lerp<B>(); }

TEST_CASE("lerp from one to the other: each block of columns by its own weight") {
  using B = Cpu<double>;
  Tape<B> tape;
  const auto a = array<B>(Shape{2, 4}, {0, 1, 2, 3, 4, 5, 6, 7}), b = array<B>(Shape{2, 4}, {10, 10, 10, 10, 20, 20, 20, 20});
  Parameter<B> weights(array<B>(Shape{1, 2}, {0, 1}));
  weights.train(B{});
  const auto y = lerp(tape, tape.constant(a.view()), tape.constant(b.view()), weights);
  CHECK(host(B{}, y.value()) == std::vector<double>{0, 1, 10, 10, 4, 5, 20, 20});
  tape.backward(sum(tape, y));
  CHECK(host(B{}, weights.gradient()) == std::vector<double>{10 + 9 + 16 + 15, 8 + 7 + 14 + 13});
}

TEST_CASE("lerp of a variable with itself passes the whole gradient on") {
  using B = Cpu<double>;
  Tape<B> tape;
  poison(tape);
  const auto a = array<B>(Shape{1, 2}, {3, 4}), weights = array<B>(Shape{1}, {0.25});
  const Var<B> x = tape.variable(a.view());
  tape.backward(sum(tape, lerp(tape, x, x, {weights.view(), {}})));
  CHECK(host(B{}, x.gradient()) == std::vector<double>{1, 1});
}

TEST_CASE("lerp names what does not fit") {
  using B = Cpu<float>;
  Tape<B> tape;
  const auto a = tape.constant(tape.scratch<float>(Shape{2, 4})), b = tape.constant(tape.scratch<float>(Shape{4, 2}));
  const Weight<B> three{tape.scratch<float>(Shape{3}), {}}, none{tape.scratch<float>(Shape{0}), {}};
  CHECK_THROWS_WITH_AS(lerp(tape, a, b, three), "lerp: end has shape (4, 2), expected (2, 4)", ShapeError);
  CHECK_THROWS_WITH_AS(lerp(tape, a, a, three), "lerp: weights has 3 elements, expected a divisor of the 4 columns", ShapeError);
  CHECK_THROWS_AS(lerp(tape, a, a, none), ShapeError);
}
