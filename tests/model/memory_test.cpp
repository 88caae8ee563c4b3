// Models whose attention has a memory of its own: gates that are projected, caches whose scores are fitted.
#include "models_run.hpp"

#include <lolcats/eval/fit_scores.hpp>
#include <lolcats/model/convert.hpp>
#include <lolcats/model/cpu.hpp>
#include <lolcats/model/linearized.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>
#include <lolcats/testing/close.hpp>

#include <doctest/doctest.h>

#include <filesystem>

#include <unistd.h>

using namespace models;
using lolcats::testing::close;
using lolcats::testing::same;

namespace {
using Gated = Llama<Cpu<double>, Hybrid<Hedgehog<4>, Sinks<1, Sliding<3>>, Decay<ProjectedGate>>>;
using OfKeys = Llama<Cpu<double>, Linear<Hedgehog<4>, Decay<KeyGate>, KeyMapsPerGroup>>;
using Cached = Llama<Cpu<double>, Softmax<Sinks<1, Sliding<3>>, Kept<4, LearnedScore>>>;

const std::vector<Index> tokens{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 12, 7, 0, 2, 4, 6, 8, 10, 12, 1, 3, 5, 7};

/// Scores and gates that say something.
template <class Model>
Model filled() {
  Model model = vivid<Model>(tiny_config());
  Parameters<Cpu<double>> scores;
  for (const auto& entry : model.attention_parameters()) {
    if (entry.name.ends_with("memory_cache.score")) scores.push_back(entry);
  }
  randomize(Cpu<double>{}, scores);
  return model;
}

/// Rows for fit_scores, as they are read.
struct CountedRows {
  std::vector<std::vector<Index>> rows;
  std::size_t size() const { return rows.size(); }
  Batch batch(std::span<const Index> which) const {
    Batch batch;
    std::vector<Extent> extents;
    for (const Index row : which) {
      const auto& all = rows[static_cast<std::size_t>(row)];
      extents.push_back({static_cast<Index>(batch.tokens.size()), static_cast<Index>(all.size()), 0});
      batch.tokens.insert(batch.tokens.end(), all.begin(), all.end());
    }
    batch.labels.assign(batch.tokens.size(), 0);
    batch.sequences = Sequences(static_cast<Index>(batch.tokens.size()), extents);
    return batch;
  }
};
CountedRows random_rows(Index count, Index length) {
  CountedRows data;
  Rng rng(5, 1);
  for (Index n = 0; n < count; ++n) {
    data.rows.emplace_back();
    for (Index i = 0; i < length; ++i) data.rows.back().push_back(static_cast<Index>(rng.below(13)));
  }
  return data;
}
}  // namespace

TEST_CASE_TEMPLATE("decoding is a pass over the whole sequence, from any prefill", Model, Gated, OfKeys, Cached) {
  Model model = filled<Model>();
  const auto want = logits_of(model, tokens, Sequences::rectangular(1, 25));
  for (const Index prefill : {1, 2, 7, 24}) CHECK(close(want, decoded_logits_of(model, tokens, prefill), 1e-10));
}

TEST_CASE_TEMPLATE("checkpoints carry gates, scores and sizes", Model, Gated, OfKeys, Cached) {
  const auto folder = std::filesystem::temp_directory_path() / fmt::format("lolcats_memory_test_{}", ::getpid());
  Model model = filled<Model>();
  if constexpr (std::is_same_v<Model, Cached>) model.layer(1).attention().set_cache_sizes(Cpu<double>{}, {2, 0});
  save_linearized(model, folder);
  auto base = convert<Teacher<double>>(model);
  auto loaded = load_linearized<Model>(base, folder);
  std::filesystem::remove_all(folder);
  const auto sequences = Sequences::rectangular(1, 25);
  CHECK(same(logits_of(model, tokens, sequences), logits_of(loaded, tokens, sequences)));
  auto copy = convert<Model>(model);
  CHECK(same(logits_of(model, tokens, sequences), logits_of(copy, tokens, sequences)));
}

