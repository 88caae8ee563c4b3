#include <lolcats/train/loop.hpp>
#include <lolcats/train/resume.hpp>

#include "regression.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>
#include <csignal>

using namespace lolcats;
using namespace lolcats::regression;
namespace fs = std::filesystem;

namespace {

/// A folder that is removed at the end.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("lolcats_resume_test_" + std::to_string(::getpid()));
  Folder() {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~Folder() { fs::remove_all(path); }
  fs::path file(const char* name) const { return path / name; }
};

std::string bytes_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct PowerCut {};
ProgressCallback interrupt_after(Index update) {
  return [update](const Progress& p) {
    if (p.update == update) throw PowerCut{};
  };
}

}  // namespace

TEST_CASE_TEMPLATE("an interrupted run goes on with the same bits", T, float, double) {
  const Folder folder;
  const Examples data = some_examples(9);
  // Both schedule and early stopping have state: the learning rate is reduced on the way.
  Recipe<ReduceOnPlateau> recipe{.stage = "transfer",
                                 .max_updates = 23,
                                 .batch = 2,
                                 .micro_batch = 1,
                                 .seed = 5,
                                 .learning_rate = 0.3,
                                 .schedule = {.factor = 0.7, .patience = 0},
                                 .clip = 0.5,
                                 .evaluate_every = 2,
                                 .restore_best = false};
  recipe.optimizer.weight_decay = 0.01;
  Regression<T> whole;
  const auto want = train(Cpu<T>{}, whole.parameters(), data, whole, recipe);
  CHECK(want.history.front().learning_rate != want.history.back().learning_rate);

  for (const Index cut : {1, 5, 6, 10, 22, 23}) {
    CAPTURE(cut);
    recipe.checkpoint = folder.file("state.safetensors");
    recipe.checkpoint_every = 1;
    fs::remove(recipe.checkpoint);
    Regression<T> first, second;
    CHECK_THROWS_AS(train(Cpu<T>{}, first.parameters(), data, first, recipe, interrupt_after(cut)), PowerCut);
    second.w.master().data[0] = T(1234);  // comes from the checkpoint
    const auto got = train(Cpu<T>{}, second.parameters(), data, second, recipe);
    CHECK(second.values() == whole.values());
    CHECK(got.best_validation == want.best_validation);
    CHECK(got.best_update == want.best_update);
    CHECK(got.updates == 23);
    REQUIRE(got.history.size() == want.history.size());
    for (std::size_t i = 0; i < want.history.size(); ++i) {
      CHECK(got.history[i].update == want.history[i].update);
      CHECK(got.history[i].loss == want.history[i].loss);
      CHECK(got.history[i].validation == want.history[i].validation);
      CHECK(got.history[i].learning_rate == want.history[i].learning_rate);
      CHECK(got.history[i].gradient_norm == want.history[i].gradient_norm);
      if (i > 0) CHECK(got.history[i].seconds >= got.history[i - 1].seconds);
    }
  }
}

TEST_CASE("the best parameters survive an interruption") {
  const Folder folder;
  const Examples data = some_examples(6);
  struct Scripted : Regression<double> {
    std::vector<double> script{9, 5, 1, 4, 3, 2, 2};  // the first of the start
    std::size_t at = 0;
    double evaluate() { return script[at++]; }
  } whole, first, second;
  Recipe<> recipe{.max_updates = 6, .batch = 2, .learning_rate = 0.1, .evaluate_every = 1};
  train(Cpu<double>{}, whole.parameters(), data, whole, recipe);
  recipe.checkpoint = folder.file("state");
  recipe.checkpoint_every = 4;
  CHECK_THROWS_AS(train(Cpu<double>{}, first.parameters(), data, first, recipe, interrupt_after(5)), PowerCut);
  second.at = 5;
  const auto result = train(Cpu<double>{}, second.parameters(), data, second, recipe);
  CHECK(result.best_update == 2);
  CHECK(result.start_validation == 9);
  CHECK(second.values() == whole.values());
}

