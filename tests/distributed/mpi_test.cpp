// Run by mpiexec on 2 and 3 processes; cases that end a rank are run by failures.cmake, one by one.
#include "../train/tiny_llama.hpp"

#include <lolcats/distributed/mpi.hpp>
#include <lolcats/eval/log_likelihood.hpp>
#include <lolcats/eval/perplexity.hpp>
#include <lolcats/eval/shared_language_model.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>
#include <lolcats/ops/squared_error/eigen.hpp>
#include <lolcats/ops/weight_cross_entropy/eigen.hpp>
#include <lolcats/train/finetune.hpp>
#include <lolcats/train/pretrain.hpp>
#include <lolcats/train/sharded_base.hpp>
#include <lolcats/train/transfer.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <vector>

using namespace lolcats;
using Student = Llama<Cpu<double>, Hybrid<Hedgehog<2>, Terraced<3>>, Lora<2, qkvo, 4, Ratio{1, 4}>>;  // with dropout

namespace {

/// One for all cases.
Mpi& ranks() {
  static Mpi mpi;
  return mpi;
}

/// A new folder that all ranks see.
std::filesystem::path common_folder(const char* name) {
  const std::filesystem::path folder = ranks().broadcast((std::filesystem::temp_directory_path() / fmt::format("{}_{}", name, ::getpid())).string());
  if (ranks().leads()) std::filesystem::create_directories(folder);
  ranks().barrier();
  return folder;
}

/// Rows of 11, 2 and 7 tokens, of which every fourth row predicts its last token alone.
DataSet uneven(Index rows) {
  const DataSet plain = tiny::data(rows, {11, 2, 7});
  std::vector<Row> list;
  for (Index i = 0; i < rows; ++i) {
    Row row = plain[i];
    if (i % 4 == 1) std::fill(row.labels.begin(), row.labels.end() - 1, ignored_label);
    list.push_back(std::move(row));
  }
  return DataSet(std::move(list));
}

/// What a run leaves behind.
struct Outcome {
  std::vector<double> numbers;  // losses, validation losses, gradient norms
  tiny::Snapshot parameters;

  void add(const TrainingResult& result) {
    for (const TrainingPoint& point : result.history) {
      numbers.insert(numbers.end(), {point.loss, point.validation.value_or(0), point.gradient_norm});
    }
    numbers.insert(numbers.end(), {result.best_validation, static_cast<double>(result.tokens)});
  }
};

/// The largest difference, relative to the larger number; 0: the same bits.
double difference(const Outcome& a, const Outcome& b) {
  double largest = 0;
  const auto compare = [&](const std::vector<double>& x, const std::vector<double>& y) {
    REQUIRE(x.size() == y.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (x[i] != y[i]) largest = std::max(largest, std::abs(x[i] - y[i]) / std::max(std::abs(x[i]), std::abs(y[i])));
    }
  };
  compare(a.numbers, b.numbers);
  REQUIRE(a.parameters.size() == b.parameters.size());
  for (std::size_t i = 0; i < a.parameters.size(); ++i) compare(a.parameters[i].second, b.parameters[i].second);
  return largest;
}

/// What the three stages of training are told; batches of `batch` rows.
struct Settings {
  Index batch = 1, micro_batch = 0;
  Communicator* communicator = nullptr;

