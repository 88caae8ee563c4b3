#include <lolcats/train/loop.hpp>

#include "regression.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

using namespace lolcats;
using namespace lolcats::regression;

namespace {

/// The same procedure in plain arithmetic: batches in order, gradient of the mean over supervised tokens, Adam.
std::vector<double> plain_training(const Examples& data, Index batch, Index updates, double lr) {
  std::vector<double> x{0.5, 0.25, 0.0, 0.1}, m(4), v(4);
  std::size_t next = 0;
  for (Index u = 1; u <= updates; ++u) {
    std::vector<double> g(4);
    double count = 0;
    for (Index k = 0; k < batch && next < data.rows.size(); ++k) {
      const Example& row = data.rows[next++];
      for (Index t = row.ignored; t < row.tokens; ++t) {
        double e = x[3] - row.target(t);
        for (Index c = 0; c < width; ++c) e += x[static_cast<std::size_t>(c)] * row.feature(t, c);
        for (Index c = 0; c < width; ++c) g[static_cast<std::size_t>(c)] += 2 * e * row.feature(t, c);
        g[3] += 2 * e;
        count += 1;
      }
    }
    if (next == data.rows.size()) next = 0;  // the epoch's last batch was smaller
    for (std::size_t i = 0; i < 4; ++i) {
      g[i] /= count;
      m[i] = 0.9 * m[i] + 0.1 * g[i];
      v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
      x[i] -= lr * (m[i] / (1 - std::pow(0.9, u))) / (std::sqrt(v[i] / (1 - std::pow(0.999, u))) + 1e-8);
    }
  }
  return x;
}

}  // namespace

TEST_CASE("every supervised token weighs the same, however an update is cut into micro-batches") {
  const Examples data = some_examples(7);
  for (const Index micro : {0, 1, 2, 3, 5}) {
    CAPTURE(micro);
    Regression<double> task;
    // 7 rows by 3: updates of 3, 3 and 1 rows
    const auto result =
        train(Cpu<double>{}, task.parameters(), data, task,
              Recipe<>{.max_updates = 7, .batch = 3, .micro_batch = micro, .shuffle = false, .learning_rate = 0.05});
    const auto want = plain_training(data, 3, 7, 0.05);
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(std::abs(task.values()[i] - want[i]) < 1e-13);
    CHECK(result.updates == 7);
    CHECK(result.history.size() == 7);
    CHECK(result.tokens > 0);
    CHECK(task.seeds.size() == static_cast<std::size_t>(task.steps));  // a seed for every micro-batch
  }
}

TEST_CASE("the reported loss is the mean over the supervised tokens of the update") {
  const Examples data = some_examples(4);
  Regression<double> task, untouched;
  const auto result = train(Cpu<double>{}, task.parameters(), data, task,
                            Recipe<>{.epochs = 1, .batch = 4, .micro_batch = 1, .learning_rate = 0.05});
  double sum = 0, count = 0;
  for (const Example& row : data.rows) {
    for (Index t = row.ignored; t < row.tokens; ++t, ++count) sum += std::pow(untouched.error(row, t), 2);
  }
  CHECK(result.history.at(0).loss == doctest::Approx(sum / count).epsilon(1e-13));
  CHECK(result.tokens == static_cast<Index>(count));
}

TEST_CASE("the length of a run: epochs, updates, or what ends first") {
  const Examples data = some_examples(10);
  const auto updates = [&](Index epochs, Index most) {
    Regression<double> task;
    return train(Cpu<double>{}, task.parameters(), data, task,
                 Recipe<>{.epochs = epochs, .max_updates = most, .batch = 4})
        .updates;
  };
  CHECK(updates(2, 0) == 6);
  CHECK(updates(0, 4) == 4);
  CHECK(updates(2, 4) == 4);
  CHECK(updates(1, 100) == 3);
}

