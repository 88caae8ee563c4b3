// squared_error and mse.
#include "checks.hpp"

#include <lolcats/ops/squared_error/eigen.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("squared_error is its reference, values and gradients", B, Cpu<float>, Cpu<double>) { check_squared_error<B>(); }

TEST_CASE("squared_error has the derivatives of what it computes; mse is the mean") {
  using B = Cpu<double>;
  Rng rng(1);
  const auto target = normal<B>(Shape{5, 3}, rng), x = normal<B>(Shape{5, 3}, rng);
  CHECK(check_gradients({x}, {}, [&](Tape<B>& tape, std::span<const Var<B>> v) {
    return squared_error(tape, v[0], target.view(), 1000.0);
  }));
  CHECK(check_gradients({x}, {},
                        [&](Tape<B>& tape, std::span<const Var<B>> v) { return mse(tape, v[0], target.view()); }));
  Tape<B> tape;
  const auto a = array<B>(Shape{2}, {1.0, 5.0}), b = array<B>(Shape{2}, {2.0, 2.0});
  CHECK(item(tape, mse(tape, tape.constant(a.view()), b.view())) == 5.0);
}

TEST_CASE("squared_error names a target that does not fit") {
  Tape<Cpu<float>> tape;
  const auto a = tape.constant(tape.scratch<float>(Shape{2, 4}));
  CHECK_THROWS_WITH_AS(squared_error(tape, a, tape.scratch<float>(Shape{4, 2}), 1.0),
                       "squared_error: target has shape (4, 2), expected (2, 4)", ShapeError);
  const auto empty = tape.constant(tape.scratch<float>(Shape{0, 4}));
  CHECK_THROWS_AS(mse(tape, empty, tape.scratch<float>(Shape{0, 4})), ShapeError);
}