  template <class Recipe>
  Recipe recipe() const {
    Recipe r{.epochs = 2, .batch = batch, .micro_batch = micro_batch, .seed = 4, .learning_rate = 1e-2};
    r.clip = 1;
    r.evaluate_every = 2;
    r.communicator = communicator;
    return r;
  }
};

/// The weights of a teacher one by one, and how many numbers of them were in memory at once.
struct WeightsOfTeacher {
  explicit WeightsOfTeacher(std::uint64_t seed = 1) : teacher(tiny::teacher(3, seed)) {}
  Tensor<double> operator()(const std::string& name, const Shape& shape) {
    for (const auto& [own, parameter] : teacher.base_parameters()) {
      if (own != name) continue;
      auto copy = std::make_shared<std::vector<double>>(parameter->value().span().begin(), parameter->value().span().end());
      counts->held += shape.size();
      counts->most = std::max(counts->most, counts->held);
      return Tensor<double>(View<double>(copy->data(), shape), std::shared_ptr<void>(copy->data(), [copy, shape, c = counts](void*) { c->held -= shape.size(); }));
    }
    fail<FormatError>("no {}", name);
  }
  struct Counts {
    Index held = 0, most = 0;
  };
  tiny::Teacher teacher;
  std::shared_ptr<Counts> counts = std::make_shared<Counts>();
};

/// tiny::student over a base that is shared out, or over its own.
Student make_student(Communicator* sharding, std::uint64_t base = 1) {
  if (!sharding) return tiny::student<Student>(3, base);
  auto model = without_weights<Student>(tiny::config(), base);
  shard_base(model, WeightsOfTeacher(base), *sharding);
  return model;
}

template <class Data>
Outcome run_transfer(const Data& data, const DataSet& valid, const TransferRecipe<>& recipe, Communicator* sharding = nullptr) {
  Student model = make_student(sharding);
  Outcome outcome;
  const TransferResult result = transfer_attention(model, data, valid, recipe);
  for (const TrainingResult& block : result.blocks) outcome.add(block);
  outcome.numbers.insert(outcome.numbers.end(), result.mse_per_layer.begin(), result.mse_per_layer.end());
  outcome.parameters = tiny::snapshot(model.transfer_parameters());
  return outcome;
}

Outcome run_finetune(const DataSet& data, const DataSet& valid, FinetuneRecipe<> recipe, Communicator* sharding = nullptr) {
  Student model = make_student(sharding);
  Outcome outcome;
  outcome.add(finetune(model, data, valid, recipe));
  outcome.parameters = tiny::snapshot(model.adapter_parameters());
  return outcome;
}

Outcome run_pretrain(const DataSet& data, const DataSet& valid, PretrainRecipe<> recipe) {
  tiny::Teacher model = tiny::teacher();
  Outcome outcome;
  outcome.add(pretrain(model, data, valid, recipe));
  outcome.parameters = tiny::snapshot(model.base_parameters());
  return outcome;
}

/// Where the processes of one test, and those that go on from it, meet.
std::filesystem::path shared_folder() {
  const char* folder = std::getenv("LOLCATS_TEST_FOLDER");
  REQUIRE(folder);
  return folder;
}

/// Of stage 1, which has no dropout: other shares draw other masks.
TransferRecipe<> resumed_recipe() {
  auto recipe = Settings{6, 0, &ranks()}.recipe<TransferRecipe<>>();
  recipe.checkpoint = shared_folder() / "transfer.state";
  recipe.checkpoint_every = 1;
  return recipe;
}

/// Rows whose batch at `update` (0, 1, ...) ends in something else on the last rank.
template <class F>
struct Trap {
  const DataSet& rows;
  F spring;
  mutable Index calls = 0;
  Index size() const { return rows.size(); }
  Batch batch(std::span<const Index> chosen) const {
    if (++calls == 4 && ranks().rank() == ranks().size() - 1) spring();
    return rows.batch(chosen);
  }
};

}  // namespace

TEST_CASE("mpi: gather, maximum, broadcast") {
  Mpi& mpi = ranks();
  REQUIRE(mpi.size() >= 2);
  for (const std::size_t length : {0, 1, 124, 166, 248, 5000}) {  // longest: also 248 and 249 bytes, the last that travel beside their length and the first that do not
    const auto text = [&](Index rank) { return std::string((length + 1) * static_cast<std::size_t>(rank) / 2 + length, static_cast<char>('a' + rank)); };
    const auto all = mpi.gather(text(mpi.rank()));
    REQUIRE(all.size() == static_cast<std::size_t>(mpi.size()));
    for (Index rank = 0; rank < mpi.size(); ++rank) CHECK(all[static_cast<std::size_t>(rank)] == text(rank));
    CHECK(mpi.broadcast(text(mpi.rank()), 1) == text(1));
  }
  CHECK(mpi.maximum(-1.5 - static_cast<double>(mpi.rank())) == -1.5);
  mpi.barrier();
}

