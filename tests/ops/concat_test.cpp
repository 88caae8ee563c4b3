// concat.
#include "checks.hpp"

#include <lolcats/ops/concat/eigen.hpp>
#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("concat is its reference, values and gradients", B, Cpu<float>, Cpu<double>) { check_concat<B>(); }

TEST_CASE("concat by hand: in each head, not behind the heads") {
  using B = Cpu<double>;
  Tape<B> tape;
  const auto a = array<B>(Shape{2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}), b = array<B>(Shape{2, 2}, {-1, -2, -3, -4});
  const auto y = concat(tape, tape.constant(a.view()), tape.constant(b.view()), 2);
  CHECK(y.shape() == Shape{2, 6});
  CHECK(host(B{}, y.value()) == std::vector<double>{1, 2, -1, 3, 4, -2, 5, 6, -3, 7, 8, -4});
}

TEST_CASE("concat has the derivatives of what it computes") {
  using B = Cpu<double>;
  Rng rng(1);
  const auto a = normal<B>(Shape{5, 6}, rng), b = normal<B>(Shape{5, 2}, rng), c = normal<B>(Shape{5, 8}, rng);
  CHECK(check_gradients({a, b, c}, {}, [](Tape<B>& tape, std::span<const Var<B>> v) {
    return multiply(tape, concat(tape, v[0], v[1], 2), v[2]);
  }));
}

TEST_CASE("concat names what does not fit") {
  using B = Cpu<float>;
  Tape<B> tape;
  const auto of = [&](Index rows, Index cols) { return tape.constant(tape.scratch<float>(Shape{rows, cols})); };
  CHECK_THROWS_WITH_AS(concat(tape, of(2, 4), of(2, 3), 2), "concat: b has shape (2, 3), expected (2, 2 * C)", ShapeError);
  CHECK_THROWS_WITH_AS(concat(tape, of(2, 4), of(3, 4), 2), "concat: b has shape (3, 4), expected (2, 2 * C)", ShapeError);
  CHECK_THROWS_WITH_AS(concat(tape, of(2, 4), of(2, 4), 3), "concat: a has shape (2, 4), expected (M, 3 * A)", ShapeError);
  CHECK_THROWS_AS(concat(tape, of(2, 4), of(2, 4), 0), ShapeError);
}
