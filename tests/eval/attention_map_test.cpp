#include "plain_weights.hpp"

#include <lolcats/eval/attention_map.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using MapStudent = Llama<Cpu<double>, Hybrid<Hedgehog<2>, Terraced<3>>>;

TEST_CASE("attention_maps: the student's and the teacher's weights, by plain loops; rows add up to 1") {
  MapStudent model = tiny::student<MapStudent>(3);
  const DataSet data = tiny::data(1, {70});  // more than one tile of queries
  const auto tokens = data[0].tokens;
  const std::vector<LayerHead> chosen{{2, 1}, {0, 3}, {2, 0}};
  const auto student = attention_maps(model, tokens, chosen);
  const auto teacher = teacher_attention_maps(model, tokens, chosen);
  REQUIRE(student.size() == 3);
  REQUIRE(teacher.size() == 3);

  const Batch batch = data.batch(0, 1);
  Tape<Cpu<double>> tape;
  Var<Cpu<double>> x = model.embed(tape, batch.tokens);
  for (Index l = 0; l < 3; ++l) {
    const auto qkv = model.layer(l).project(tape, x, batch.sequences, model.rope());
    for (std::size_t i = 0; i < 3; ++i) {
      if (chosen[i].layer != l) continue;
      CHECK(student[i].at.layer == l);
      CHECK(student[i].at.head == chosen[i].head);
      CHECK(student[i].size == 70);
      const auto hybrid = tiny::hybrid_weights(qkv.q.value(), qkv.k.value(), chosen[i].head, Terraced<3>());
      const auto softmax = tiny::softmax_weights(qkv.q.value(), qkv.k.value(), chosen[i].head);
      double gap = 0;
      for (std::size_t n = 0; n < 70; ++n) {
        double sum = 0, teacher_sum = 0;
        for (std::size_t j = 0; j < 70; ++j) {
          const double got = student[i].weights[n * 70 + j], target = teacher[i].weights[n * 70 + j];
          gap = std::max(gap, std::abs(got - (j <= n ? hybrid[n][j] : 0)));
          gap = std::max(gap, std::abs(target - (j <= n ? softmax[n][j] : 0)));
          sum += got;
          teacher_sum += target;
        }
        CHECK(sum == doctest::Approx(1).epsilon(1e-12));
        CHECK(teacher_sum == doctest::Approx(1).epsilon(1e-12));
      }
      CHECK(gap < 1e-12);
    }
    x = model.layer(l).forward_softmax(tape, x, batch.sequences, model.rope());
  }
}

TEST_CASE("attention_maps: a layer or head that is not there, and a text without tokens") {
  MapStudent model = tiny::student<MapStudent>(2);
  const std::vector<Index> tokens{1, 2, 3};
  CHECK(attention_maps(model, tokens, {}).empty());
  CHECK_THROWS_WITH_AS(attention_maps(model, tokens, {{2, 0}}),
                       "attention_maps: layer 2, head 0 of a model of 2 layers and 4 heads", ConfigError);
  CHECK_THROWS_AS(teacher_attention_maps(model, tokens, {{0, 4}}), ConfigError);
  CHECK_THROWS_AS(attention_maps(model, std::vector<Index>{}, {{0, 0}}), DataError);
}