TEST_CASE_TEMPLATE("mpi: sums are added in the order of the ranks", T, float, double) {
  Mpi& mpi = ranks();
  for (const std::size_t count : {0, 1, 2, 3, 1000}) {
    std::vector<std::vector<T>> brought;  // by rank
    for (Index rank = 0; rank < mpi.size(); ++rank) {
      std::vector<T>& own = brought.emplace_back(count);
      for (std::size_t i = 0; i < count; ++i) own[i] = static_cast<T>(std::sin(3.7 * static_cast<double>(rank) + static_cast<double>(i)) * std::pow(10, rank));
    }
    std::vector<T> x = brought[static_cast<std::size_t>(mpi.rank())];
    mpi.sum(std::span(x));
    for (std::size_t i = 0; i < count; ++i) {
      T want = brought[0][i];
      for (std::size_t rank = 1; rank < brought.size(); ++rank) want += brought[rank][i];
      CHECK(x[i] == want);
    }
  }
}

TEST_CASE("mpi: ranks whose shares are one process's micro-batches have its numbers but for the last bits") {
  const Index size = ranks().size();
  const DataSet data = uneven(4 * size), valid = uneven(5);
  const Settings together{2 * size, 0, &ranks()}, alone{2 * size, 2, nullptr};
  // A kernel may add what the rows of a micro-batch give one by one to what is there, or their sum at once.
  CHECK(difference(run_finetune(data, valid, together.recipe<FinetuneRecipe<>>()), run_finetune(data, valid, alone.recipe<FinetuneRecipe<>>())) < 1e-13);
  CHECK(difference(run_transfer(data, valid, together.recipe<TransferRecipe<>>()), run_transfer(data, valid, alone.recipe<TransferRecipe<>>())) < 1e-13);
  CHECK(difference(run_pretrain(data, valid, together.recipe<PretrainRecipe<>>()), run_pretrain(data, valid, alone.recipe<PretrainRecipe<>>())) < 1e-13);
}

TEST_CASE("mpi: in float, too, ranks have the losses and parameters of one process") {
  using Float = Llama<Cpu<float>, Student::Attention, Lora<2>>;
  const Index size = ranks().size();
  const DataSet data = uneven(4 * size), valid = uneven(5);
  const auto run = [&](const Settings& settings) {
    auto model = convert<Float>(random_llama<Llama<Cpu<float>>>(tiny::config(3), 1, 0.4), 1);
    std::vector<double> numbers;
    const auto add = [&](const TrainingResult& result) {
      for (const TrainingPoint& point : result.history) numbers.push_back(point.loss);
      numbers.push_back(result.best_validation);
    };
    for (const TrainingResult& block : transfer_attention(model, data, valid, settings.recipe<TransferRecipe<>>()).blocks) add(block);
    add(finetune(model, data, valid, settings.recipe<FinetuneRecipe<>>()));
    return numbers;
  };
  const std::vector<double> together = run({2 * size, 0, &ranks()}), alone = run({2 * size, 2, nullptr});
  REQUIRE(together.size() == alone.size());
  // Sums of a few hundred terms in another order: some units in the last place, 6e-8 each.
  for (std::size_t i = 0; i < alone.size(); ++i) CHECK(std::abs(together[i] - alone[i]) <= 1e-6 * std::abs(alone[i]));
}

