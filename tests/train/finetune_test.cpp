#include "tiny_llama.hpp"

#include <lolcats/ops/divergence/naive.hpp>
#include <lolcats/train/finetune.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace lolcats;
using Adapter = Lora<2, qkvo, 4, Ratio{1, 10}>;
using AdaptedStudent = Llama<Cpu<double>, Hybrid<Hedgehog<2>, Terraced<3>>, Adapter>;
using Control = Llama<Cpu<double>, Softmax<>, Adapter>;

namespace {

/// Rows in which each token follows from the one before it, so that there is something to learn; the first four tokens
/// of a row carry no label.
DataSet counting(Index rows, Index first = 0) {
  std::vector<Row> list;
  for (Index r = 0; r < rows; ++r) {
    Row row;
    for (Index i = 0; i < 8 + (r % 3) * 3; ++i) row.tokens.push_back((first + r * 5 + i * 3) % 19);
    row.labels = row.tokens;
    for (std::size_t i = 0; i < 4; ++i) row.labels[i] = ignored_label;
    row.starts = {0};
    list.push_back(std::move(row));
  }
  return DataSet(std::move(list));
}

/// The mean of -log p(label) over all labels of all rows, from whole logits.
template <class Model>
double plain_loss(Model& model, const DataSet& data) {
  double sum = 0, count = 0;
  for (Index r = 0; r < data.size(); ++r) {
    const Row& row = data[r];
    const auto length = static_cast<Index>(row.tokens.size());
    const Sequences sequences = Sequences::rectangular(1, length);
    Tape<Cpu<double>> tape;
    const auto logits = model.logits(tape, row.tokens, sequences).value();
    for (Index i = 0; i + 1 < length; ++i) {
      const Index label = row.labels[static_cast<std::size_t>(i + 1)];
      if (label < 0) continue;
      double total = 0;
      for (Index v = 0; v < logits.cols(); ++v) total += std::exp(logits.data[i * logits.cols() + v]);
      sum += std::log(total) - logits.data[i * logits.cols() + label];
      count += 1;
    }
  }
  return sum / count;
}

double relative(double a, double b) { return std::abs(a - b) / std::max(std::abs(a), std::abs(b)); }

}  // namespace

TEST_CASE_TEMPLATE("finetune: the loss is the mean per supervised token, and training lowers it", Model, AdaptedStudent,
                   Control) {
  Model model = tiny::student<Model>();
  const DataSet data = counting(12), validation = counting(4, 2);
  const auto base = tiny::snapshot(model.base_parameters()), maps = tiny::snapshot(model.transfer_parameters());
  const auto adapters = tiny::snapshot(model.adapter_parameters());
  const double before = plain_loss(model, validation), whole = plain_loss(model, data);

  const auto still =
      finetune(model, data, validation, {.max_updates = 1, .batch = 12, .micro_batch = 5, .learning_rate = 0});
  CHECK(relative(still.history[0].loss, whole) < 1e-12);  // a fresh adapter is silent, so dropout does not show
  CHECK(relative(*still.history[0].validation, before) < 1e-12);

  const auto result =
      finetune(model, data, validation, {.epochs = 20, .batch = 4, .learning_rate = 1e-2, .evaluate_every = 10});
  const double after = plain_loss(model, validation);
  CHECK(after < 0.8 * before);
  CHECK(relative(result.best_validation, after) < 1e-12);
  CHECK(result.tokens > 0);
  CHECK(tiny::snapshot(model.base_parameters()) == base);
  CHECK(tiny::snapshot(model.transfer_parameters()) == maps);
  const auto trained = tiny::snapshot(model.adapter_parameters());
  for (std::size_t i = 0; i < adapters.size(); ++i) CHECK_MESSAGE(trained[i] != adapters[i], adapters[i].first);
  CHECK(!tiny::any_trained(model.adapter_parameters()));
}

