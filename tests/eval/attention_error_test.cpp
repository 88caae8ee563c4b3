#include "../train/tiny_llama.hpp"

#include <lolcats/eval/attention_error.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using Student = Llama<Cpu<double>, Hybrid<Hedgehog<2>, Terraced<3>>>;

TEST_CASE("attention_error: per layer and head, row by row") {
  Student model = tiny::student<Student>(2);
  const DataSet data = tiny::data(5, {11, 6});
  double want[2][4] = {};
  double tokens = 0;
  for (Index r = 0; r < data.size(); ++r) {
    const Batch batch = data.batch(r, 1);
    tokens += static_cast<double>(batch.tokens.size());
    Tape<Cpu<double>> tape;
    Var<Cpu<double>> x = model.embed(tape, batch.tokens);
    for (Index l = 0; l < 2; ++l) {
      const auto qkv = model.layer(l).project(tape, x, batch.sequences, model.rope());
      const auto a = model.layer(l).attend(tape, qkv, batch.sequences).value();
      const auto b = model.layer(l).attend_softmax(tape, qkv, batch.sequences).value();
      for (Index row = 0; row < a.rows(); ++row) {
        for (Index c = 0; c < 16; ++c) {
          const double gap = a.data[row * 16 + c] - b.data[row * 16 + c];
          want[l][c / 4] += gap * gap / 4;
        }
      }
      x = model.layer(l).forward_softmax(tape, x, batch.sequences, model.rope());
    }
  }
  for (const Index rows : {1, 2, 8}) {
    const PerHead error = attention_error(model, data, rows);
    REQUIRE(error.values.size() == 2);
    double sum = 0;
    for (std::size_t l = 0; l < 2; ++l) {
      double layer = 0;
      for (std::size_t h = 0; h < 4; ++h) {
        CHECK(want[l][h] > 0);
        CHECK(error.values[l][h] == doctest::Approx(want[l][h] / tokens).epsilon(1e-12));
        layer += want[l][h] / tokens / 4;
      }
      CHECK(error.per_layer()[l] == doctest::Approx(layer).epsilon(1e-12));
      sum += layer;
    }
    CHECK(error.mean() == doctest::Approx(sum / 2).epsilon(1e-12));
  }
  CHECK_THROWS_AS(attention_error(model, DataSet()), DataError);
  CHECK_THROWS_AS(attention_error(model, data, 0), ConfigError);
}

TEST_CASE("attention_error: a window that holds the whole row leaves none") {
  using Wide = Llama<Cpu<double>, Hybrid<Hedgehog<2>, Sliding<64>>>;
  Wide model = tiny::student<Wide>(2);
  CHECK(attention_error(model, tiny::data(3, {20})).mean() < 1e-24);
}
