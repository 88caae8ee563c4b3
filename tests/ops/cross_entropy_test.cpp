// cross_entropy and token_losses.
#include <lolcats/ops/cross_entropy/eigen.hpp>
#include <lolcats/ops/cross_entropy/naive.hpp>
#include <lolcats/testing/gradient_check.hpp>
#include <lolcats/testing/operation_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

/// Random labels, a quarter of them ignored (but not the first).
std::vector<Index> labels_for(Index rows, Index vocabulary) {
  Rng rng(8);
  std::vector<Index> labels = indices(rows, vocabulary, rng);
  for (std::size_t m = 1; m < labels.size(); ++m) {
    if (rng.below(4) == 0) labels[m] = ignored_label;
  }
  return labels;
}

}  // namespace

TEST_CASE_TEMPLATE("cross_entropy is its reference, values and gradients", B, Cpu<float>, Cpu<double>) {
  // The last two need several chunks of the vocabulary, and several tiles of rows.
  const std::array<Index, 3> sizes[] = {{1, 1, 1},    {3, 65, 1},   {63, 64, 65},  {64, 3, 63},
                                        {65, 63, 64}, {1, 5, 3000}, {20, 8, 4099}, {600, 4, 65}};
  for (const auto& [rows, cols, vocabulary] : sizes) {
    const std::vector<Index> labels = labels_for(rows, vocabulary);
    CAPTURE(rows);
    CAPTURE(cols);
    CAPTURE(vocabulary);
    CHECK(check_operation<B>(
        {{Shape{rows, cols}}, {Shape{vocabulary, cols}, true}},
        [&](Tape<B>& tape, std::span<const Var<B>> x, std::span<const Weight<B>> w) {
          return cross_entropy(tape, x[0], w[0], labels, 0.3);
        },
        [&](std::span<const std::vector<double>> a) {
          return std::vector{naive::cross_entropy(a[0], a[1], labels, vocabulary, cols, 0.3)};
        }));
    Rng rng(3);
    const auto hidden = normal<B>(Shape{rows, cols}, rng), head = normal<B>(Shape{vocabulary, cols}, rng);
    Tape<B> tape;
    poison(tape);
    CHECK(close(naive::token_losses(as_doubles(hidden), as_doubles(head), labels, vocabulary, cols),
                token_losses(tape, hidden.view(), head.view(), labels),
                64 * static_cast<double>(std::numeric_limits<Scalar<B>>::epsilon())));
  }
}

TEST_CASE("cross_entropy has the derivatives of what it computes, with a frozen head and with frozen hidden states") {
  using B = Cpu<double>;
  Rng rng(1);
  const std::vector<Index> labels = {0, ignored_label, 4, 4, 2};
  Parameter<B> head(normal<B>(Shape{5, 3}, rng));
  CHECK(check_gradients({normal<B>(Shape{5, 3}, rng)}, {&head}, [&](Tape<B>& tape, std::span<const Var<B>> x) {
    return cross_entropy(tape, x[0], head, labels, 0.25);
  }));
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
