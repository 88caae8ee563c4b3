// linear: y = x W^T.
#include "checks.hpp"

#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/ops/linear/eigen.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("linear is its reference, values and gradients", B, Cpu<float>, Cpu<double>) { check_linear<B>(); }

TEST_CASE("linear has the derivatives of what it computes") {
  Rng rng(1);
  Parameter<Cpu<double>> w(normal<Cpu<double>>(Shape{4, 3}, rng));
  CHECK(check_gradients(
      {normal<Cpu<double>>(Shape{5, 3}, rng)}, {&w},
      [&](Tape<Cpu<double>>& tape, std::span<const Var<Cpu<double>>> x) { return linear(tape, x[0], w); }));
}

TEST_CASE("a bias alone may be trained") {
  using B = Cpu<double>;
  Rng rng(1);
  Parameter<B> w(normal<B>(Shape{4, 3}, rng)), bias(normal<B>(Shape{4}, rng));
  CHECK(check_gradients({normal<B>(Shape{5, 3}, rng)}, {&w, &bias},
                        [&](Tape<B>& tape, std::span<const Var<B>> x) { return linear(tape, x[0], w, bias); }));
  w.freeze();
  bias.train({});
  Tape<B> tape;
  const auto x = normal<B>(Shape{5, 3}, rng);
  const auto y = linear(tape, tape.constant(x.view()), w, bias);
  REQUIRE(y.wants_gradient());
  bias.gradient().data[0] = 0;
  tape.backward(sum(tape, y));
  CHECK(bias.gradient().data[0] == doctest::Approx(5));
}

TEST_CASE("linear of no rows is no rows") {
  using B = Cpu<float>;
  Tape<B> tape;
  Rng rng(1);
  const auto w = normal<B>(Shape{4, 3}, rng);
  const Tensor<float> x(Shape{0, 3});
  CHECK(linear(tape, tape.constant(x.view()), Weight<B>{w.view(), {}}).shape() == Shape{0, 4});
}

TEST_CASE("linear names the shapes that do not fit") {
  using B = Cpu<float>;
  Tape<B> tape;
  Rng rng(1);
  const auto x = normal<B>(Shape{2, 3}, rng), w = normal<B>(Shape{4, 5}, rng), vector = normal<B>(Shape{3}, rng);
  CHECK_THROWS_WITH_AS(linear(tape, tape.constant(x.view()), Weight<B>{w.view(), {}}),
                       "linear: x has shape (2, 3), w (4, 5); expected x (M, I) and w (O, I)", ShapeError);
  CHECK_THROWS_AS(linear(tape, tape.constant(x.view()), Weight<B>{vector.view(), {}}), ShapeError);
  const auto fits = normal<B>(Shape{4, 3}, rng);
  CHECK_THROWS_WITH_AS(linear(tape, tape.constant(x.view()), Weight<B>{fits.view(), {}}, Weight<B>{vector.view(), {}}),
                       "linear: bias has shape (3), expected (4)", ShapeError);
}
