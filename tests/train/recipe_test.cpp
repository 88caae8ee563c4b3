#include <lolcats/data/dataset.hpp>
#include <lolcats/train/loop.hpp>
#include <lolcats/train/recipe.hpp>

#include "regression.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

using namespace lolcats;
using namespace lolcats::regression;

namespace {
struct NoSize {
  std::vector<Example> batch(std::span<const Index>) const { return {}; }
};
struct NoCount {
  double step(const std::vector<Example>&, const MicroStep&) { return 0; }
};
}  // namespace

static_assert(TrainingData<DataSet>);
static_assert(TrainingData<Examples> && !TrainingData<NoSize>);
static_assert(TrainingTask<Regression<float>, std::vector<Example>> && !TrainingTask<NoCount, std::vector<Example>>);

TEST_CASE("impossible recipes are refused") {
  const Examples data = some_examples(3);
  const auto refused = [&](const Recipe<>& recipe) {
    Regression<double> task;
    return message_of([&] { train(Cpu<double>{}, task.parameters(), data, task, recipe); });
  };
  CHECK(refused({}).find("epochs and max_updates are 0") != std::string::npos);
  CHECK(refused({.epochs = -1}).find("epochs is -1, expected at least 0") != std::string::npos);
  CHECK(refused({.epochs = 1, .batch = 0}).find("batch is 0, expected at least 1") != std::string::npos);
  CHECK(refused({.epochs = 1, .learning_rate = std::nan("")}).find("learning_rate is nan") != std::string::npos);
  CHECK(refused({.epochs = 1, .clip = -1}).find("clip is -1") != std::string::npos);
  CHECK(refused({.epochs = 1, .patience = 2}).find("patience is 2, but evaluate_every is 0") != std::string::npos);
  CHECK(refused({.epochs = 1, .checkpoint_every = 2}).find("names no file") != std::string::npos);
  CHECK(refused({.epochs = 1, .checkpoint_minutes = 2}).find("checkpoint_minutes is 2, but") != std::string::npos);
  Regression<double> task;
  CHECK_THROWS_AS(train(Cpu<double>{}, {}, data, task, Recipe<>{.epochs = 1}), ConfigError);
}

TEST_CASE("a task may be made of lambdas, and need not evaluate") {
  const Examples data = some_examples(5);
  Regression<double> model, same;
  const Recipe<> recipe{.epochs = 2, .batch = 2, .learning_rate = 0.1};
  Task task{.step = [&](const std::vector<Example>& batch, const MicroStep& at) { return model.step(batch, at); },
            .supervised = [&](const std::vector<Example>& batch) { return model.supervised(batch); },
            .evaluate = [&] { return model.evaluate(); }};
  train(Cpu<double>{}, model.parameters(), data, task, recipe);
  train(Cpu<double>{}, same.parameters(), data, same, recipe);
  CHECK(model.values() == same.values());

  struct Blind {
    Regression<double>& model;
    double step(const std::vector<Example>& batch, const MicroStep& at) { return model.step(batch, at); }
    Index supervised(const std::vector<Example>& batch) { return model.supervised(batch); }
  };
  Regression<double> unseen;
  train(Cpu<double>{}, unseen.parameters(), data, Blind{unseen}, recipe);
  CHECK(unseen.values() == same.values());
  Recipe<> evaluated = recipe;
  evaluated.evaluate_every = 1;
  CHECK_THROWS_AS(train(Cpu<double>{}, unseen.parameters(), data, Blind{unseen}, evaluated), ConfigError);
}