TEST_CASE("the start stays the best across an interruption") {
  const Folder folder;
  const Examples data = some_examples(6);
  Regression<double> first, second;
  const auto start = first.values();
  const double before = first.evaluate();
  const Recipe<> recipe{.max_updates = 6,
                        .batch = 2,
                        .learning_rate = 1e4,
                        .evaluate_every = 4,
                        .checkpoint = folder.file("state"),
                        .checkpoint_every = 1};
  CHECK_THROWS_AS(train(Cpu<double>{}, first.parameters(), data, first, recipe, interrupt_after(2)), PowerCut);
  CHECK(first.values() != start);
  const auto result = train(Cpu<double>{}, second.parameters(), data, second, recipe);
  CHECK(result.ended_worse);
  CHECK(result.start_validation == before);
  CHECK(second.values() == start);
}

TEST_CASE("a run that is told to stop saves its state first, after any update") {
  const Folder folder;
  const Examples data = some_examples(9);
  Recipe<> recipe{.stage = "transfer", .max_updates = 7, .batch = 2, .learning_rate = 0.1, .evaluate_every = 3};
  Regression<double> whole;
  train(Cpu<double>{}, whole.parameters(), data, whole, recipe);
  recipe.checkpoint = folder.file("state");
  for (const Index cut : {1, 4, 7}) {
    CAPTURE(cut);
    fs::remove(recipe.checkpoint);
    Regression<double> first, second;
    Index asked = 0;
    recipe.stop = [&] { return ++asked == cut; };
    try {
      train(Cpu<double>{}, first.parameters(), data, first, recipe);
      FAIL("not stopped");
    } catch (const Interrupted& stopped) {
      CHECK(stopped.stage() == "transfer");
      CHECK(stopped.update() == cut);
      CHECK(stopped.what() == fmt::format("transfer: stopped after update {} of 7; its state is in {}", cut,
                                          recipe.checkpoint.string()));
    }
    recipe.stop = {};
    train(Cpu<double>{}, second.parameters(), data, second, recipe);
    CHECK(second.steps == 7 - cut);
    CHECK(second.values() == whole.values());
  }
  recipe.checkpoint.clear();
  recipe.stop = [] { return true; };
  Regression<double> unsaved;
  CHECK(message_of([&] { train(Cpu<double>{}, unsaved.parameters(), data, unsaved, recipe); }) ==
        "transfer: stopped after update 1 of 7; no state was saved, for the recipe names no checkpoint");
}

TEST_CASE("a state is saved when so many minutes have passed") {
  const Examples data = some_examples(9);
  const auto updates_left = [&](double minutes) {
    const Folder folder;
    const Recipe<> recipe{
        .max_updates = 7, .batch = 2, .checkpoint = folder.file("state"), .checkpoint_minutes = minutes};
    Regression<double> first, second;
    CHECK_THROWS_AS(train(Cpu<double>{}, first.parameters(), data, first, recipe, interrupt_after(3)), PowerCut);
    train(Cpu<double>{}, second.parameters(), data, second, recipe);
    return second.steps;
  };
  CHECK(updates_left(1e-12) == 4);
  CHECK(updates_left(1e6) == 7);
  CHECK(updates_left(0) == 7);
}

TEST_CASE("the log hears every update once, after what was done before an interruption") {
  const Folder folder;
  const Examples data = some_examples(9);
  using Lines = std::vector<TrainingPoint>;
  Recipe<> recipe{.stage = "transfer", .max_updates = 7, .batch = 2, .evaluate_every = 3};
  const auto logged = [&](Lines& lines) {
    lines.clear();
    bool first = true;
    return [&lines, first](std::string_view stage, std::span<const TrainingPoint> points) mutable {
      CHECK(stage == "transfer");
      if (!first) CHECK(points.size() == 1);
      first = false;
      lines.insert(lines.end(), points.begin(), points.end());
    };
  };
  const auto check = [](const Lines& got, const Lines& want) {
    REQUIRE(got.size() == want.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      CHECK(got[i].update == static_cast<Index>(i) + 1);
      CHECK(got[i].loss == want[i].loss);
      CHECK(got[i].validation == want[i].validation);
      CHECK(got[i].gradient_norm == want[i].gradient_norm);
      CHECK(got[i].tokens_per_second > 0);
    }
  };
  Regression<double> whole;
  Lines lines;
  recipe.log = logged(lines);
  const auto want = train(Cpu<double>{}, whole.parameters(), data, whole, recipe).history;
  CHECK(want.back().validation);
  check(lines, want);

  recipe.checkpoint = folder.file("state");
  recipe.checkpoint_every = 2;
  for (const Index cut : {5, 6, 7}) {  // after the last one: before the evaluation that ends the run
    CAPTURE(cut);
    fs::remove(recipe.checkpoint);
    Regression<double> first, second;
    recipe.log = logged(lines);
    recipe.stop = [count = Index{0}, cut]() mutable { return ++count == cut; };
    CHECK_THROWS_AS(train(Cpu<double>{}, first.parameters(), data, first, recipe), lolcats::Interrupted);
    CHECK(lines.size() == static_cast<std::size_t>(cut == 7 ? 6 : cut));
    recipe.log = logged(lines);
    recipe.stop = {};
    train(Cpu<double>{}, second.parameters(), data, second, recipe);
    check(lines, want);
  }
}

