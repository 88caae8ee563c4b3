// Models whose attention has a memory of its own: gates that are projected, caches whose scores are fitted.
#include "../backend/narrow.hpp"
#include "models_run.hpp"

#include <lolcats/eval/fit_scores.hpp>
#include <lolcats/generate/state.hpp>
#include <lolcats/model/convert.hpp>
#include <lolcats/model/cpu.hpp>
#include <lolcats/model/linearized.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>
#include <lolcats/ops/novelty/naive.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/random.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string_view>

#include <unistd.h>

using namespace models;
using lolcats::testing::close;
using lolcats::testing::Narrow;
using lolcats::testing::same;

namespace {
using Gated = Llama<Cpu<double>, Hybrid<Hedgehog<4>, Sinks<1, Sliding<3>>, Decay<ProjectedGate>>>;
using OfKeys = Llama<Cpu<double>, Linear<Hedgehog<4>, Decay<KeyGate>, KeyMapsPerGroup>>;
using Corrected = Llama<Cpu<double>, Hybrid<Hedgehog<4>, Sinks<1, Sliding<3>>, DeltaRule<>>>;
using CorrectedAlone = Llama<Cpu<double>, Linear<Hedgehog<4>, DeltaRule<>, KeyMapsPerGroup>>;
using CorrectedOrSoftmax = Llama<Cpu<double>, PerLayer<Softmax<>, Corrected::Attention>, Lora<2>>;
using Cached = Llama<Cpu<double>, Softmax<Sinks<1, Sliding<3>>, Kept<4, LearnedScore>>>;
using Novel = Llama<Cpu<double>, Softmax<Sinks<1, Sliding<3>>, Kept<4, Novelty>>>;
using Received = Llama<Cpu<double>, Hybrid<Hedgehog<4>, Sinks<1, Sliding<3>>, Kept<4, ReceivedAttention>>, Lora<2>>;

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

TEST_CASE_TEMPLATE("decoding is a pass over the whole sequence, from any prefill", Model, Gated, OfKeys, Corrected, CorrectedAlone, CorrectedOrSoftmax, Cached, Novel, Received) {
  Model model = filled<Model>();
  const auto want = logits_of(model, tokens, Sequences::rectangular(1, 25));
  for (const Index prefill : {1, 2, 7, 24}) CHECK(close(want, decoded_logits_of(model, tokens, prefill), 1e-10));
}

TEST_CASE_TEMPLATE("checkpoints carry gates, scores and sizes", Model, Gated, OfKeys, Corrected, CorrectedOrSoftmax, Cached, Novel) {
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

TEST_CASE("a checkpoint whose caches keep what no cache holds is refused") {
  const auto folder = std::filesystem::temp_directory_path() / fmt::format("lolcats_sizes_test_{}", ::getpid());
  Cached model = filled<Cached>();
  const auto base = convert<Teacher<double>>(model);
  const auto load = [&](double size) {
    for (const auto& entry : model.attention_parameters()) {
      if (entry.name == "model.layers.1.self_attn.memory_cache.sizes") *entry.parameter = detail::make_parameter(Cpu<double>{}, Shape{1, 2, 1, 1}, {3.0, size});
    }
    save_linearized(model, folder);
    return load_linearized<Cached>(base, folder).layer(1).attention().cache_sizes(Cpu<double>{});
  };
  CHECK(load(4) == std::vector<Index>{3, 4});
  CHECK(load(0) == std::vector<Index>{3, 0});
  for (const double wrong : {5.0, -1.0, 0.5, 1e30, std::nan("")}) {
    CHECK_THROWS_WITH_AS(load(wrong), doctest::Contains("lolcats.safetensors: tensor 'model.layers.1.self_attn.memory_cache.sizes' has"), FormatError);
  }
  std::filesystem::remove_all(folder);
}

TEST_CASE_TEMPLATE("a cache is switched on for a student that was trained without", Model, Received,
                   Llama<Cpu<double>, Softmax<Sinks<1, Sliding<3>>, Kept<4, Novelty>>, Lora<2>>) {
  const auto folder = std::filesystem::temp_directory_path() / fmt::format("lolcats_switched_test_{}", ::getpid());
  using Trained = Llama<Cpu<double>, WithoutCache<typename Model::Attention>, Lora<2>>;
  static_assert(cache_needs_no_training<typename Model::Attention> && !cache_needs_no_training<typename Trained::Attention>);
  Trained trained = vivid<Trained>(tiny_config());
  save_linearized(trained, folder);
  const auto base = convert<Teacher<double>>(trained);
  auto loaded = load_with_cache<Model>(base, folder);
  CHECK_THROWS_AS(load_linearized<Model>(base, folder), ConfigError);
  std::filesystem::remove_all(folder);
  const auto sequences = Sequences::rectangular(1, 25);
  const auto before = logits_of(trained, tokens, sequences);
  CHECK(!close(before, logits_of(loaded, tokens, sequences), 1e-6));
  auto copy = convert<Model>(trained);
  CHECK(same(logits_of(copy, tokens, sequences), logits_of(loaded, tokens, sequences)));
  for (Index l = 0; l < 2; ++l) loaded.layer(l).attention().set_cache_sizes(Cpu<double>{}, {0, 0});
  CHECK(close(before, logits_of(loaded, tokens, sequences), 1e-12));
}
static_assert(!cache_needs_no_training<Cached::Attention>);  // its scores are fitted
static_assert(std::is_same_v<WithoutCache<Hybrid<Hedgehog<4>, Sliding<4>, Affine, Decay<HeadGate>>>, Hybrid<Hedgehog<4>, Sliding<4>, Affine, Decay<HeadGate>>>);

TEST_CASE("novelty is that of keys before their rotation, and a step that is refused leaves it alone") {
  Novel model = filled<Novel>();
  using B = Cpu<double>;
  Tape<B> tape;
  const Sequences sequences = Sequences::rectangular(1, 25), first(4, {{0, 4, 0}}), wrong(1, {{0, 1, 9}});
  const auto& layer = model.layer(0);
  const auto qkv = layer.project(tape, model.embed(tape, tokens), sequences, model.rope(sequences));
  const auto weights = layer.attention().weights(tape, qkv, sequences);
  const Heads& heads = layer.attention().heads();
  const auto want = naive::novelty(lolcats::testing::host(B{}, qkv.unrotated.value()), static_cast<std::size_t>(heads.keys),
                                   static_cast<std::size_t>(heads.size));
  CHECK(close(want, lolcats::testing::host(B{}, weights.score.value()), 1e-10));

  AttentionState<B> none;
  CHECK_THROWS_AS(layer.step(tape, model.embed(tape, std::vector<Index>{5}), Sequences(1, {{0, 1, 9}}), model.rope(sequences), none), ShapeError);
  CHECK(none.slots.empty());

  ModelState<B> state(2, 1);
  const std::vector<Index> four(tokens.begin(), tokens.begin() + 4);
  layer.step(tape, model.embed(tape, four), first, model.rope(first), state.layer(0));
  const auto unit_keys = [&] { return lolcats::testing::host(B{}, std::as_const(state.layer(0).slots[0].unit_keys).view()); };
  const auto before = unit_keys();
  const std::vector<Index> next{5};
  CHECK_THROWS_AS(layer.step(tape, model.embed(tape, next), wrong, model.rope(wrong), state.layer(0)), ShapeError);
  CHECK(before == unit_keys());
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

namespace {
template <Index Size>
using NarrowlyKept = AttentionLayer<Narrow, Softmax<Sinks<1, Sliding<3>>, Kept<Size, Novelty>>>;
}  // namespace

TEST_CASE("a cache of a size that its backend does not hold is refused when a layer is made") {
  const Heads heads{4, 2, 8};
  CHECK(NarrowlyKept<384>(Narrow{}, heads, 0, 0, 0).cache_sizes(Narrow{}) == std::vector<Index>{384, 384});
  CHECK_THROWS_WITH_AS(NarrowlyKept<387>(Narrow{}, heads, 0, 0, 0), "set_cache_sizes: 387 keys are 388 in narrow, expected a number that it holds", ConfigError);
}

TEST_CASE("heads that keep different numbers of keys: decoding is a pass, and the state is as large as they need") {
  using Five = Llama<Cpu<double>, Softmax<Sinks<1, Sliding<3>>, Kept<5, LearnedScore>>>;
  Five model = filled<Five>();
  const auto decoded = [&](const std::vector<Index>& first, const std::vector<Index>& second) {
    model.layer(0).attention().set_cache_sizes(Cpu<double>{}, first);
    model.layer(1).attention().set_cache_sizes(Cpu<double>{}, second);
    const auto want = logits_of(model, tokens, Sequences::rectangular(1, 25));
    for (const Index prefill : {1, 2, 7, 24}) CHECK(close(want, decoded_logits_of(model, tokens, prefill), 1e-10));
    ModelState<Cpu<double>> state(2, 1);
    Tape<Cpu<double>> tape;
    const Sequences sequences(25, {{0, 25, 0}});
    Var<Cpu<double>> x = model.embed(tape, tokens);
    for (Index i = 0; i < 2; ++i) x = model.layer(i).step(tape, x, sequences, model.rope(sequences), state.layer(i));
    return state.bytes();
  };
  // Beside window and sinks: a key, a value (6 numbers each) and a score per place.
  const std::size_t bare = decoded({0, 0}, {0, 0}), place = (6 + 6 + 1) * sizeof(double);
  CHECK(decoded({0, 5}, {0, 0}) == bare + 5 * place);
  CHECK(decoded({2, 1}, {5, 0}) == bare + 8 * place);
  CHECK(decoded({5, 5}, {5, 5}) == bare + 20 * place);
}

TEST_CASE("gates per query head do not become gates per key/value head") {
  using PerHead = Llama<Cpu<double>, Linear<Hedgehog<4>, Decay<KeyGate>>>;
  OfKeys grouped = convert<OfKeys>(vivid<PerHead>(tiny_config()));
  const auto want = logits_of(grouped, tokens, Sequences::rectangular(1, 25));
  OfKeys fresh = convert<OfKeys>(convert<Teacher<double>>(grouped));
  CHECK(same(want, logits_of(fresh, tokens, Sequences::rectangular(1, 25))));  // neither maps nor gates fit
}

TEST_CASE("largest_far_weights: by plain loops") {
  const Index H = 4, G = 2, D = 3, rows = 33;
  const Sequences sequences(rows, {{1, 20, 0}, {22, 9, 0}});
  Rng rng(4);
  std::vector<double> q(static_cast<std::size_t>(rows * H * D)), k(static_cast<std::size_t>(rows * G * D));
  for (auto* x : {&q, &k}) {
    for (double& number : *x) number = 2 * rng.normal();
  }
  const auto at = [](Index i) { return static_cast<std::size_t>(i); };
  for (const Index teacher : {unlimited, Index{12}}) {
    std::vector<float> want(at(rows * H), 0.0F);
    for (const Extent& e : sequences.extents()) {
      for (Index h = 0; h < H; ++h) {
        for (Index i = 0; i < e.length; ++i) {
          std::vector<double> weights(at(e.length), 0.0);
          double sum = 0;
          for (Index j = std::max<Index>(0, i - teacher + 1); j <= i; ++j) {
            double s = 0;
            for (Index d = 0; d < D; ++d) s += q[at((e.row + i) * H * D + h * D + d)] * k[at((e.row + j) * G * D + h / 2 * D + d)];
            sum += weights[at(j)] = std::exp(s / std::sqrt(3.0));
          }
          for (Index j = 2; j <= i - 5; ++j) {
            float& most = want[at((e.row + j) * H + h)];
            most = std::max(most, static_cast<float>(weights[at(j)] / sum));
          }
        }
      }
    }
    const auto got = largest_far_weights(Cpu<double>{}, View<const double>(q.data(), Shape{rows, H * D}), View<const double>(k.data(), Shape{rows, G * D}),
                                         sequences, Heads{H, G, D}, Sliding<>(teacher), Sinks<2, Sliding<5>>{});
    CHECK(close(std::vector<double>(want.begin(), want.end()), std::vector<double>(got.begin(), got.end()), 1e-6));
  }
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

TEST_CASE("a memory that corrects: its rate is trained, its mix starts with the window, and another mix's gamma stays behind") {
  Gated gated = filled<Gated>();
  Corrected model = convert<Corrected>(gated);
  std::vector<std::string> names;
  for (const auto& [name, parameter] : model.transfer_parameters()) {
    if (!name.starts_with("model.layers.1.")) continue;
    names.push_back(name.substr(std::string("model.layers.1.self_attn.").size()));
    const auto numbers = lolcats::testing::host(Cpu<double>{}, std::as_const(*parameter).value());
    if (name.ends_with("window_factors")) CHECK(close(std::vector<double>(4, std::log(9.0)), numbers, 1e-14));
    if (name.ends_with("memory_gate.weight") || name.ends_with("memory_gate.bias")) CHECK(numbers == std::vector<double>(numbers.size(), 0.0));
  }
  CHECK(names == std::vector<std::string>{"feature_map_q.mlp.layer", "feature_map_k.mlp.layer", "window_factors", "memory_gate.bias", "memory_gate.weight"});
  // The maps come along.
  CHECK(gated.transfer_parameters()[0].parameter->shares_storage_with(*model.transfer_parameters()[0].parameter));
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
