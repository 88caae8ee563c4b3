// divergence and token_divergences.
#include "checks.hpp"

#include <lolcats/ops/divergence/eigen.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("divergence is its reference, values and gradients", B, Cpu<float>, Cpu<double>) { check_divergence<B>(); }

TEST_CASE("divergence has the derivatives of what it computes") {
  using B = Cpu<double>;
  Rng rng(1);
  const std::vector<Index> labels = {0, ignored_label, 4, 4, 2};
  const auto head = normal<B>(Shape{5, 3}, rng), teacher = normal<B>(Shape{5, 3}, rng);
  CHECK(check_gradients({normal<B>(Shape{5, 3}, rng)}, {}, [&](Tape<B>& tape, std::span<const Var<B>> x) {
    return divergence<B>(tape, x[0], teacher.view(), Weight<B>{head.view(), {}}, labels, 1.7, 0.25);
  }));
}

TEST_CASE_TEMPLATE("what predicts the same has no divergence and no gradient, however large its logits", B, Cpu<float>, Cpu<double>) {
  Tape<B> tape;
  poison(tape);
  const auto same_states = array<B>(Shape{2, 1}, {1.0, -1.0}), head = array<B>(Shape{3, 1}, {5000.0, 5000.0, -5000.0});
  const std::vector<Index> labels = {0, 1};
  const auto x = tape.variable(same_states.view());
  const auto loss = divergence<B>(tape, x, same_states.view(), Weight<B>{head.view(), {}}, labels, 1.0, 1.0);
  CHECK(item(tape, loss) == doctest::Approx(0).epsilon(1e-6));
  tape.backward(loss);
  CHECK(close(std::vector<double>(2, 0.0), x.gradient(), 1e-6));
  // The teacher is sure of one of two entries, the other says the opposite: 10000 nats.
  const auto opposite = array<B>(Shape{2, 1}, {-1.0, 1.0});
  const auto apart = token_divergences<B>(tape, opposite.view(), same_states.view(), head.view(), labels);
  CHECK(apart.data[1] == doctest::Approx(10000 + std::log(2.0)).epsilon(1e-6));
}

TEST_CASE("memory grows with rows plus a constant, not with rows times vocabulary") {
  using B = Cpu<double>;
  Rng rng(1);
  const auto hidden = normal<B>(Shape{512, 2}, rng), teacher = normal<B>(Shape{512, 2}, rng), head = normal<B>(Shape{5000, 2}, rng);
  const std::vector<Index> labels = labels_for(512, 5000);
  Tape<B> tape;
  divergence<B>(tape, tape.variable(hidden.view()), teacher.view(), Weight<B>{head.view(), {}}, labels, 1.0, 1.0);
  CHECK(tape.peak_bytes() < 512 * sizeof(double) * 4);
}

TEST_CASE("divergence names what does not fit") {
  using B = Cpu<double>;
  Rng rng(1);
  Tape<B> tape;
  const auto hidden = normal<B>(Shape{2, 3}, rng), narrow = normal<B>(Shape{2, 2}, rng);
  Parameter<B> head(normal<B>(Shape{4, 3}, rng));
  const std::vector<Index> labels = {1, 2};
  const auto x = tape.constant(hidden.view());
  CHECK_THROWS_WITH_AS(divergence<B>(tape, x, narrow.view(), head, labels, 1.0, 1.0), doctest::Contains("divergence: teacher has shape (2, 2), expected (2, 3)"), ShapeError);
  CHECK_THROWS_WITH_AS(divergence<B>(tape, x, hidden.view(), head, labels, 0.0, 1.0), "divergence: temperature is 0, expected more than 0", ConfigError);
  head.train(tape.backend());
  CHECK_THROWS_WITH_AS(divergence<B>(tape, x, hidden.view(), head, labels, 1.0, 1.0), doctest::Contains("the head is trained"), ConfigError);
}