TEST_CASE("a finished run can be made longer, as if it had been long from the start") {
  const Folder folder;
  const Examples data = some_examples(9);
  Regression<double> whole, parts;
  Recipe<> recipe{.max_updates = 11, .batch = 2, .learning_rate = 0.1, .evaluate_every = 3, .restore_best = false};
  const auto want = train(Cpu<double>{}, whole.parameters(), data, whole, recipe);
  recipe.checkpoint = folder.file("state");
  for (const Index updates : {5, 5, 11}) {
    recipe.max_updates = updates;
    const auto got = train(Cpu<double>{}, parts.parameters(), data, parts, recipe);
    CHECK(got.updates == updates);
    if (updates == 11) CHECK(got.best_validation == want.best_validation);
  }
  CHECK(parts.values() == whole.values());
}

TEST_CASE("a checkpoint of another recipe, of another model or of other data is refused") {
  const Folder folder;
  const Examples data = some_examples(6);
  Regression<double> task;
  const Recipe<> recipe{
      .stage = "transfer", .identity = "hedgehog", .max_updates = 2, .batch = 2, .checkpoint = folder.file("state")};
  train(Cpu<double>{}, task.parameters(), data, task, recipe);
  const auto refused = [&](auto change) {
    Regression<double> other;
    Recipe<> changed = recipe;
    changed.max_updates = 4;
    change(changed);
    const auto before = other.values();
    const auto message = message_of([&] {
      CHECK_THROWS_AS(train(Cpu<double>{}, other.parameters(), data, other, changed), ConfigError);
      train(Cpu<double>{}, other.parameters(), data, other, changed);
    });
    CHECK(other.values() == before);
    return message;
  };
  const std::string file = recipe.checkpoint.string();
  CHECK(refused([](auto& r) { r.learning_rate = 0.5; }) ==
        file + ": the checkpoint was made with learning_rate '0.001', expected '0.5'; remove it to start anew");
  CHECK(refused([](auto& r) { r.identity = "t2r"; }).find("identity 'hedgehog', expected 't2r'") != std::string::npos);
  CHECK(refused([](auto& r) { r.seed = 9; }).find("seed '0', expected '9'") != std::string::npos);
  CHECK(refused([](auto& r) { r.optimizer.beta2 = 0.99; }).find("beta2 '0.999'") != std::string::npos);
  CHECK(refused([](auto& r) { r.batch = 3; }).find("batch '2', expected '3'") != std::string::npos);

  Recipe<> longer = recipe;
  longer.max_updates = 4;
  Regression<double> other;
  CHECK(message_of([&] {
          train(Cpu<double>{}, other.parameters(), some_examples(7), other, longer);
        }).find("rows '6', expected '7'") != std::string::npos);
  const Recipe<Cosine> scheduled{
      .stage = "transfer", .identity = "hedgehog", .max_updates = 4, .batch = 2, .checkpoint = recipe.checkpoint};
  CHECK(message_of([&] {
          train(Cpu<double>{}, other.parameters(), data, other, scheduled);
        }).find("schedule 'constant', expected 'cosine(warmup=0, total=4, floor=0)'") != std::string::npos);

  CHECK(message_of([&] {
          train(Cpu<double>{}, {{"layers.0.w", &other.w}}, data, other, longer);
        }).find("layers.1.b' belongs to no trained parameter") != std::string::npos);
  CHECK(message_of([&] {
          train(Cpu<double>{}, {{"layers.7.w", &other.w}}, data, other, longer);
        }).find("has no tensor 'parameter.layers.7.w'") != std::string::npos);
  CHECK(message_of([&] {
          train(Cpu<double>{}, {{"layers.0.w", &other.b}, {"layers.1.b", &other.w}}, data, other, longer);
        }).find("'parameter.layers.0.w' has shape (3), expected ()") != std::string::npos);
  Regression<float> narrow;
  CHECK(message_of([&] {
          train(Cpu<float>{}, narrow.parameters(), data, narrow, longer);
        }).find("is F64, expected F32") != std::string::npos);
}