TEST_CASE("clipping limits what the optimizer sees, and the history holds the norm before") {
  const Examples data = some_examples(4);
  const auto first_point = [&](double clip) {
    Regression<double> task;
    return train(Cpu<double>{}, task.parameters(), data, task,
                 Recipe<>{.max_updates = 1, .batch = 4, .optimizer = {.epsilon = 1.0}, .clip = clip});
  };
  const double norm = first_point(0).history[0].gradient_norm;
  CHECK(first_point(norm / 10).history[0].gradient_norm == norm);
  // With a large epsilon the first Adam step is lr g / (|g| + 1), so that clipping shows in the parameters.
  Regression<double> free, clipped;
  Recipe<> recipe{.max_updates = 1, .batch = 4, .optimizer = {.epsilon = 1.0}};
  train(Cpu<double>{}, free.parameters(), data, free, recipe);
  recipe.clip = norm / 10;
  train(Cpu<double>{}, clipped.parameters(), data, clipped, recipe);
  const auto step = [](const Regression<double>& task) { return task.values()[3] - 0.1; };
  const double g = step(free) / (1e-3 - std::abs(step(free)));  // solved for g
  const double h = g / 10 * norm / (norm + 1e-6);
  CHECK(step(clipped) == doctest::Approx(1e-3 * h / (std::abs(h) + 1)).epsilon(1e-5));
}

TEST_CASE("the schedule decides the learning rate of every update, and hears every evaluation") {
  const Examples data = some_examples(4);
  Regression<double> task;
  const auto cosine = train(Cpu<double>{}, task.parameters(), data, task,
                            Recipe<Cosine>{.max_updates = 8, .learning_rate = 0.5, .schedule = {.warmup = 2}});
  const Cosine::State want({.warmup = 2}, 0.5, 8);
  for (Index u = 0; u < 8; ++u) CHECK(cosine.history[static_cast<std::size_t>(u)].learning_rate == want.rate(u));

  // Every evaluation after the first is bad: reduced after evaluations 2, 3, ..., acting from the next update on.
  struct Worse : Regression<double> {
    double validation = 1;
    double evaluate() { return validation++; }
  } worse;
  const auto plateau =
      train(Cpu<double>{}, worse.parameters(), data, worse,
            Recipe<ReduceOnPlateau>{
                .max_updates = 7, .learning_rate = 0.5, .schedule = {.patience = 0}, .evaluate_every = 2});
  const std::vector<double> rates{0.5, 0.5, 0.5, 0.5, 0.05, 0.05, 0.005};
  for (std::size_t u = 0; u < 7; ++u) {
    CHECK(plateau.history[u].learning_rate == doctest::Approx(rates[u]));
    CHECK(plateau.history[u].validation.has_value() == (u % 2 == 1 || u == 6));  // also after the last update
  }
}

TEST_CASE("a run stops early and ends with its best parameters") {
  const Examples data = some_examples(6);
  struct Scripted : Regression<double> {
    std::vector<double> script{7, 5, 3, 4, 3.5, 6, 1};  // the first of the start
    std::vector<std::vector<double>> seen;
    double evaluate() {
      seen.push_back(values());
      return script[seen.size() - 1];
    }
  } task;
  Recipe<> recipe{.max_updates = 12, .batch = 2, .learning_rate = 0.1, .evaluate_every = 2, .patience = 3};
  const auto result = train(Cpu<double>{}, task.parameters(), data, task, recipe);
  CHECK(result.stopped_early);
  CHECK(result.updates == 10);
  CHECK(result.best_update == 4);
  CHECK(result.best_validation == 3);
  CHECK(result.start_validation == 7);
  CHECK_FALSE(result.ended_worse);
  CHECK(task.values() == task.seen[2]);

  Scripted last;
  last.script.erase(last.script.begin());  // a run that does not restore does not evaluate its start
  recipe.restore_best = false;
  train(Cpu<double>{}, last.parameters(), data, last, recipe);
  CHECK(last.values() == last.seen[4]);
}

