// lora_linear: y = x W^T + scale (mask(x) A^T) B^T.
#include "checks.hpp"

#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/ops/lora_linear/eigen.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("lora_linear is its reference, values and gradients", B, Cpu<float>, Cpu<double>) {
  check_lora_linear<B>();
}

TEST_CASE("lora_linear has the derivatives of what it computes, each argument alone") {
  using B = Cpu<double>;
  Rng rng(1);
  Parameter<B> w(normal<B>(Shape{4, 3}, rng)), a(normal<B>(Shape{2, 3}, rng)), b(normal<B>(Shape{4, 2}, rng));
  for (const double p : {0.0, 0.5}) {
    CHECK(check_gradients({normal<B>(Shape{5, 3}, rng)}, {&w, &a, &b}, [&](Tape<B>& tape, std::span<const Var<B>> x) {
      tape.training = true;
      return lora_linear(tape, x[0], w, a, b, 2.0, p, 3);
    }));
  }
}

TEST_CASE_TEMPLATE("a fresh adapter (B = 0) changes nothing, and dropout acts in training only", T, float, double) {
  using B = Cpu<T>;
  Rng rng(1);
  const auto x = normal<B>(Shape{65, 64}, rng), w = normal<B>(Shape{63, 64}, rng), a = normal<B>(Shape{8, 64}, rng);
  const auto zero = normal<B>(Shape{63, 8}, rng, 0.0), b = normal<B>(Shape{63, 8}, rng);
  Tape<B> tape;
  poison(tape);
  const auto weight = [](const Tensor<T>& value) { return Weight<B>{value.view(), {}}; };
  const auto in = tape.constant(x.view());
  const auto plain = linear(tape, in, weight(w));
  tape.training = true;
  CHECK(same(plain.value(), lora_linear(tape, in, weight(w), weight(a), weight(zero), 2.0, 0.5, 1).value()));
  const auto dropped = lora_linear(tape, in, weight(w), weight(a), weight(b), 2.0, 0.5, 1);
  const auto undropped = lora_linear(tape, in, weight(w), weight(a), weight(b), 2.0, 0.0, 1);
  CHECK_FALSE(close(undropped.value(), dropped.value(), 1e-2));
  tape.training = false;
  CHECK(same(undropped.value(), lora_linear(tape, in, weight(w), weight(a), weight(b), 2.0, 0.5, 1).value()));
}

TEST_CASE("a bias alone may be trained beside an adapter") {
  using B = Cpu<double>;
  Rng rng(1);
  const Parameter<B> w(normal<B>(Shape{4, 3}, rng)), a(normal<B>(Shape{2, 3}, rng)), b(normal<B>(Shape{4, 2}, rng));
  Parameter<B> bias(normal<B>(Shape{4}, rng));
  bias.train({});
  Tape<B> tape;
  const auto x = normal<B>(Shape{5, 3}, rng);
  const auto y = lora_linear(tape, tape.constant(x.view()), w, a, b, 2.0, 0.0, 3, bias);
  REQUIRE(y.wants_gradient());
  tape.backward(sum(tape, y));
  for (const double slope : bias.gradient().span()) CHECK(slope == doctest::Approx(5));
}

TEST_CASE("lora_linear refuses shapes and probabilities that make no sense") {
  using B = Cpu<double>;
  Rng rng(1);
  Tape<B> tape;
  tape.training = true;
  const auto x = tape.constant(tape.scratch<double>(Shape{2, 3}));
  const Weight<B> w{tape.scratch<double>(Shape{4, 3}), {}}, a{tape.scratch<double>(Shape{2, 3}), {}};
  const Weight<B> b{tape.scratch<double>(Shape{4, 2}), {}};
  CHECK_THROWS_AS(lora_linear(tape, x, a, b, w, 1.0, 0.0, 0), ShapeError);
  CHECK_THROWS_WITH_AS(lora_linear(tape, x, w, b, b, 1.0, 0.0, 0), "lora_linear: a has shape (4, 2), expected (4, 3)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(lora_linear(tape, x, w, a, a, 1.0, 0.0, 0), "lora_linear: b has shape (2, 3), expected (4, 2)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(lora_linear(tape, x, w, a, b, 1.0, 0.0, 0, Weight<B>{tape.scratch<double>(Shape{3}), {}}),
                       "lora_linear: bias has shape (3), expected (4)", ShapeError);
  CHECK_THROWS_WITH_AS(lora_linear(tape, x, w, a, b, 1.0, 1.0, 0), "lora_linear: dropout is 1, expected 0 <= p < 1",
                       ConfigError);
}
