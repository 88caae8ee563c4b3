// rms_norm: y = x / sqrt(mean(x^2) + eps) * w.
#include "checks.hpp"

#include <lolcats/ops/rms_norm/eigen.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("rms_norm is its reference, values and gradients", B, Cpu<float>, Cpu<double>) { check_rms_norm<B>(); }

TEST_CASE("rms_norm has the derivatives of what it computes") {
  using B = Cpu<double>;
  Rng rng(1);
  Parameter<B> w(normal<B>(Shape{6}, rng));
  CHECK(check_gradients({normal<B>(Shape{5, 6}, rng)}, {&w},
                        [&](Tape<B>& tape, std::span<const Var<B>> x) { return rms_norm(tape, x[0], w, 1e-5); }));
}

TEST_CASE_TEMPLATE("rms_norm makes the mean square one, and zeros stay zeros", B, Cpu<float>, Cpu<double>) {
  Rng rng(1);
  Tape<B> tape;
  poison(tape);
  const auto x = normal<B>(Shape{3, 64}, rng, 1000.0);
  const auto ones = array<B>(Shape{64}, std::vector<double>(64, 1.0));
  const Weight<B> unit{ones.view(), {}};
  const auto y = rms_norm(tape, tape.constant(x.view()), unit, 0.0);
  double squares = 0;
  for (const double value : y.value().row_range(1, 1).span()) squares += value * value;
  CHECK(squares == doctest::Approx(64).epsilon(1e-5));
  const auto zero = array<B>(Shape{3, 64}, std::vector<double>(192, 0.0));
  CHECK(same(zero, rms_norm(tape, tape.constant(zero.view()), unit, 1e-5).value()));
}

TEST_CASE("rms_norm names a weight that does not fit") {
  using B = Cpu<float>;
  Tape<B> tape;
  const auto x = tape.constant(tape.scratch<float>(Shape{2, 4}));
  CHECK_THROWS_WITH_AS(rms_norm(tape, x, Weight<B>{tape.scratch<float>(Shape{3}), {}}, 1e-5),
                       "rms_norm: w has shape (3), expected (4)", ShapeError);
  CHECK_THROWS_WITH_AS(rms_norm_heads(tape, x, Weight<B>{tape.scratch<float>(Shape{3}), {}}, 1e-5),
                       "rms_norm_heads: x has shape (2, 4), w (3); expected x (M, H * D) and w (D)", ShapeError);
  CHECK_THROWS_AS(rms_norm_heads(tape, x, Weight<B>{tape.scratch<float>(Shape{1, 4}), {}}, 1e-5), ShapeError);
  CHECK(rms_norm_heads(tape, x, Weight<B>{tape.scratch<float>(Shape{2}), {}}, 1e-5).shape() == Shape{2, 4});
}