TEST_CASE("a file that is no checkpoint, or half of one, is refused") {
  const Folder folder;
  const Examples data = some_examples(6);
  Recipe<> recipe{.max_updates = 2, .batch = 2, .checkpoint = folder.file("state")};
  Regression<double> task;
  train(Cpu<double>{}, task.parameters(), data, task, recipe);
  recipe.max_updates = 4;
  const std::string whole = bytes_of(recipe.checkpoint);
  const auto with = [&](const std::string& bytes) {
    std::ofstream(recipe.checkpoint, std::ios::binary) << bytes;
    Regression<double> other;
    const auto before = other.values();
    const std::string message = message_of([&] { train(Cpu<double>{}, other.parameters(), data, other, recipe); });
    if (message != "no error") CHECK(other.values() == before);
    return message;
  };
  for (const std::size_t size : {std::size_t{0}, std::size_t{4}, whole.size() / 2, whole.size() - 1}) {
    CHECK(with(whole.substr(0, size)) != "no error");
  }
  const auto replaced = [&](std::string bytes, const std::string& from, const std::string& to) {
    REQUIRE(from.size() == to.size());
    const auto at = bytes.find(from);
    REQUIRE(at != std::string::npos);
    return bytes.replace(at, from.size(), to);
  };
  CHECK(with(replaced(whole, "training state 2", "training state 9")).find("format is") != std::string::npos);
  CHECK(with(replaced(whole, "\"update\":\"2\"", "\"update\":\"x\"")).find("'update' is 'x'") != std::string::npos);
  CHECK(with(replaced(whole, "\"update\":\"2\"", "\"update\":\"3\"")).find("'history' has shape") != std::string::npos);
  CHECK(with(replaced(whole, "\"best_loss\"", "\"bets_loss\"")).find("'best_loss' is missing") != std::string::npos);
  const std::span<const std::byte> raw = std::as_bytes(std::span(whole));
  const auto history = Safetensors(raw, "state").info("history").bytes.data() - raw.data();
  for (const double update : {1e300, -1.0, std::nan("")}) {  // which no integer can hold
    std::string bytes = whole;
    std::memcpy(bytes.data() + history, &update, sizeof update);
    CHECK(with(bytes).find("row 0 of 'history' is of update") != std::string::npos);
  }
  CHECK(with(whole) == "no error");
}

TEST_CASE("an interrupted write leaves the old checkpoint and nothing else") {
  const Folder folder;
  const Examples data = some_examples(6);
  Recipe<> recipe{.max_updates = 2, .batch = 2, .checkpoint = folder.file("state")};
  Regression<double> task;
  train(Cpu<double>{}, task.parameters(), data, task, recipe);
  const std::string before = bytes_of(recipe.checkpoint);

  // The system refuses to write past 512 bytes of any file: a full disk, as far as the writer can tell.
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const rlimit small{512, old.rlim_max};
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  recipe.max_updates = 4;
  setrlimit(RLIMIT_FSIZE, &small);
  bool refused = false;
  try {
    train(Cpu<double>{}, task.parameters(), data, task, recipe);
  } catch (const FileError&) {
    refused = true;
  }
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  CHECK(refused);
  CHECK(bytes_of(recipe.checkpoint) == before);
  CHECK(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()) == 1);
}
