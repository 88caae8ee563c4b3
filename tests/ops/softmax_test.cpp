// softmax.
#include "checks.hpp"

#include <lolcats/ops/softmax/eigen.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("softmax is its reference, values and gradients", B, Cpu<float>, Cpu<double>) { check_softmax<B>(); }

TEST_CASE("softmax by hand: heads sum to one, and large numbers neither overflow nor vanish") {
  using B = Cpu<double>;
  Tape<B> tape;
  const auto x = array<B>(Shape{2, 4}, {0, std::log(3.0), 1000, 1000, -1000, -1000, 800, -800});
  const auto y = host(B{}, softmax(tape, tape.constant(x.view()), 2).value());
  CHECK(close(std::vector<double>{0.25, 0.75, 0.5, 0.5, 0.5, 0.5, 1, 0}, y, 1e-15));
  const auto whole = host(B{}, softmax(tape, tape.constant(x.view()), 1).value());
  CHECK(close(std::vector<double>{0, 0, 0.5, 0.5, 0, 0, 1, 0}, whole, 1e-15));
}

TEST_CASE("softmax has the derivatives of what it computes") {
  using B = Cpu<double>;
  Rng rng(1);
  const auto x = normal<B>(Shape{5, 6}, rng), y = normal<B>(Shape{5, 6}, rng);
  CHECK(check_gradients({x, y}, {}, [](Tape<B>& tape, std::span<const Var<B>> v) {
    return multiply(tape, softmax(tape, v[0], 2), v[1]);
  }));
}

TEST_CASE("softmax names what does not fit") {
  using B = Cpu<float>;
  Tape<B> tape;
  const auto x = tape.constant(tape.scratch<float>(Shape{2, 4})), none = tape.constant(tape.scratch<float>(Shape{2, 0}));
  CHECK_THROWS_WITH_AS(softmax(tape, x, 3), "softmax: x has shape (2, 4), expected (M, 3 * F)", ShapeError);
  CHECK_THROWS_AS(softmax(tape, x, 0), ShapeError);
  CHECK_THROWS_AS(softmax(tape, none, 2), ShapeError);
}