TEST_CASE("mpi: shares of any sizes, some of them empty, have the losses of one process") {
  const DataSet data = uneven(9), valid = uneven(4);
  for (const Index micro_batch : {0, 2}) {
    const Settings together{4, micro_batch, &ranks()}, alone{4, 0, nullptr};
    auto blockwise = together.recipe<TransferRecipe<>>(), whole = alone.recipe<TransferRecipe<>>();
    blockwise.block = whole.block = 2;
    blockwise.residuals = std::filesystem::temp_directory_path() / "lolcats_mpi_test_residuals";
    CHECK(difference(run_transfer(data, valid, blockwise), run_transfer(data, valid, whole)) < 1e-9);
    CHECK(difference(run_pretrain(data, valid, together.recipe<PretrainRecipe<>>()), run_pretrain(data, valid, alone.recipe<PretrainRecipe<>>())) < 1e-9);
  }
}

TEST_CASE("mpi: ranks share out what is scored") {
  Student model = tiny::student<Student>();
  LanguageModelOf<Student> alone(model);
  SharedLanguageModel shared(alone, ranks());
  CHECK(shared.batch_tokens() == ranks().size() * alone.batch_tokens());
  std::vector<Continuation> list;  // contexts that several share, more of them than ranks, and some too short to be kept
  const std::vector<Index> text = tiny::data(1, {11, 2, 7})[0].tokens;
  for (Index i = 0; i < 48; ++i) {
    list.push_back({text, {i % 5, (3 * i) % 7}});
    list.back().context.resize(static_cast<std::size_t>(i % 4 == 3 ? 2 : 9 - i % 3));
    list.back().context.front() = i % 8;
  }
  for (Index token = 0; token < model.config().vocab_size; ++token) list.push_back({text, {token}});  // of which one is the most likely
  for (const Index batch_tokens : {1, 40, 1000}) {  // a sequence at a time leaves ranks without one
    const ReadingOptions options{.batch_tokens = batch_tokens, .shared_from = 7, .greedy = true};
    const auto want = log_likelihoods(alone, list, options), got = log_likelihoods(shared, list, options);
    REQUIRE(got.size() == want.size());
    CHECK(std::ranges::count(want, true, &Likelihood::greedy) > 0);
    std::vector<double> numbers;
    for (std::size_t i = 0; i < got.size(); ++i) {
      CHECK(std::abs(got[i].log_likelihood - want[i].log_likelihood) < 1e-12);
      CHECK(got[i].greedy == want[i].greedy);
      numbers.push_back(got[i].log_likelihood);
    }
    const auto all = ranks().gather(std::span<const double>(numbers));
    for (std::size_t i = 0; i < all.size(); ++i) CHECK(all[i] == numbers[i % numbers.size()]);  // the same bits everywhere
  }
}

TEST_CASE("mpi: ranks that differ are refused before any update") {
  const DataSet data = uneven(6), valid = uneven(4);
  const bool other = ranks().rank() == 1;
  const auto recipe = Settings{6, 0, &ranks()}.recipe<FinetuneRecipe<>>();
  const auto refuses = [&](const DataSet& rows, std::uint64_t base, const FinetuneRecipe<>& own, const char* message) {
    Mpi mpi;  // of its own, for it is left
    auto own_recipe = own;
    own_recipe.communicator = &mpi;
    Student model = tiny::student<Student>(3, base);
    std::string got;
    try {
      finetune(model, rows, valid, own_recipe);
    } catch (const ConfigError& error) {
      got = error.what();
    }
    CHECK(got.find(message) != std::string::npos);
    CAPTURE(got);
    CHECK(got.find("finetune: rank 1 has ") == 0);
  };
  auto faster = recipe;
  if (other) faster.learning_rate = 0.02;
  refuses(data, 1, faster, "learning_rate '0.02', expected '0.01', that of rank 0");
  auto longer = recipe;
  if (other) longer.max_updates = 1;
  refuses(data, 1, longer, "updates '1', expected '2'");
  refuses(other ? tiny::data(6, {11}, 6) : data, 1, recipe, "training data");
  refuses(data, other ? 2 : 1, recipe, "base");
}

