// embedding: rows of a table.
#include "checks.hpp"

#include <lolcats/ops/embedding/eigen.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("embedding is its reference, and tokens that return add up", B, Cpu<float>, Cpu<double>) { check_embedding<B>(); }

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
