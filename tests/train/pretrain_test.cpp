#include "tiny_llama.hpp"

#include <lolcats/train/pretrain.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

namespace {

DataSet counting_rows(Index rows, Index first = 0) {
  std::vector<Row> list;
  for (Index r = 0; r < rows; ++r) {
    Row row;
    for (Index i = 0; i < 12; ++i) row.tokens.push_back((first + r * 5 + i * 3) % 19);
    row.labels = row.tokens;
    row.starts = {0};
    list.push_back(std::move(row));
  }
  return DataSet(std::move(list));
}

}  // namespace

TEST_CASE("pretrain: all base parameters learn, and a model learns to count") {
  for (const bool tied : {false, true}) {
    auto config = tiny::config(2);
    config.tied_embeddings = tied;
    config.qkv_bias = config.qk_norm = tied;  // biases and norms of heads learn, too
    auto model = random_llama<tiny::Teacher>(config, 3);
    const auto before = tiny::snapshot(model.base_parameters());
    const DataSet data = counting_rows(32), validation = counting_rows(8, 1);
    const auto result =
        pretrain(model, data, validation, {.epochs = 40, .batch = 8, .learning_rate = 1e-2, .evaluate_every = 20});
    CHECK(result.history.front().loss > 2.5);  // ln 19 = 2.94
    CHECK(result.best_validation < 0.5);       // a token follows from the one before
    const auto after = tiny::snapshot(model.base_parameters());
    for (std::size_t i = 0; i < before.size(); ++i) CHECK_MESSAGE(after[i] != before[i], before[i].first);
    CHECK(!tiny::any_trained(model.base_parameters()));
    // The schedule ends at nothing.
    CHECK(result.history.back().learning_rate < 1e-5);
  }
}

TEST_CASE("pretrain: a student that shares the weights keeps its own") {
  auto teacher = tiny::teacher(2);
  auto copy = convert<tiny::Teacher>(teacher);
  const auto before = tiny::snapshot(copy.base_parameters());
  const DataSet data = counting_rows(8);
  pretrain(teacher, data, data, {.max_updates = 2});
  CHECK(tiny::snapshot(copy.base_parameters()) == before);
  CHECK(tiny::snapshot(teacher.base_parameters()) != before);
}

TEST_CASE("pretrain: an interrupted run goes on with the same bits") {
  const DataSet data = counting_rows(10);
  const tiny::TemporaryFolder folder;
  PretrainRecipe<> recipe{.epochs = 3, .batch = 4, .learning_rate = 1e-2, .evaluate_every = 4};
  auto straight = tiny::teacher(2), broken = tiny::teacher(2), resumed = tiny::teacher(2);
  pretrain(straight, data, data, recipe);
  recipe.checkpoint = folder / "state.safetensors";
  recipe.checkpoint_every = 2;
  struct Interruption {};
  CHECK_THROWS_AS(pretrain(broken, data, data, recipe,
                           [](const Progress& p) {
                             if (p.update == 5) throw Interruption();
                           }),
                  Interruption);
  pretrain(resumed, data, data, recipe);
  CHECK(tiny::snapshot(resumed.base_parameters()) == tiny::snapshot(straight.base_parameters()));
}
