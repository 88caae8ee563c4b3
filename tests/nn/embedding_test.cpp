#include <lolcats/nn/embedding.hpp>

#include <lolcats/ops/embedding/eigen.hpp>
#include <lolcats/testing/random.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

TEST_CASE("a row of the table for each token") {
  using B = Cpu<double>;
  Embedding<B> layer(5, 3);
  Rng rng(1);
  layer.visit_base("table", [&](const std::string& name, const Shape& shape, Parameter<B>& parameter) {
    CHECK(name == "table.weight");
    CHECK(shape == Shape{5, 3});
    parameter = Parameter<B>(testing::normal<B>(shape, rng));
  });
  Tape<B> tape;
  const std::vector<Index> tokens = {4, 0, 4}, wrong = {5};
  const Var<B> y = layer(tape, tokens);
  CHECK(y.shape() == Shape{3, 3});
  for (Index i = 0; i < 3; ++i) {
    CHECK(y.value().data[i] == layer.table().value().data[12 + i]);
    CHECK(y.value().data[3 + i] == layer.table().value().data[i]);
    CHECK(y.value().data[6 + i] == layer.table().value().data[12 + i]);
  }
  CHECK_THROWS_AS(layer(tape, wrong), DataError);
}