TEST_CASE("a run that only gets worse says so and ends where it began") {
  const Examples data = some_examples(6);
  Regression<double> task, last, still;
  const auto start = task.values();
  const double before = task.evaluate();
  Recipe<> recipe{.max_updates = 5, .batch = 2, .learning_rate = 1e4, .evaluate_every = 2};
  const auto result = train(Cpu<double>{}, task.parameters(), data, task, recipe);
  CHECK(result.ended_worse);
  CHECK(task.values() == start);
  CHECK(result.best_update == 0);
  CHECK(result.best_validation == before);
  CHECK(result.start_validation == before);
  CHECK(result.updates == 5);

  recipe.restore_best = false;
  CHECK_FALSE(train(Cpu<double>{}, last.parameters(), data, last, recipe).ended_worse);  // nobody asked
  CHECK(last.values() != start);
  // As good as it began is not worse.
  CHECK_FALSE(train(Cpu<double>{}, still.parameters(), data, still,
                    Recipe<>{.max_updates = 2, .learning_rate = 0, .evaluate_every = 1})
                  .ended_worse);
}

TEST_CASE("a loss or gradient that is not finite names stage, update and parameter, and changes nothing more") {
  const Examples data = some_examples(6);
  struct Broken : Regression<double> {
    enum { Loss, Gradient, Thrown } how = Loss;
    double step(const std::vector<Example>& batch, const MicroStep& at) {
      const double loss = Regression::step(batch, at);
      if (at.update < 2 || at.micro < 1) return loss;
      if (how == Thrown) fail<NumericError>("layer 3 left the finite numbers");
      if (how == Gradient) b.gradient().data[0] = std::numeric_limits<double>::infinity();
      return how == Loss ? std::numeric_limits<double>::quiet_NaN() : loss;
    }
  };
  const auto run = [&](decltype(Broken::how) how, Index updates = 4) {
    Broken task;
    task.how = how;
    const auto message = message_of([&] {
      train(Cpu<double>{}, task.parameters(), data, task,
            Recipe<>{.stage = "finetune", .max_updates = updates, .batch = 2, .micro_batch = 1, .clip = 1});
    });
    return std::pair(message, task.values());
  };
  CHECK(run(Broken::Loss).first == "finetune: update 3: the loss is nan in micro-batch 2 of 2");
  CHECK(run(Broken::Gradient).first ==
        "finetune: update 3: global_norm: the gradient of 'layers.1.b' is not finite (sum of squares inf)");
  CHECK(run(Broken::Thrown).first == "finetune: update 3: layer 3 left the finite numbers");
  CHECK(run(Broken::Loss).second == run(Broken::Loss, 2).second);
}

TEST_CASE("an update without supervised tokens is an error") {
  Regression<double> task;
  const Examples data{{Example{3, 3, 0}}};
  CHECK_THROWS_WITH_AS(train(Cpu<double>{}, task.parameters(), data, task, Recipe<>{.stage = "finetune", .epochs = 1}),
                       "finetune: no token of update 1 is supervised (all labels are ignored)", DataError);
  CHECK_THROWS_AS(train(Cpu<double>{}, task.parameters(), Examples{}, task, Recipe<>{.epochs = 1}), DataError);
}

TEST_CASE("progress is reported after every update") {
  const Examples data = some_examples(6);
  Regression<double> task;
  std::vector<Progress> seen;
  std::string stage;
  const auto result =
      train(Cpu<double>{}, task.parameters(), data, task,
            Recipe<>{.stage = "pretrain", .epochs = 2, .batch = 2, .evaluate_every = 3}, [&](const Progress& p) {
              seen.push_back(p);
              stage = p.stage;
            });
  REQUIRE(seen.size() == 6);
  CHECK(stage == "pretrain");
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK(seen[i].update == static_cast<Index>(i) + 1);
    CHECK(seen[i].total == 6);
    CHECK(seen[i].loss == result.history[i].loss);
    CHECK(seen[i].validation == result.history[i].validation);
    CHECK(seen[i].tokens_per_second > 0);
    CHECK((seen[i].seconds_remaining > 0) == (i < 5));
  }
}