TEST_CASE("finetune: window dropout draws anew for every micro-batch") {
  // Nothing is learned and the fresh adapter is silent, so a row's loss is that with its window or that without.
  using Dropping = Llama<Cpu<double>, Hybrid<Hedgehog<2>, Terraced<3>, WindowDropout<Ratio{1, 2}>>, Adapter>;
  using Far = Llama<Cpu<double>, Linear<Hedgehog<2>>, Adapter>;
  const DataSet row = counting(1);
  auto windowed = tiny::student<AdaptedStudent>(1);
  auto windowless = tiny::student<Far>(1);
  const double near = plain_loss(windowed, row), far = plain_loss(windowless, row);
  CHECK(relative(near, far) > 1e-3);
  auto model = tiny::student<Dropping>(1);
  const FinetuneRecipe<> recipe{.epochs = 0, .max_updates = 24, .batch = 1, .learning_rate = 0, .evaluate_every = 0};
  int with = 0, without = 0;
  for (const TrainingPoint& point : finetune(model, row, row, recipe).history) {
    with += relative(point.loss, near) < 1e-12;
    without += relative(point.loss, far) < 1e-12;
  }
  CHECK(with + without == 24);
  CHECK(with > 0);
  CHECK(without > 0);
}

TEST_CASE("finetune: maps and gamma are trained where asked for") {
  AdaptedStudent model = tiny::student<AdaptedStudent>();
  const auto base = tiny::snapshot(model.base_parameters()), maps = tiny::snapshot(model.transfer_parameters());
  const DataSet data = counting(6);
  FinetuneRecipe<> recipe{.max_updates = 3};
  recipe.train_maps = true;
  finetune(model, data, data, recipe);
  const auto trained = tiny::snapshot(model.transfer_parameters());
  for (std::size_t i = 0; i < maps.size(); ++i) CHECK_MESSAGE(trained[i] != maps[i], maps[i].first);
  CHECK(tiny::snapshot(model.base_parameters()) == base);
}

TEST_CASE("finetune: recomputation changes the memory and not the numbers") {
  const DataSet data = counting(6);
  const auto run = [&](bool recompute) {
    AdaptedStudent model = tiny::student<AdaptedStudent>();
    FinetuneRecipe<> recipe{.max_updates = 4, .learning_rate = 1e-2};
    recipe.recompute = recompute;
    finetune(model, data, data, recipe);
    return tiny::snapshot(model.adapter_parameters());
  };
  const auto want = run(false), got = run(true);
  for (std::size_t i = 0; i < want.size(); ++i) {
    for (std::size_t j = 0; j < want[i].second.size(); ++j) {
      CHECK(got[i].second[j] == want[i].second[j]);  // so that a resumed run may differ in it
    }
  }

  const auto peak = [&](bool recompute) {
    AdaptedStudent model = tiny::student<AdaptedStudent>(6);
    const TrainedScope<AdaptedStudent> trained(model, model.adapter_parameters(), "test");
    NextTokenTask<AdaptedStudent, DataSet> task(model, data, 6, recompute);
    task.step(data.batch(0, 6), {.scale = 0.1});
    return task.peak_bytes();
  };
  CHECK(2 * peak(true) < peak(false));
}

