// swiglu: silu(gate) * up.
#include "checks.hpp"

#include <lolcats/ops/swiglu/eigen.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("swiglu is its reference, values and gradients", B, Cpu<float>, Cpu<double>) { check_swiglu<B>(); }

TEST_CASE("swiglu has the derivatives of what it computes, also of one value used as both arguments") {
  using B = Cpu<double>;
  Rng rng(1);
  CHECK(check_gradients({normal<B>(Shape{5, 3}, rng), normal<B>(Shape{5, 3}, rng)}, {},
                        [](Tape<B>& tape, std::span<const Var<B>> x) { return swiglu(tape, x[0], x[1]); }));
  CHECK(check_gradients({normal<B>(Shape{5, 3}, rng)}, {},
                        [](Tape<B>& tape, std::span<const Var<B>> x) { return swiglu(tape, x[0], x[0]); }));
}

TEST_CASE_TEMPLATE("gates far from zero are 0 or the identity", B, Cpu<float>, Cpu<double>) {
  Tape<B> tape;
  const std::vector<double> far = {-1e4, -800, -100, 100, 800, 1e4}, twos(6, 2.0);
  const auto gate = array<B>(Shape{6}, far), up = array<B>(Shape{6}, twos);
  const auto g = tape.variable(gate.view()), u = tape.variable(up.view());
  const auto y = swiglu(tape, g, u);
  CHECK(close(std::vector<double>{0, 0, 0, 200, 1600, 2e4}, y.value(), 1e-12));
  tape.backend().copy(up.data(), y.sink().gradient.data, 6);
  tape.replay(0);
  CHECK(close(std::vector<double>{0, 0, 0, 4, 4, 4}, g.gradient(), 1e-12));
  CHECK(close(std::vector<double>{0, 0, 0, 200, 1600, 2e4}, u.gradient(), 1e-12));
}

TEST_CASE("swiglu names shapes that differ") {
  Tape<Cpu<float>> tape;
  const auto a = tape.constant(tape.scratch<float>(Shape{2, 4})), b = tape.constant(tape.scratch<float>(Shape{4, 2}));
  CHECK_THROWS_WITH_AS(swiglu(tape, a, b), "swiglu: up has shape (4, 2), expected (2, 4)", ShapeError);
}
