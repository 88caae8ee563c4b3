// cross_entropy and token_losses.
#include "checks.hpp"

#include <lolcats/ops/cross_entropy/eigen.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("cross_entropy is its reference, values and gradients", B, Cpu<float>, Cpu<double>) { check_cross_entropy<B>(); }

TEST_CASE("cross_entropy has the derivatives of what it computes, with a frozen head and with frozen hidden states") {
  using B = Cpu<double>;
  Rng rng(1);
  const std::vector<Index> labels = {0, ignored_label, 4, 4, 2};
  Parameter<B> head(normal<B>(Shape{5, 3}, rng));
  CHECK(check_gradients({normal<B>(Shape{5, 3}, rng)}, {&head}, [&](Tape<B>& tape, std::span<const Var<B>> x) {
    return cross_entropy(tape, x[0], head, labels, 0.25);
  }));
}

TEST_CASE("many rows: gradients of the head are summed over groups of tiles, each with its own labels") {
  using B = Cpu<double>;
  constexpr Index rows = 4100;  // a group holds 16 tiles of 256 rows
  Rng rng(1);
  const auto hidden = normal<B>(Shape{rows, 1}, rng);
  Parameter<B> head(array<B>(Shape{2, 1}, {0.5, -1.0}));
  head.train({});
  const std::vector<Index> labels = labels_for(rows, 2);
  Tape<B> tape;
  poison(tape);
  const auto x = tape.variable(hidden.view());
  tape.backward(cross_entropy(tape, x, head, labels, 1.0));
  std::vector<double> dx, dhead{0, 0};
  for (Index m = 0; m < rows; ++m) {
    const double h = hidden.data()[m];
    const Index label = labels[static_cast<std::size_t>(m)];
    // of two entries: the probability of the first, less 1 where it is the label; the second has the opposite
    const double g = label == ignored_label ? 0.0 : 1 / (1 + std::exp(-1.5 * h)) - (label == 0 ? 1.0 : 0.0);
    dx.push_back(1.5 * g);
    dhead[0] += g * h;
    dhead[1] -= g * h;
  }
  CHECK(close(dx, x.gradient(), 1e-13));
  CHECK(close(dhead, head.gradient(), 1e-12));
}

TEST_CASE_TEMPLATE("large logits neither overflow nor cost digits", B, Cpu<float>, Cpu<double>) {
  Tape<B> tape;
  const auto hidden = array<B>(Shape{2, 1}, {1.0, -1.0}), head = array<B>(Shape{3, 1}, {5000.0, 5000.0, -5000.0});
  const std::vector<Index> labels = {0, 1};
  CHECK(close(std::vector{std::log(2.0), 10000.0}, token_losses(tape, hidden.view(), head.view(), labels), 1e-7));
  const std::vector<Index> first = {0, ignored_label};
  CHECK(close(std::vector{std::log(2.0), 0.0}, token_losses(tape, hidden.view(), head.view(), first), 1e-7));
}

TEST_CASE_TEMPLATE("rows without a label have no loss and no gradient", B, Cpu<float>, Cpu<double>) {
  Rng rng(1);
  const auto hidden = normal<B>(Shape{600, 4}, rng), head = normal<B>(Shape{9, 4}, rng);
  const std::vector<Index> none(600, ignored_label);
  Tape<B> tape;
  poison(tape);
  const auto x = tape.variable(hidden.view());
  const auto loss = cross_entropy(tape, x, Weight<B>{head.view(), {}}, none, 1.0);
  CHECK(item(tape, loss) == 0.0);
  tape.backward(loss);
  CHECK(same(std::vector<double>(2400, 0.0), x.gradient()));
}

TEST_CASE_TEMPLATE("memory grows with rows plus a constant, not with rows times vocabulary", B, Cpu<float>,
                   Cpu<double>) {
  Rng rng(1);
  const Index vocabulary = 5000;
  const auto hidden = normal<B>(Shape{512, 2}, rng), head = normal<B>(Shape{vocabulary, 2}, rng);
  const std::vector<Index> labels = labels_for(512, vocabulary);
  Tape<B> tape;
  cross_entropy(tape, tape.variable(hidden.view()), Weight<B>{head.view(), {}}, labels, 1.0);
  CHECK(tape.peak_bytes() < 512 * sizeof(Scalar<B>) * 4);
}

TEST_CASE("cross_entropy names what does not fit") {
  using B = Cpu<float>;
  Tape<B> tape;
  const auto x = tape.constant(tape.scratch<float>(Shape{2, 3}));
  const Weight<B> head{tape.scratch<float>(Shape{4, 3}), {}}, narrow{tape.scratch<float>(Shape{4, 2}), {}};
  const std::vector<Index> short_labels = {1}, high = {1, 4}, negative = {-1, 0}, good = {1, 2};
  CHECK_THROWS_WITH_AS(cross_entropy(tape, x, head, short_labels, 1.0),
                       "cross_entropy: 1 labels, expected 2, one per row of hidden", ShapeError);
  CHECK_THROWS_WITH_AS(cross_entropy(tape, x, head, high, 1.0),
                       "cross_entropy: label 4 at row 1, expected 0 ... 3 or -100 (ignored)", DataError);
  CHECK_THROWS_AS(cross_entropy(tape, x, head, negative, 1.0), DataError);
  CHECK_THROWS_WITH_AS(cross_entropy(tape, x, narrow, good, 1.0),
                       "cross_entropy: hidden has shape (2, 3), head (4, 2); expected hidden (M, C) and head (V, C)",
                       ShapeError);
  CHECK_THROWS_AS(token_losses(tape, x.value(), head.value, high), DataError);
}
