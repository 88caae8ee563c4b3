#include <lolcats/model/merge_adapter.hpp>

#include "any_adapter.hpp"

#include <lolcats/model/convert.hpp>
#include <lolcats/model/linearized.hpp>
#include <lolcats/testing/close.hpp>

#include <doctest/doctest.h>

#include <filesystem>

#include <unistd.h>

using namespace models;
using lolcats::testing::close;
using lolcats::testing::same;

namespace {

Tensor<float> random_tensor(const Shape& shape, Rng& rng) {
  Tensor<float> tensor(shape);
  for (float& x : tensor.span()) x = static_cast<float>(rng.normal());
  return tensor;
}

/// Of several ranks, over some projections of both layers of tiny_config (C 10, H * D 24, G * D 12, hidden 7).
PeftAdapter sample() {
  PeftAdapter adapter;
  adapter.rank = 3;
  adapter.alpha = 5;
  adapter.name = "some/adapter";
  Rng rng(4);
  const auto add = [&](const std::string& module, Index out, Index in, Index rank) {
    adapter.modules[module] = {random_tensor({rank, in}, rng), random_tensor({out, rank}, rng)};
  };
  add("model.layers.0.self_attn.q_proj", 24, 10, 3);
  add("model.layers.1.self_attn.k_proj", 12, 10, 1);
  add("model.layers.1.self_attn.o_proj", 10, 24, 2);
  add("model.layers.0.mlp.down_proj", 10, 7, 8);
  add("model.layers.1.mlp.gate_proj", 7, 10, 3);
  adapter.alphas["model.layers.1.mlp.gate_proj"] = 0.5;
  return adapter;
}

}  // namespace

TEST_CASE("the merged weight is W + scale B A, and nothing else changes") {
  for (const bool rslora : {false, true}) {
    PeftAdapter adapter = sample();
    adapter.rslora = rslora;
    auto model = vivid<Teacher<double>>(qwen_config(true, true));
    auto sharing = convert<Control<double>>(model);
    const auto before = numbers_of(model);
    merge_adapter(model, adapter);
    const auto after = numbers_of(model);
    for (const auto& [name, values] : before) {
      CAPTURE(name);
      const auto found = adapter.modules.find(name.substr(0, name.size() - 7));
      if (found == adapter.modules.end() || !name.ends_with(".weight")) {
        CHECK(after.at(name) == values);
        continue;
      }
      const auto& [a, b] = found->second;
      const auto rank = static_cast<double>(a.shape()[0]);
      const double alpha = name == "model.layers.1.mlp.gate_proj.weight" ? 0.5 : 5;
      std::vector<double> want = values;
      for (Index o = 0; o < b.shape()[0]; ++o) {
        for (Index i = 0; i < a.shape()[1]; ++i) {
          double sum = 0;
          for (Index r = 0; r < a.shape()[0]; ++r) {
            sum += double(b.span()[o * a.shape()[0] + r]) * double(a.span()[r * a.shape()[1] + i]);
          }
          want[static_cast<std::size_t>(o * a.shape()[1] + i)] += alpha / (rslora ? std::sqrt(rank) : rank) * sum;
        }
      }
      CHECK(close(want, after.at(name), 1e-15));
      CHECK(after.at(name) != values);
    }
    const auto shared = numbers_of(sharing);
    for (const auto& [name, values] : before) CHECK(shared.at(name) == values);
  }
}

TEST_CASE("merged or beside the weights, an adapter of any ranks, alphas and targets gives the same logits") {
  for (const bool rslora : {false, true}) {
    PeftAdapter adapter = sample();
    adapter.rslora = rslora;
    const auto base = vivid<Teacher<double>>(qwen_config(true, true));
    auto merged = base, alone = base;
    merge_adapter(merged, adapter);
    auto tuned = beside<double>(base, adapter);
    const TinyBatch batch = tiny_batch();
    const auto want = logits_of(merged, batch.tokens, batch.sequences);
    CHECK_FALSE(close(want, logits_of(alone, batch.tokens, batch.sequences), 1e-2));
    CHECK(close(want, logits_of(tuned, batch.tokens, batch.sequences), 1e-12));
    tuned.use_adapters(false);
    CHECK(close(logits_of(alone, batch.tokens, batch.sequences), logits_of(tuned, batch.tokens, batch.sequences), 1e-15));
  }
}

