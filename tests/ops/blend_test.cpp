// blend.
#include "checks.hpp"

#include <lolcats/ops/blend/eigen.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("blend is its reference, values and gradients", B, Cpu<float>, Cpu<double>) { check_blend<B>(); }

TEST_CASE("blend: far from zero, a factor takes one of the two") {
  using B = Cpu<float>;
  Tape<B> tape;
  const auto near = array<B>(Shape{1, 6}, {0, 1, 2, 3, 4, 5}), far = array<B>(Shape{1, 6}, {10, 10, 10, 10, 20, 21});
  const auto factors = array<B>(Shape{1, 3, 1, 1}, {1000, -1000, 0});
  const auto y = blend(tape, tape.constant(near.view()), tape.constant(far.view()), Weight<B>{factors.view(), {}});
  CHECK(host(B{}, y.value()) == std::vector<double>{0, 1, 10, 10, 12, 13});
}

TEST_CASE("blend names what does not fit") {
  using B = Cpu<float>;
  Tape<B> tape;
  const auto a = tape.constant(tape.scratch<float>(Shape{2, 4})), b = tape.constant(tape.scratch<float>(Shape{4, 2}));
  const Weight<B> three{tape.scratch<float>(Shape{3}), {}};
  CHECK_THROWS_WITH_AS(blend(tape, a, b, three), "blend: far has shape (4, 2), expected (2, 4)", ShapeError);
  CHECK_THROWS_WITH_AS(blend(tape, a, a, three), "blend: factors has 3 elements, expected a divisor of the 4 columns", ShapeError);
}