TEST_CASE("mpi: fewer rows than ranks are refused") {
  const DataSet data = uneven(1), valid = uneven(4);
  auto recipe = Settings{1, 0, &ranks()}.recipe<FinetuneRecipe<>>();
  const auto message = [&](const DataSet& rows) {
    Mpi mpi;
    recipe.communicator = &mpi;
    Student model = tiny::student<Student>();
    try {
      finetune(model, rows, valid, recipe);
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(message(uneven(8)).find("batch is 1, expected at least ") != std::string::npos);
  recipe.batch = 4;
  CHECK(message(data).find("the data has 1 rows, expected at least ") != std::string::npos);
}

TEST_CASE("mpi: one rank that is asked to stop stops all, and all go on with the same bits; rank 0 alone tells") {
  const std::filesystem::path folder = common_folder("lolcats_mpi");
  const DataSet data = uneven(12), valid = uneven(5);
  auto recipe = Settings{6, 0, &ranks()}.recipe<FinetuneRecipe<>>();
  Index told = 0, asked = 0;
  recipe.log = [&](std::string_view, std::span<const TrainingPoint> points) { told += static_cast<Index>(points.size()); };
  const Outcome whole = run_finetune(data, valid, recipe);
  CHECK(told == (ranks().leads() ? 4 : 0));

  recipe.checkpoint = folder / "state";
  recipe.stop = [&] { return ranks().rank() == 1 && ++asked == 2; };
  {
    Mpi mpi;
    auto stopped = recipe;
    stopped.communicator = &mpi;
    CHECK_THROWS_AS(run_finetune(data, valid, stopped), Interrupted);
  }
  recipe.stop = {};
  Outcome resumed = run_finetune(data, valid, recipe);
  resumed.numbers.back() = whole.numbers.back();  // tokens since the resumption
  CHECK(difference(resumed, whole) == 0);
  ranks().barrier();
  if (ranks().leads()) std::filesystem::remove_all(folder);
}

TEST_CASE("mpi: rank 0 alone saves") {
  const auto before = std::filesystem::current_path();
  const tiny::TemporaryFolder folder;  // of each rank: the same name there
  std::filesystem::current_path(folder / "");
  auto recipe = Settings{6, 0, &ranks()}.recipe<FinetuneRecipe<>>();
  recipe.checkpoint = "state";
  run_finetune(uneven(6), uneven(4), recipe);
  CHECK(folder.empty() == !ranks().leads());
  std::filesystem::current_path(before);
}

// ---- The base shared out between the ranks ----------------------------------------------------------------------------

TEST_CASE("mpi: a base that is shared out has the bits of one that every rank has, whatever the shares of rows are") {
  const Index size = ranks().size();
  for (const bool even : {true, false}) {
    CAPTURE(even);
    // Uneven: ranks have passes that others lack, in training and in validation, and some have no row of the last batch.
    const DataSet data = uneven(even ? 4 * size : 9), valid = uneven(even ? 2 * size : 7);
    const Settings settings{even ? 2 * size : 4, even ? 0 : 1, &ranks()};
    auto recipe = settings.recipe<FinetuneRecipe<>>();
    for (const double share : {0.0, 0.5}) {
      recipe.distillation.share = share;
      recipe.train_maps = share > 0;
      CHECK(difference(run_finetune(data, valid, recipe, &ranks()), run_finetune(data, valid, recipe)) == 0);
    }
    for (const Index block : {0, 2}) {
      auto transfer = settings.recipe<TransferRecipe<>>();
      transfer.block = block;
      if (block > 0) transfer.residuals = std::filesystem::temp_directory_path() / "lolcats_mpi_test_sharded";
      CHECK(difference(run_transfer(data, valid, transfer, &ranks()), run_transfer(data, valid, transfer)) == 0);
    }
  }
}

TEST_CASE("mpi: no rank has more of a shared base than its part, two layers and what no layer has") {
  WeightsOfTeacher weights;
  auto model = without_weights<Student>(tiny::config(), 1);
  const auto base = shard_base(model, std::ref(weights), ranks());
  Index largest = 0, in_layers = 0, elsewhere = 0, tensors = 0;
  for (const auto& [name, parameter] : weights.teacher.base_parameters()) {
    if (!name.starts_with("model.layers.")) elsewhere += parameter->size();
    if (!name.starts_with("model.layers.")) continue;
    largest = std::max(largest, parameter->size());
    in_layers += parameter->size();
    ++tensors;
  }
  CHECK(weights.counts->held == elsewhere);
  CHECK(weights.counts->most <= elsewhere + largest);
  const auto size = static_cast<std::size_t>(ranks().size()), layers = static_cast<std::size_t>(model.layer_count());
  const std::size_t whole = sizeof(double) * static_cast<std::size_t>(in_layers);
  const std::size_t padding = 256 * static_cast<std::size_t>(tensors), of_pieces = 256 * size * layers;  // tensors and pieces begin aligned
  CHECK(base->kept_bytes() >= whole / size);
  CHECK(base->kept_bytes() <= (whole + padding + of_pieces) / size);
  CHECK(base->buffer_bytes() <= 2 * (whole + padding + of_pieces) / layers);

  // A pass gathers every layer but those that are there: of 3 layers all, then, backwards and forwards, one.
  const std::size_t layer = base->buffer_bytes() / 2 / size * (size - 1);
  const DataSet data = uneven(3);
  const Perplexity got = perplexity(model, data, 2);
  CHECK(base->gathered_bytes() == (3 + 3) * layer);  // two passes
  Student whole_model = tiny::student<Student>();
  CHECK(got.loss == perplexity(whole_model, data, 2).loss);
  // There and back: the last two layers are there at the turn, and what comes next is below.
  const std::size_t before = base->gathered_bytes();
  for (const Index at : {0, 1, 2, 2, 1, 0}) base->load(at);
  CHECK(base->gathered_bytes() - before == 4 * layer);
  CHECK(fingerprint_of_base(model, false) == fingerprint_of_base(whole_model, false));
  CHECK(fingerprint_of_base(model, true) == fingerprint_of_base(whole_model, true));

  // A student of a model with a shared base shares it.
  auto other = convert<Llama<Cpu<double>>>(model);
  tiny::Teacher teacher = tiny::teacher();
  CHECK(perplexity(other, data, 2).loss == perplexity(teacher, data, 2).loss);
  CHECK(perplexity(model, data, 2).loss == got.loss);
}

TEST_CASE("mpi: a run over a shared base goes on from its state, over a whole base, too") {
  const std::filesystem::path folder = common_folder("lolcats_mpi_sharded");
  const DataSet data = uneven(12), valid = uneven(5);
  auto recipe = Settings{6, 0, &ranks()}.recipe<FinetuneRecipe<>>();
  const Outcome whole = run_finetune(data, valid, recipe);
  for (const bool sharded : {true, false}) {
    recipe.checkpoint = folder / (sharded ? "sharded" : "whole");
    Index asked = 0;
    recipe.stop = [&] { return ++asked == 2; };
    CHECK_THROWS_AS(run_finetune(data, valid, recipe, &ranks()), Interrupted);
    recipe.stop = {};
    Outcome resumed = run_finetune(data, valid, recipe, sharded ? &ranks() : nullptr);
    resumed.numbers.back() = whole.numbers.back();  // tokens since the resumption
    CHECK(difference(resumed, whole) == 0);
  }
  ranks().barrier();
  if (ranks().leads()) std::filesystem::remove_all(folder);
}

TEST_CASE("mpi: ranks with parts of different bases, and ranks out of step, are refused") {
  {
    Mpi mpi;
    const DataSet data = uneven(6), valid = uneven(4);
    auto recipe = Settings{6, 0, &mpi}.recipe<FinetuneRecipe<>>();
    Student model = make_student(&mpi, mpi.rank() == 1 ? 2 : 1);
    CHECK_THROWS_WITH_AS(finetune(model, data, valid, recipe), doctest::Contains("finetune: rank 1 has base "), ConfigError);
  }
  Mpi mpi;
  Student model = make_student(&mpi);
  CHECK_THROWS_WITH_AS(model.layer(mpi.rank() == 1 ? 2 : 0).load(), "ShardedBase: rank 1 loads layer 2, expected 0, as rank 0 does", CommunicationError);
}

// ---- One by one: failures.cmake --------------------------------------------------------------------------------------

TEST_CASE("mpi failure: a rank that throws ends the others" * doctest::skip()) {
  const DataSet data = uneven(12), valid = uneven(5);
  const Trap trap{data, [] { fail<DataError>("planted"); }};
  auto recipe = Settings{6, 0, &ranks()}.recipe<FinetuneRecipe<>>();
  Student model = tiny::student<Student>();
  try {
    finetune(model, trap, valid, recipe);
  } catch (const RankError& error) {
    fmt::print("rank {} heard: {}\n", ranks().rank(), error.what());
  } catch (const DataError& error) {
    fmt::print("rank {} said: {}\n", ranks().rank(), error.what());
  }
  std::fflush(stdout);
  std::this_thread::sleep_for(std::chrono::seconds(2));  // mpiexec ends all as soon as one ends without the others
}

TEST_CASE("mpi failure: a rank that throws ends those that gather a layer with it" * doctest::skip()) {
  const DataSet data = uneven(3);
  Student model = make_student(&ranks());
  try {
    together(ranks(), [&] {
      if (ranks().rank() == 1) fail<DataError>("planted");
      perplexity(model, data);
    });
  } catch (const RankError& error) {
    fmt::print("rank {} heard: {}\n", ranks().rank(), error.what());
  } catch (const DataError& error) {
    fmt::print("rank {} said: {}\n", ranks().rank(), error.what());
  }
  std::fflush(stdout);
  std::this_thread::sleep_for(std::chrono::seconds(2));
}

TEST_CASE("mpi failure: a rank that is killed" * doctest::skip()) {
  const DataSet data = uneven(12), valid = uneven(5);
  const Trap trap{data, [] { ::raise(SIGKILL); }};
  run_transfer(trap, valid, resumed_recipe());
}

TEST_CASE("mpi failure: any number of ranks goes on from there" * doctest::skip()) {
  const DataSet data = uneven(12), valid = uneven(5);
  const Trap trap{data, [] {}};  // which has no fingerprint either
  const auto recipe = resumed_recipe();
  CHECK(std::filesystem::exists(recipe.checkpoint));
  Outcome resumed = run_transfer(trap, valid, recipe);
  const Settings begun{6, 3, nullptr}, here{6, 0, &ranks()};
  Outcome alone = run_transfer(data, valid, begun.recipe<TransferRecipe<>>()), whole = run_transfer(data, valid, here.recipe<TransferRecipe<>>());
  const std::size_t tokens = alone.numbers.size() - static_cast<std::size_t>(tiny::config().layers) - 1;
  CHECK(resumed.numbers[tokens] < alone.numbers[tokens]);  // since the resumption
  resumed.numbers[tokens] = alone.numbers[tokens];
  CHECK(difference(resumed, alone) < 1e-11);
  if (ranks().size() == 2) CHECK(difference(resumed, whole) == 0);  // as many as began
  if (ranks().leads()) fmt::print("went on on {} ranks\n", ranks().size());
}