TEST_CASE_TEMPLATE("merged at run time is the adapter of the type", Model, Control<double>, Terraces) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / fmt::format("lolcats_merge_adapter_test_{}", ::getpid());
  auto model = vivid<Model>(qwen_config(true, false));
  save_adapter(model, folder);
  const TinyBatch batch = tiny_batch();
  const auto want = logits_of(model, batch.tokens, batch.sequences);
  Model plain = model;
  for (const auto& [name, parameter] : plain.adapter_parameters()) {
    if (!name.ends_with("lora_B.weight")) continue;
    parameter->own({});
    for (double& x : parameter->mutable_value().span()) x = 0;
  }
  CHECK_FALSE(close(want, logits_of(plain, batch.tokens, batch.sequences), 1e-2));
  merge_adapter(plain, folder);
  std::filesystem::remove_all(folder);
  CHECK(close(want, logits_of(plain, batch.tokens, batch.sequences), 1e-12));
}

TEST_CASE("what does not fit is refused by name, and the model stays as it was") {
  auto model = vivid<Teacher<double>>(tiny_config());
  const auto before = numbers_of(model);
  Rng rng(1);
  const auto refuses = [&]<class E>(E, const std::string& module, const Shape& a, const Shape& b, const char* text) {
    PeftAdapter adapter = sample();
    adapter.modules[module] = {random_tensor(a, rng), random_tensor(b, rng)};
    CHECK_THROWS_WITH_AS(merge_adapter(model, adapter), doctest::Contains(text), E);
    CHECK(numbers_of(model) == before);
  };
  const std::string q = "model.layers.0.self_attn.q_proj";
  refuses(FormatError(""), "model.layers.2.self_attn.q_proj", {3, 10}, {24, 3},
          "some/adapter: adapts 'model.layers.2.self_attn.q_proj', which the model does not have");
  refuses(FormatError(""), "lm_head", {3, 10}, {13, 3}, "adapts 'lm_head', expected projections");
  refuses(FormatError(""), "model.embed_tokens", {3, 10}, {13, 3}, "adapts 'model.embed_tokens', expected projections");
  refuses(FormatError(""), "model.norm", {3, 10}, {13, 3}, "adapts 'model.norm', expected projections");
  for (const auto& [a, b] : {std::pair{Shape{3, 11}, Shape{24, 3}},
                             {Shape{3, 10}, Shape{23, 3}},
                             {Shape{3, 10}, Shape{24, 4}},
                             {Shape{3}, Shape{24, 3}}}) {
    refuses(ShapeError(""), q, a, b, ("lora_A of '" + q + "' has shape " + to_string(a)).c_str());
    refuses(ShapeError(""), q, a, b, "for a weight (24, 10)");
  }
  auto own = vivid<Control<double>>(tiny_config());
  own.merge_adapters();
  CHECK_THROWS_WITH_AS(merge_adapter(own, sample()), doctest::Contains("unmerge them first"), Error);
}

TEST_CASE("an adapter of another kind is not loaded into a type, and the message names both") {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / fmt::format("lolcats_merge_adapter_test_{}", ::getpid());
  auto model = vivid<Control<double>>(tiny_config());
  save_adapter(model, folder);
  PeftAdapter adapter = read_peft(folder);
  adapter.rslora = true;
  write_peft(folder, adapter);
  CHECK_THROWS_WITH_AS(load_adapter(model, folder),
                       doctest::Contains("'use_rslora' is true, expected false for lora<4"), ConfigError);
  auto terraces = vivid<Terraces>(tiny_config());
  CHECK_THROWS_WITH_AS(load_adapter(terraces, folder), doctest::Contains("'r' is 4, expected 2 for lora<2"),
                       ConfigError);
  std::filesystem::remove_all(folder);
}
