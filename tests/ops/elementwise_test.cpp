// add, multiply, exp, scale, sum.
#include "checks.hpp"

#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("arithmetic of elements is its reference", B, Cpu<float>, Cpu<double>) { check_elementwise<B>(); }

TEST_CASE("arithmetic of elements has the derivatives of what it computes") {
  using B = Cpu<double>;
  Rng rng(1);
  const auto x = normal<B>(Shape{5, 3}, rng), y = normal<B>(Shape{5, 3}, rng);
  CHECK(check_gradients({x, y}, {}, [](Tape<B>& tape, std::span<const Var<B>> v) {
    return sum(tape, add(tape, scale(tape, v[0], 3.0), add(tape, v[1], v[0])));
  }));
  CHECK(check_gradients({x}, {}, [](Tape<B>& tape, std::span<const Var<B>> v) { return add(tape, v[0], v[0]); }));
  CHECK(check_gradients({x, y}, {}, [](Tape<B>& tape, std::span<const Var<B>> v) {
    return multiply(tape, v[0], exp(tape, multiply(tape, v[0], v[1])));
  }));
}

TEST_CASE_TEMPLATE("losses are added and scaled like values", B, Cpu<float>, Cpu<double>) {
  Tape<B> tape;
  const auto x = array<B>(Shape{2}, {1.0, 2.0});
  const auto v = tape.variable(x.view());
  const Loss<B> loss = add(tape, scale(tape, sum(tape, v), 0.5), sum(tape, v));
  CHECK(item(tape, loss) == 4.5);
  tape.backward(loss, 2.0);
  CHECK(same(std::vector{3.0, 3.0}, v.gradient()));
}

TEST_CASE("a long sum of floats keeps its digits") {
  using B = Cpu<float>;
  Tape<B> tape;
  const std::vector<double> tenths(1 << 20, 0.1F);
  const auto x = array<B>(Shape{1 << 20}, tenths);
  // One float addition after another is off by 1e-2 here.
  CHECK(close(std::vector{naive::sum(tenths)}, std::vector{item(tape, sum(tape, tape.constant(x.view())))}, 1e-6));
}

TEST_CASE("add and multiply name shapes that differ") {
  Tape<Cpu<float>> tape;
  const auto a = tape.constant(tape.scratch<float>(Shape{2, 4})), b = tape.constant(tape.scratch<float>(Shape{4, 2}));
  CHECK_THROWS_WITH_AS(add(tape, a, b), "add: b has shape (4, 2), expected (2, 4)", ShapeError);
  CHECK_THROWS_WITH_AS(multiply(tape, a, b), "multiply: b has shape (4, 2), expected (2, 4)", ShapeError);
}