TEST_CASE("finetune: a state belongs to its base, its maps, its data and its model, by name") {
  const DataSet data = counting(7), validation = counting(3, 2);
  const tiny::TemporaryFolder folder;
  FinetuneRecipe<> recipe{.epochs = 1, .batch = 4, .evaluate_every = 1, .checkpoint = folder / "state"};
  AdaptedStudent model = tiny::student<AdaptedStudent>();
  finetune(model, data, validation, recipe);
  const auto refusal = [&](AdaptedStudent& other, const DataSet& train, const DataSet& valid) {
    try {
      finetune(other, train, valid, recipe);
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const auto refused = [&](const std::string& message, const char* field) {
    CAPTURE(message);
    CHECK(message.find(fmt::format("made with {} '", field)) != std::string::npos);
    CHECK(message.find("remove it to start anew") != std::string::npos);
  };
  const auto changed = [](Parameters<Cpu<double>> parameters) {
    Parameter<Cpu<double>>& last = *parameters.back().parameter;
    last.own(Cpu<double>{});
    last.mutable_value().data[last.size() - 1] += 1e-9;
  };
  AdaptedStudent same = tiny::student<AdaptedStudent>();
  CHECK(refusal(same, data, validation) == "no error");
  AdaptedStudent base = tiny::student<AdaptedStudent>();
  changed(base.base_parameters());
  refused(refusal(base, data, validation), "base");
  AdaptedStudent maps = tiny::student<AdaptedStudent>();
  changed(maps.transfer_parameters());
  refused(refusal(maps, data, validation), "maps");
  AdaptedStudent adapter = tiny::student<AdaptedStudent>();
  changed(adapter.adapter_parameters());
  refused(refusal(adapter, data, validation), "starting parameters");
  refused(refusal(same, counting(7, 1), validation), "training data");
  refused(refusal(same, data, counting(3, 3)), "validation data");
  auto config = tiny::config();
  config.rope.theta = 20000;
  AdaptedStudent turned = convert<AdaptedStudent>(random_llama<tiny::Teacher>(config, 1, 0.4), 1);
  refused(refusal(turned, data, validation), "rope");
  Control other = tiny::student<Control>();
  CHECK_THROWS_WITH_AS(finetune(other, data, validation, recipe), doctest::Contains("made with model '"), ConfigError);
  recipe.train_maps = true;
  refused(refusal(same, data, validation), "train_maps");
  // What the caller knows is believed, and not computed again.
  recipe.train_maps = false;
  recipe.inputs["base"] = "another";
  refused(refusal(same, data, validation), "base");
}

TEST_CASE("finetune: an interrupted run goes on with the same bits, dropout included") {
  const DataSet data = counting(7), validation = counting(3, 2);
  const tiny::TemporaryFolder folder;
  FinetuneRecipe<> recipe{.epochs = 3, .batch = 3, .micro_batch = 2, .learning_rate = 1e-2, .evaluate_every = 4};
  AdaptedStudent straight = tiny::student<AdaptedStudent>(), broken = tiny::student<AdaptedStudent>(), resumed = tiny::student<AdaptedStudent>();
  finetune(straight, data, validation, recipe);
  recipe.checkpoint = folder / "state.safetensors";
  recipe.checkpoint_every = 3;
  struct Interruption {};
  const auto stop = [](const Progress& p) {
    if (p.update == 5) throw Interruption();
  };
  CHECK_THROWS_AS(finetune(broken, data, validation, recipe, stop), Interruption);
  finetune(resumed, data, validation, recipe);
  CHECK(tiny::snapshot(resumed.adapter_parameters()) == tiny::snapshot(straight.adapter_parameters()));
  // Another method's checkpoint is refused.
  Control other = tiny::student<Control>();
  CHECK_THROWS_AS(finetune(other, data, validation, recipe), ConfigError);
}

TEST_CASE("finetune: a loss that is not finite names the first layer that is not") {
  AdaptedStudent model = tiny::student<AdaptedStudent>();
  for (const auto& [name, parameter] : model.base_parameters()) {
    if (name == "model.layers.1.mlp.up_proj.weight") {
      parameter->own(model.backend());
      parameter->mutable_value().data[0] = std::numeric_limits<double>::infinity();
    }
  }
  const DataSet data = counting(4);
  CHECK_THROWS_WITH_AS(finetune(model, data, data), doctest::Contains("the output of layer 1 is not finite"),
                       NumericError);
}

TEST_CASE("finetune: what cannot be trained or evaluated is an error") {
  const DataSet data = counting(4), none;
  AdaptedStudent model = tiny::student<AdaptedStudent>();
  CHECK_THROWS_AS(finetune(model, data, none), ConfigError);
  CHECK_THROWS_AS(finetune(model, none, data), DataError);
  tiny::Teacher teacher = tiny::teacher();
  CHECK_THROWS_AS(finetune(teacher, data, data), ConfigError);
}

TEST_CASE("distillation: the divergence from the softmax base and the text's loss in the shares given") {
  using Plain = Llama<Cpu<double>, Hybrid<Hedgehog<2>, Terraced<3>>, Lora<2>>;
  Plain model = tiny::student<Plain>();
  for (const auto& [name, parameter] : model.adapter_parameters()) {
    if (name.ends_with("lora_B.weight")) *parameter = lolcats::detail::make_parameter(Cpu<double>{}, parameter->shape(), std::vector<double>(static_cast<std::size_t>(parameter->size()), 0.1));
  }
  const DataSet data = counting(3);
  const std::vector<Index> rows{0, 1, 2};
  const Batch batch = data.batch(rows);
  auto teacher = tiny::teacher();
  const double temperature = 1.7;
  const auto numbers = [](View<const double> x) { return std::vector<double>(x.data, x.data + x.size()); };
  Tape<Cpu<double>> tape;
  const auto hidden = numbers(model.hidden(tape, batch.tokens, batch.sequences).value());
  const auto other = numbers(teacher.hidden(tape, batch.tokens, batch.sequences).value());
  double apart = 0;
  for (const double x : naive::token_divergences(hidden, other, numbers(model.head().value), batch.labels, 19, 16, temperature)) apart += x;

  const TrainedScope<Plain> trained(model, model.adapter_parameters(), "test");
  const auto step = [&](double share) {
    zero_gradients(model.backend(), trained.parameters());
    DistillationTask<Plain, DataSet> task(model, data, 2, share < 0.5, {share, temperature});
    const double loss = task.step(batch, {.scale = 0.5});
    std::vector<double> gradient;
    for (const auto& [name, parameter] : trained.parameters()) {
      const auto g = numbers(parameter->gradient());
      gradient.insert(gradient.end(), g.begin(), g.end());
    }
    return std::pair{loss, gradient};
  };
  const auto [text, text_gradient] = step(0);
  const auto [taught, taught_gradient] = step(1);
  const auto [mixed, mixed_gradient] = step(0.3);
  CHECK(text == doctest::Approx(0.5 * static_cast<double>(batch.supervised()) * plain_loss(model, data)));
  CHECK(taught == doctest::Approx(0.5 * temperature * temperature * apart));
  CHECK(mixed == doctest::Approx(0.7 * text + 0.3 * taught));
  double most = 0;
  for (std::size_t i = 0; i < mixed_gradient.size(); ++i) {
    CHECK(mixed_gradient[i] == doctest::Approx(0.7 * text_gradient[i] + 0.3 * taught_gradient[i]).epsilon(1e-9));
    most = std::max(most, std::abs(taught_gradient[i] - text_gradient[i]));
  }
  CHECK(most > 1e-3);

  const DataSet none;
  CHECK_THROWS_WITH_AS(finetune(model, data, none, {.evaluate_every = 0, .distillation = {1.5, 1}}), "distillation: share is 1.5, expected 0 to 1", ConfigError);
  CHECK_THROWS_WITH_AS(finetune(model, data, none, {.evaluate_every = 0, .distillation = {0.5, 0}}), "distillation: temperature is 0, expected more than 0", ConfigError);
}

TEST_CASE("maps have a learning rate of their own, and what a run goes on from says which") {
  const tiny::TemporaryFolder folder;
  const DataSet data = counting(4), none;
  FinetuneRecipe<> recipe{.epochs = 0, .max_updates = 1, .learning_rate = 1e-2, .evaluate_every = 0};
  const auto moved = [&](double maps_rate) {
    AdaptedStudent model = tiny::student<AdaptedStudent>();
    const auto maps = tiny::snapshot(model.transfer_parameters());
    const auto adapters = tiny::snapshot(model.adapter_parameters());
    recipe.maps_learning_rate = maps_rate;
    finetune(model, data, none, recipe);
    const auto most = [](const tiny::Snapshot& before, const tiny::Snapshot& after) {
      double largest = 0;
      for (std::size_t i = 0; i < before.size(); ++i) {
        for (std::size_t j = 0; j < before[i].second.size(); ++j) largest = std::max(largest, std::abs(before[i].second[j] - after[i].second[j]));
      }
      return largest;
    };
    CHECK(most(adapters, tiny::snapshot(model.adapter_parameters())) == doctest::Approx(1e-2).epsilon(1e-3));
    return most(maps, tiny::snapshot(model.transfer_parameters()));
  };
  CHECK(moved(0) == 0);
  CHECK(moved(1e-4) == doctest::Approx(1e-4).epsilon(1e-3));  // the first step of Adam is as long as the rate
  CHECK(moved(0.1) == doctest::Approx(0.1).epsilon(1e-3));
  CHECK_THROWS_AS(moved(-1), ConfigError);

  recipe.checkpoint = folder / "state";
  CHECK(moved(1e-3) > 0);
  CHECK_THROWS_AS(moved(1e-4), ConfigError);
}
