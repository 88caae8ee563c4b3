// embedding: rows of a table.
#include <lolcats/ops/embedding/eigen.hpp>
#include <lolcats/ops/embedding/naive.hpp>
#include <lolcats/testing/gradient_check.hpp>
#include <lolcats/testing/operation_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("embedding is its reference, and tokens that return add up", B, Cpu<float>, Cpu<double>) {
  for (const Index rows : {1, 3, 63, 64, 65, 400}) {
    for (const Index cols : {1, 63, 64, 65}) {
      Rng rng(3);
      const Index vocabulary = 7;  // fewer than rows: most tokens occur many times
      const std::vector<Index> tokens = indices(rows, vocabulary, rng);
      CAPTURE(rows);
      CAPTURE(cols);
      CHECK(check_operation<B>(
          {{Shape{vocabulary, cols}, true}},
          [&](Tape<B>& tape, std::span<const Var<B>>, std::span<const Weight<B>> w) {
            return embedding(tape, tokens, w[0]);
          },
          [&](std::span<const std::vector<double>> a) { return naive::embedding(tokens, a[0], cols); }));
    }
  }
}

TEST_CASE("embedding has the derivatives of what it computes") {
  using B = Cpu<double>;
  Rng rng(1);
  const std::vector<Index> tokens = {2, 0, 2, 2};
  Parameter<B> table(normal<B>(Shape{4, 3}, rng));
  CHECK(check_gradients({}, {&table},
                        [&](Tape<B>& tape, std::span<const Var<B>>) { return embedding(tape, tokens, table); }));
}

TEST_CASE("embedding names the token that has no row") {
  using B = Cpu<float>;
  Tape<B> tape;
  const Weight<B> table{tape.scratch<float>(Shape{4, 3}), {}};
  const std::vector<Index> high = {0, 3, 4}, negative = {-1};
  CHECK_THROWS_WITH_AS(embedding(tape, high, table), "embedding: token 4 at row 2, expected 0 ... 3", DataError);
  CHECK_THROWS_WITH_AS(embedding(tape, negative, table), "embedding: token -1 at row 0, expected 0 ... 3", DataError);
  CHECK_THROWS_AS(embedding(tape, {}, Weight<B>{tape.scratch<float>(Shape{4}), {}}), ShapeError);
}