TEST_CASE("a head keeps as many keys as it is given") {
  Cached model = filled<Cached>();
  const auto sequences = Sequences::rectangular(1, 25);
  using Bare = Llama<Cpu<double>, Softmax<Sinks<1, Sliding<3>>>>;
  Bare bare = convert<Bare>(model);
  CHECK(!close(logits_of(bare, tokens, sequences), logits_of(model, tokens, sequences), 1e-6));
  for (Index l = 0; l < 2; ++l) model.layer(l).attention().set_cache_sizes(Cpu<double>{}, {0, 0});
  CHECK(close(logits_of(bare, tokens, sequences), logits_of(model, tokens, sequences), 1e-12));
  CHECK_THROWS_AS(model.layer(0).attention().set_cache_sizes(Cpu<double>{}, {5, 0}), ConfigError);
  CHECK_THROWS_AS(model.layer(0).attention().set_cache_sizes(Cpu<double>{}, {1}), ShapeError);
}

TEST_CASE("stage 1 trains what a gate learns") {
  Gated model = filled<Gated>();
  std::vector<std::string> names;
  for (const auto& entry : model.transfer_parameters()) {
    if (entry.name.find("memory") != std::string::npos) names.push_back(entry.name);
  }
  CHECK(names == std::vector<std::string>{"model.layers.0.self_attn.memory_gate.bias", "model.layers.0.self_attn.memory_gate.weight",
                                          "model.layers.1.self_attn.memory_gate.bias", "model.layers.1.self_attn.memory_gate.weight"});
}

TEST_CASE("fit_scores: the best linear prediction of the attention from beyond the window") {
  Cached model = filled<Cached>();
  const CountedRows data = random_rows(6, 20);
  const ScoreFit fit = fit_scores(model, data, {.rows = 4, .ridge = 1e-9});
  for (const double explained : fit.explained) {
    CHECK(explained > 0.05);
    CHECK(explained <= 1);
  }
  // By plain loops: inputs and targets of the second layer, and the residuals, which no input can explain.
  const Cpu<double> backend;
  Tape<Cpu<double>> tape(backend);
  TeacherStream<Cached> stream(tape, model);
  std::vector<std::vector<double>> x;
  std::vector<double> y;  // of key/value head 1
  const std::vector<Index> every{0, 1, 2, 3, 4, 5};
  const Batch batch = data.batch(every);
  stream.start(batch.tokens, batch.sequences);
  stream.advance();
  stream.advance([&](auto&, const auto& qkv, const auto&) {
    for (Index n = 0; n < 6; ++n) {
      for (Index j = 1; j < 14; ++j) {  // the keys that have three queries beyond their window of 3
        double most = 0;
        for (Index h = 2; h < 4; ++h) {
          for (Index i = j + 3; i < 20; ++i) {
            std::vector<double> weights;
            double sum = 0;
            for (Index t = 0; t <= i; ++t) {
              double s = 0;
              for (Index d = 0; d < 6; ++d) {
                s += qkv.q.value().data[(n * 20 + i) * 24 + h * 6 + d] * qkv.k.value().data[(n * 20 + t) * 12 + 6 + d];
              }
              weights.push_back(std::exp(s / std::sqrt(6.0)));
              sum += weights.back();
            }
            most = std::max(most, weights[static_cast<std::size_t>(j)] / sum);
          }
        }
        y.push_back(std::log(most + 1e-5));
        const double* row = qkv.hidden.value().data + (n * 20 + j) * 10;
        x.emplace_back(row, row + 10);
      }
    }
  });
  Parameter<Cpu<double>>* score = nullptr;
  for (const auto& entry : model.attention_parameters()) {
    if (entry.name == "model.layers.1.self_attn.memory_cache.score") score = entry.parameter;
  }
  REQUIRE(score != nullptr);
  std::vector<double> residuals;
  double mean = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    double s = 0;
    for (std::size_t c = 0; c < 10; ++c) s += score->value().data[10 + c] * x[i][c];
    residuals.push_back(y[i] - s);
    mean += residuals.back() / static_cast<double>(y.size());
  }
  for (std::size_t c = 0; c < 10; ++c) {
    double product = 0, size = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      product += (residuals[i] - mean) * x[i][c];
      size += std::abs(residuals[i] - mean) * std::abs(x[i][c]);
    }
    CHECK(std::abs(product) < 1e-6 * size);
  }
  CHECK_THROWS_AS(fit_scores(model, random_rows(2, 6)), DataError);
  CHECK_THROWS_AS(fit_scores(model, data, {.rows = 0}), ConfigError);
}
