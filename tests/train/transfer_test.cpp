#include "tiny_llama.hpp"

#include <lolcats/ops/attention/eigen_weights.hpp>
#include <lolcats/ops/squared_error/eigen.hpp>
#include <lolcats/ops/weight_cross_entropy/eigen.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/train/transfer.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

using namespace lolcats;
using Student = Llama<Cpu<double>, Hybrid<Hedgehog<2>, Terraced<3>>, Lora<2>>;
using StudentTask = detail::TransferTask<Student, DataSet>;

namespace {

double relative_change(double a, double b) { return std::abs(a - b) / std::max(std::abs(a), std::abs(b)); }

/// The mean squared difference of the two attentions per layer, row by row, through the layers' own functions.
std::vector<double> plain_errors(Student& model, const DataSet& data) {
  std::vector<double> sums(static_cast<std::size_t>(model.layer_count()), 0.0);
  double entries = 0;
  for (Index r = 0; r < data.size(); ++r) {
    const Batch batch = data.batch(r, 1);
    Tape<Cpu<double>> tape;
    const Tape<Cpu<double>>::NoGradient quiet(tape);
    Var<Cpu<double>> x = model.embed(tape, batch.tokens);
    for (Index l = 0; l < model.layer_count(); ++l) {
      auto& layer = model.layer(l);
      const auto qkv = layer.project(tape, x, batch.sequences, model.rope());
      const auto want = layer.attend_softmax(tape, qkv, batch.sequences).value();
      const auto got = layer.attend(tape, qkv, batch.sequences).value();
      for (Index i = 0; i < want.size(); ++i) {
        sums[static_cast<std::size_t>(l)] += (got.data[i] - want.data[i]) * (got.data[i] - want.data[i]);
      }
      if (l == 0) entries += static_cast<double>(want.size());
      x = layer.forward_softmax(tape, x, batch.sequences, model.rope());
    }
  }
  for (double& sum : sums) sum /= entries;
  return sums;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// Equal steps whatever the scale of the loss: no clipping, and an epsilon far below all gradients.
TransferRecipe<> scale_free() {
  TransferRecipe<> recipe{.epochs = 3, .batch = 3, .seed = 4};
  recipe.clip = 0;
  recipe.optimizer.epsilon = 1e-30;
  recipe.evaluate_every = 0;
  return recipe;
}

}  // namespace

TEST_CASE("transfer: the loss is 1000 times the mean over layers of the mean squared difference") {
  Student model = tiny::student<Student>();
  const DataSet data = tiny::data(4, {11, 2, 7});
  const auto errors = plain_errors(model, data);
  const auto result = transfer_attention(model, data, data, {.max_updates = 1, .batch = 4, .learning_rate = 0});
  REQUIRE(result.blocks.size() == 1);
  REQUIRE(result.blocks[0].history.size() == 1);
  CHECK(mean(errors) > 1e-4);
  // Sums of the same few hundred terms in another order.
  CHECK(relative_change(result.blocks[0].history[0].loss, 1000 * mean(errors)) < 1e-12);
  CHECK(relative_change(*result.blocks[0].history[0].validation, 1000 * mean(errors)) < 1e-12);
  REQUIRE(result.mse_per_layer.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) CHECK(relative_change(result.mse_per_layer[i], errors[i]) < 1e-12);
}

TEST_CASE("transfer: gradients are those of the loss, by central differences") {
  Student model = tiny::student<Student>(2);
  const DataSet data = tiny::data(2, {9, 5});
  const TrainedScope<Student> trained(model, model.transfer_parameters(), "test");
  StudentTask task(model, data, {0, 2, 1000, 0.3, 2}, {});
  const std::vector<Index> rows{0, 1};
  const detail::TransferBatch batch{data.batch(rows), rows};
  const MicroStep at{.scale = 1.0 / 14};
  zero_gradients(model.backend(), trained.parameters());
  task.step(batch, at);
  double largest = 0, worst = 0;
  for (const auto& [name, parameter] : trained.parameters()) {
    const std::vector<double> gradient(parameter->gradient().span().begin(), parameter->gradient().span().end());
    for (Index i = 0; i < parameter->size(); ++i) {
      double& x = parameter->mutable_value().data[i];
      const double keep = x, h = 1e-4;
      x = keep + h;
      const double above = task.evaluate();
      x = keep - h;
      const double below = task.evaluate();
      x = keep;
      const double want = (above - below) / (2 * h);
      largest = std::max(largest, std::abs(want));
      worst = std::max(worst, std::abs(want - gradient[static_cast<std::size_t>(i)]));
    }
  }
  CHECK(largest > 1);
  CHECK(worst < 1e-6 * largest);  // the difference quotient's error is of order h^2
}

TEST_CASE("transfer: blocks of layers give the joint losses") {
  const DataSet data = tiny::data(7, {11, 6}), validation = tiny::data(3, {8}, 6);
  for (const double xent : {0.0, 1.0}) {
    auto recipe = scale_free();
    recipe.xent_factor = xent;
    Student joint = tiny::student<Student>();
    const auto whole = transfer_attention(joint, data, validation, recipe);
    for (const Index size : {1, 2}) {
      CAPTURE(size);
      recipe.block = size;
      Student blocks = tiny::student<Student>();
      const auto parts = transfer_attention(blocks, data, validation, recipe);
      REQUIRE(static_cast<Index>(parts.blocks.size()) == (3 + size - 1) / size);
      for (std::size_t update = 0; update < whole.blocks[0].history.size(); ++update) {
        double loss = 0;
        for (std::size_t b = 0; b < parts.blocks.size(); ++b) {
          const double layers = b + 1 == parts.blocks.size() ? 3.0 - static_cast<double>(b) * static_cast<double>(size)
                                                             : static_cast<double>(size);
          loss += parts.blocks[b].history[update].loss * layers / 3;
        }
        // Rounding differs by the factor of the loss alone.
        CHECK(relative_change(loss, whole.blocks[0].history[update].loss) < 1e-9);
      }
      for (std::size_t l = 0; l < 3; ++l) CHECK(relative_change(parts.mse_per_layer[l], whole.mse_per_layer[l]) < 1e-9);
    }
  }
}

TEST_CASE("transfer: a block whose inputs come from a file gives what one gives that computes them") {
  const DataSet data = tiny::data(5, {11, 6}), validation = tiny::data(2, {8}, 6);
  const tiny::TemporaryFolder folder;
  auto recipe = scale_free();
  recipe.optimizer.epsilon = 1e-8;  // products of other rows together differ in their last bits, which must not decide updates
  recipe.block = 1;
  Student computed = tiny::student<Student>(), stored = tiny::student<Student>();
  const auto want = transfer_attention(computed, data, validation, recipe);
  recipe.residuals = folder / "stream";
  int files = 0;
  const auto got = transfer_attention(stored, data, validation, recipe, [&](const Progress& p) {
    if (p.stage == "transfer block 3/3" && p.update == 1) files = !folder.empty();
  });
  CHECK(files == 1);
  CHECK(folder.empty());
  const tiny::Snapshot learned = tiny::snapshot(stored.transfer_parameters()), expected = tiny::snapshot(computed.transfer_parameters());
  REQUIRE(learned.size() == expected.size());
  for (std::size_t i = 0; i < learned.size(); ++i) {
    CHECK(learned[i].first == expected[i].first);
    CHECK_MESSAGE(lolcats::testing::close(expected[i].second, learned[i].second, 1e-9), learned[i].first);
  }
  for (std::size_t l = 0; l < 3; ++l) CHECK(relative_change(got.mse_per_layer[l], want.mse_per_layer[l]) < 1e-9);

  recipe.residuals = folder / "no such folder" / "stream";
  CHECK_THROWS_AS(transfer_attention(stored, data, validation, recipe), FileError);
}

TEST_CASE("transfer: adapters are off, whatever they hold") {
  Student model = tiny::student<Student>();
  Rng rng(9);
  for (const auto& [name, parameter] : model.adapter_parameters()) {
    parameter->own(model.backend());
    for (double& x : parameter->mutable_value().span()) x = 0.5 * rng.normal();
  }
  const DataSet data = tiny::data(4, {11, 2, 7});
  model.use_adapters(false);
  const auto without = plain_errors(model, data);
  model.use_adapters(true);
  CHECK(relative_change(mean(plain_errors(model, data)), mean(without)) > 1e-3);
  const auto result = transfer_attention(model, data, data, {.max_updates = 1, .batch = 4, .learning_rate = 0});
  for (std::size_t i = 0; i < 3; ++i) CHECK(relative_change(result.mse_per_layer[i], without[i]) < 1e-12);
  CHECK(model.uses_adapters());
  model.use_adapters(false);
  transfer_attention(model, data, data, {.max_updates = 1, .batch = 4, .learning_rate = 0});
  CHECK_FALSE(model.uses_adapters());  // as they were before
}

TEST_CASE("transfer: memory is that of one layer") {
  const DataSet data = tiny::data(2);
  const auto peak = [&](Index layers) {
    Student model = tiny::student<Student>(layers);
    const TrainedScope<Student> trained(model, model.transfer_parameters(), "test");
    StudentTask task(model, data, {0, layers, 1000, 0, 2}, {});
    const std::vector<Index> rows{0, 1};
    for (int i = 0; i < 3; ++i) task.step({data.batch(rows), rows}, {.scale = 0.1});
    return task.peak_bytes();
  };
  CHECK(peak(1) > 0);
  CHECK(peak(6) == peak(1));
}

TEST_CASE("transfer: training lowers the loss, and nothing but maps and gamma changes") {
  const tiny::Teacher teacher = tiny::teacher();
  Student model = convert<Student>(teacher);
  const DataSet data = tiny::data(24, {12}), validation = tiny::data(8, {12}, 6);
  const auto base = tiny::snapshot(model.base_parameters()), adapters = tiny::snapshot(model.adapter_parameters());
  const auto maps = tiny::snapshot(model.transfer_parameters());
  const auto before = plain_errors(model, validation);
  const auto result =
      transfer_attention(model, data, validation, {.epochs = 20, .learning_rate = 3e-2, .evaluate_every = 10});
  const auto after = plain_errors(model, validation);
  CHECK(mean(after) < 0.8 * mean(before));
  for (std::size_t l = 0; l < 3; ++l) {
    CHECK(after[l] < before[l]);
    CHECK(relative_change(after[l], result.mse_per_layer[l]) < 1e-12);  // those of the best evaluation
  }
  CHECK(relative_change(result.blocks[0].best_validation, 1000 * mean(after)) < 1e-12);
  CHECK(result.tokens_per_second() > 0);

  CHECK(tiny::snapshot(model.base_parameters()) == base);
  CHECK(tiny::snapshot(model.adapter_parameters()) == adapters);
  const auto trained = tiny::snapshot(model.transfer_parameters());
  for (std::size_t i = 0; i < maps.size(); ++i) CHECK_MESSAGE(trained[i] != maps[i], maps[i].first);
  for (const auto& parameters : {model.base_parameters(), model.transfer_parameters(), model.adapter_parameters()}) {
    CHECK(!tiny::any_trained(parameters));
  }
  Student again = convert<Student>(teacher);
  CHECK(model.base_parameters()[0].parameter->shares_storage_with(*again.base_parameters()[0].parameter));
}

TEST_CASE("transfer: adapters are off, whatever they hold") {
  const DataSet data = tiny::data(4, {11, 7});
  const TransferRecipe<> recipe{.max_updates = 2, .batch = 4, .evaluate_every = 1};
  Student fresh = tiny::student<Student>(), adapted = tiny::student<Student>();
  for (const auto& [name, parameter] : adapted.adapter_parameters()) {
    parameter->own(adapted.backend());
    for (Index i = 0; i < parameter->size(); ++i) parameter->mutable_value().data[i] = 0.3 + static_cast<double>(i % 3);
  }
  const auto want = transfer_attention(fresh, data, data, recipe);
  const auto got = transfer_attention(adapted, data, data, recipe);
  CHECK(got.mse_per_layer == want.mse_per_layer);
  CHECK(got.blocks[0].history[1].loss == want.blocks[0].history[1].loss);
  CHECK(tiny::snapshot(adapted.transfer_parameters()) == tiny::snapshot(fresh.transfer_parameters()));
}

TEST_CASE("a stage freezes what others have trained, while it runs and after") {
  Student model = tiny::student<Student>(2);
  for (const auto& all : {model.base_parameters(), model.adapter_parameters()}) {
    for (const auto& [name, parameter] : all) parameter->train(model.backend());
  }
  {
    const TrainedScope<Student> trained(model, model.transfer_parameters(), "test");
    CHECK(!tiny::any_trained(model.base_parameters()));
    CHECK(!tiny::any_trained(model.adapter_parameters()));
    for (const auto& [name, parameter] : model.transfer_parameters()) CHECK_MESSAGE(parameter->trained(), name);
  }
  CHECK(!tiny::any_trained(model.transfer_parameters()));
}

TEST_CASE("transfer: padding weighs nothing") {
  const DataSet data = tiny::data(4, {11, 6, 8});
  /// The same rows, each with `padding` rows behind it that belong to no sequence.
  struct Padded {
    const DataSet& data;
    Index padding;
    Index size() const { return data.size(); }
    Batch batch(std::span<const Index> rows) const {
      const Batch plain = data.batch(rows);
      Batch padded;
      std::vector<Extent> extents;
      for (const Extent& e : plain.sequences.extents()) {
        extents.push_back({static_cast<Index>(padded.tokens.size()), e.length, e.position});
        for (Index i = e.row; i < e.row + e.length; ++i) {
          padded.tokens.push_back(plain.tokens[static_cast<std::size_t>(i)]);
          padded.labels.push_back(plain.labels[static_cast<std::size_t>(i)]);
        }
        padded.tokens.insert(padded.tokens.end(), static_cast<std::size_t>(padding), 0);
        padded.labels.insert(padded.labels.end(), static_cast<std::size_t>(padding), ignored_label);
      }
      padded.sequences = Sequences(static_cast<Index>(padded.tokens.size()), std::move(extents));
      return padded;
    }
  } const padded{data, 3};
  auto recipe = scale_free();
  recipe.evaluate_every = 2;
  Student plain = tiny::student<Student>(), other = tiny::student<Student>();
  const auto want = transfer_attention(plain, data, data, recipe), got = transfer_attention(other, padded, padded, recipe);
  double largest = 0;  // rows that the window holds whole have a loss of rounding alone
  for (const auto& update : want.blocks[0].history) largest = std::max(largest, update.loss);
  for (std::size_t i = 0; i < want.blocks[0].history.size(); ++i) {
    CHECK(std::abs(got.blocks[0].history[i].loss - want.blocks[0].history[i].loss) < 1e-9 * largest);
  }
  for (std::size_t l = 0; l < 3; ++l) CHECK(relative_change(got.mse_per_layer[l], want.mse_per_layer[l]) < 1e-9);
}

TEST_CASE("transfer: window dropout draws anew for every micro-batch, and not in an evaluation") {
  // Nothing is learned, so a row's loss is that with its window or that without, by its draw.
  using Dropping = Llama<Cpu<double>, Hybrid<Hedgehog<2>, Terraced<3>, WindowDropout<Ratio{1, 2}>>, Lora<2>>;
  using Far = Llama<Cpu<double>, Linear<Hedgehog<2>>, Lora<2>>;
  const DataSet row = tiny::data(1);
  TransferRecipe<> recipe{.epochs = 0, .max_updates = 24, .batch = 1, .learning_rate = 0, .evaluate_every = 1};
  std::vector<double> evaluated;
  const auto losses = [&]<class Model>(std::type_identity<Model>) {
    evaluated.clear();
    Model model = tiny::student<Model>(1);
    const TransferResult result = transfer_attention(model, row, row, recipe);
    std::vector<double> all;
    for (const TrainingPoint& point : result.blocks[0].history) {
      all.push_back(point.loss);
      evaluated.push_back(*point.validation);
    }
    return all;
  };
  const double near = losses(std::type_identity<Student>())[0], far = losses(std::type_identity<Far>())[0];
  CHECK(relative_change(near, far) > 1e-3);
  int with = 0, without = 0;
  for (const double loss : losses(std::type_identity<Dropping>())) {
    with += relative_change(loss, near) < 1e-12;
    without += relative_change(loss, far) < 1e-12;
  }
  for (const double loss : evaluated) CHECK(relative_change(loss, near) < 1e-12);
  CHECK(with + without == 24);
  CHECK(with > 0);
  CHECK(without > 0);
}

TEST_CASE("transfer: micro-batches add up to the batch, every token with the same weight") {
  const DataSet data = tiny::data(6, {11, 3, 7});
  const auto run = [&](Index micro) {
    Student model = tiny::student<Student>();
    auto recipe = scale_free();
    recipe.batch = 6;
    recipe.micro_batch = micro;
    const auto result = transfer_attention(model, data, data, recipe);
    return result.blocks[0].history.back().loss;
  };
  const double want = run(0);
  CHECK(relative_change(run(1), want) < 1e-10);
  CHECK(relative_change(run(4), want) < 1e-10);
}

TEST_CASE("transfer: an interrupted run goes on with the same bits, jointly and by blocks") {
  const DataSet data = tiny::data(6, {9}), validation = tiny::data(2, {8}, 6);
  for (const Index block : {0, 2}) {
    CAPTURE(block);
    const tiny::TemporaryFolder folder;
    TransferRecipe<> recipe{.epochs = 3, .batch = 2, .evaluate_every = 4};
    recipe.block = block;
    Student straight = tiny::student<Student>(), broken = tiny::student<Student>();
    const auto want = transfer_attention(straight, data, validation, recipe);

    recipe.checkpoint = folder / "state.safetensors";
    recipe.checkpoint_every = 2;
    struct Interruption {};
    int calls = 0;
    const int at = block ? 14 : 5;  // the second block's fifth update
    CHECK_THROWS_AS(transfer_attention(broken, data, validation, recipe,
                                       [&](const Progress&) {
                                         if (++calls == at) throw Interruption();
                                       }),
                    Interruption);
    CHECK(!tiny::any_trained(broken.transfer_parameters()));
    Student resumed = tiny::student<Student>();
    const auto got = transfer_attention(resumed, data, validation, recipe);
    CHECK(tiny::snapshot(resumed.transfer_parameters()) == tiny::snapshot(straight.transfer_parameters()));
    CHECK(got.mse_per_layer == want.mse_per_layer);
    REQUIRE(got.blocks.back().history.size() == want.blocks.back().history.size());
    CHECK(got.blocks.back().history.back().loss == want.blocks.back().history.back().loss);

    recipe.mse_factor = 1;
    CHECK_THROWS_AS(transfer_attention(resumed, data, validation, recipe), ConfigError);
  }
}

TEST_CASE("transfer: a loss that is not finite names its layer") {
  Student model = tiny::student<Student>();
  for (const auto& [name, parameter] : model.base_parameters()) {
    if (name == "model.layers.1.self_attn.q_proj.weight") {
      parameter->own(model.backend());
      parameter->mutable_value().data[3] = std::numeric_limits<double>::quiet_NaN();
    }
  }
  const DataSet data = tiny::data(4);
  CHECK_THROWS_WITH_AS(transfer_attention(model, data, data),
                       doctest::Contains("transfer: evaluation before the first update: the attention transfer loss of layer 1 is"),
                       NumericError);
}

TEST_CASE("transfer: what cannot be trained or evaluated is an error") {
  const DataSet data = tiny::data(4), none;
  Student model = tiny::student<Student>();
  CHECK_THROWS_AS(transfer_attention(model, data, none), ConfigError);
  CHECK(transfer_attention(model, data, none, {.max_updates = 1, .evaluate_every = 0}).mse_per_layer.empty());
  CHECK_THROWS_AS(transfer_attention(model, none, data), DataError);
  TransferRecipe<> negative;
  negative.block = -1;
  CHECK_THROWS_AS(transfer_attention(model, data, data, negative), ConfigError);
  tiny::Teacher softmax = tiny::teacher();
  CHECK_THROWS_AS(transfer_attention(softmax, data, data), ConfigError);
}
