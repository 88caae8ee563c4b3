#include <lolcats/model/adapter_scope.hpp>
#include <lolcats/model/llama.hpp>

#include "models.hpp"
#include "naive_llama.hpp"

#include <lolcats/testing/close.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

using namespace models;
using lolcats::testing::close;
using lolcats::testing::numerical_gradient;
using lolcats::testing::same;

namespace {

NaiveLlama::Vector hedgehog(const NaiveLlama::Vector& z) {
  NaiveLlama::Vector phi;
  for (const double sign : {1.0, -1.0}) {
    double sum = 0;
    for (const double value : z) sum += std::exp(sign * value);
    for (const double value : z) phi.push_back(std::exp(sign * value) / sum);
  }
  return phi;
}
NaiveLlama::Vector relu(const NaiveLlama::Vector& z) {
  NaiveLlama::Vector phi;
  for (const double value : z) phi.push_back(value > 0 ? value : 0);
  return phi;
}

template <class Model>
NaiveLlama naive(Model& model) {
  NaiveLlama reference;
  reference.config = model.config();
  reference.weights = numbers_of(model);
  if constexpr (std::is_same_v<Model, Terraces>) {
    reference.adapter_scale = 2;
    reference.begin = [](Index n) { return std::max<Index>(0, (n / 4 - 1) * 4); };
    reference.activation = hedgehog;
  } else if constexpr (std::is_same_v<Model, Grouped>) {
    reference.adapter_scale = 1.5;
    reference.begin = [](Index n) { return std::max<Index>(0, n - 2); };
    reference.activation = relu;
    reference.affine = true;
    reference.is_per_group = [](const std::string& map) { return map.ends_with("feature_map_k"); };
  } else if constexpr (std::is_same_v<Model, SharedLinear>) {
    reference.begin = [](Index n) { return n + 1; };
    reference.activation = relu;
  } else {
    reference.adapter_scale = 2;
    const Index width = model.config().sliding_window;
    if (width > 0) reference.begin = [width](Index n) { return std::max<Index>(0, n - width + 1); };
  }
  return reference;
}

/// Rows of the batch's sequences one by one through the reference; padding rows are left out of the comparison.
template <class Model>
void check_logits(Model& model, const TinyBatch& batch, double tolerance) {
  const NaiveLlama reference = naive(model);
  const std::vector<double> got = logits_of(model, batch.tokens, batch.sequences);
  const auto V = static_cast<std::size_t>(model.config().vocab_size);
  REQUIRE(got.size() == batch.tokens.size() * V);
  for (const Extent& e : batch.sequences.extents()) {
    const std::vector<Index> tokens(batch.tokens.begin() + e.row, batch.tokens.begin() + e.row + e.length);
    std::vector<double> want, part(got.begin() + e.row * model.config().vocab_size,
                                   got.begin() + (e.row + e.length) * model.config().vocab_size);
    for (const auto& row : reference.logits(tokens, e.position)) want.insert(want.end(), row.begin(), row.end());
    CHECK(close(want, part, tolerance));
  }
}

/// The mean loss of the batch by the reference.
template <class Model>
double naive_loss(Model& model, const TinyBatch& batch) {
  const NaiveLlama reference = naive(model);
  double sum = 0;
  for (const Extent& e : batch.sequences.extents()) {
    const std::vector<Index> tokens(batch.tokens.begin() + e.row, batch.tokens.begin() + e.row + e.length);
    const auto logits = reference.logits(tokens, e.position);
    for (Index n = 0; n < e.length; ++n) {
      const Index label = batch.labels[static_cast<std::size_t>(e.row + n)];
      if (label < 0) continue;
      double partition = 0;
      for (const double logit : logits[static_cast<std::size_t>(n)]) partition += std::exp(logit);
      sum += std::log(partition) - logits[static_cast<std::size_t>(n)][static_cast<std::size_t>(label)];
    }
  }
  return sum;
}

/// Trains `parameters` and compares all their gradients with differences of the loss.
template <class Model>
void check_gradients(Model& model, const Parameters<Cpu<double>>& parameters) {
  const TinyBatch batch = tiny_batch();
  for (const auto& [name, parameter] : parameters) parameter->train({});
  backward_of(model, batch, 0.1, false);
  for (const auto& [name, parameter] : parameters) {
    CAPTURE(name);
    // Short steps stay on one side of ReLU's kinks; 2e-8 of the largest entry is what they leave of sixteen digits.
    const auto want =
        numerical_gradient([&] { return loss_of(model, batch, 0.1); }, parameter->mutable_value().span(), 2e-5);
    CHECK(std::any_of(want.begin(), want.end(), [](double x) { return std::abs(x) > 1e-6; }));
    CHECK(close(want, parameter->gradient(), 2e-8));
  }
}

}  // namespace

TEST_CASE_TEMPLATE("logits and loss are those of plain loops", Model, Teacher<double>, Control<double>, Terraces,
                   Grouped, SharedLinear) {
  for (const bool tied : {false, true}) {
    LlamaConfig config = tiny_config(tied);
    if (tied) config.rope.kind = RopeKind::Linear;
    Model model = vivid<Model>(config);
    check_logits(model, tiny_batch(), 1e-12);
    CHECK(loss_of(model, tiny_batch(), 0.5) == doctest::Approx(0.5 * naive_loss(model, tiny_batch())).epsilon(1e-12));
  }
}

TEST_CASE_TEMPLATE("logits and loss of a Qwen are those of plain loops", Model, Teacher<double>, Control<double>,
                   Terraces, Grouped, SharedLinear) {
  for (const auto& [biases, norms] : {std::pair{true, false}, {false, true}, {true, true}}) {
    CAPTURE(biases);
    CAPTURE(norms);
    Model model = vivid<Model>(qwen_config(biases, norms, biases));
    Model plain = vivid<Model>(tiny_config(biases));
    const TinyBatch batch = tiny_batch();
    CHECK_FALSE(
        close(logits_of(plain, batch.tokens, batch.sequences), logits_of(model, batch.tokens, batch.sequences), 1e-2));
    check_logits(model, batch, 1e-12);
    CHECK(loss_of(model, batch, 0.5) == doctest::Approx(0.5 * naive_loss(model, batch)).epsilon(1e-12));
  }
}

TEST_CASE("a checkpoint's own sliding window binds the softmax model") {
  LlamaConfig config = tiny_config();
  config.sliding_window = 3;
  auto model = vivid<Control<double>>(config);
  check_logits(model, tiny_batch(), 1e-12);
}

TEST_CASE("float is double up to rounding") {
  auto narrow = vivid<Control<float>>(tiny_config());
  check_logits(narrow, tiny_batch(), 2e-5);
}

TEST_CASE_TEMPLATE("gradients of every parameter of every kind", Model, Terraces, Grouped, SharedLinear) {
  Model model = vivid<Model>(tiny_config(), 5);  // no feature within a step of its kink
  Parameters<Cpu<double>> parameters = model.base_parameters();
  for (const auto& list : {model.transfer_parameters(), model.adapter_parameters()}) {
    parameters.insert(parameters.end(), list.begin(), list.end());
  }
  check_gradients(model, parameters);
}

TEST_CASE_TEMPLATE("gradients of biases and of norms of heads, beside all others", Model, Terraces, Teacher<double>) {
  Model model = vivid<Model>(qwen_config(true, true), 5);
  Parameters<Cpu<double>> parameters = model.base_parameters();
  for (const auto& list : {model.transfer_parameters(), model.adapter_parameters()}) {
    parameters.insert(parameters.end(), list.begin(), list.end());
  }
  check_gradients(model, parameters);
}

TEST_CASE("gradients of a softmax model with tied embeddings") {
  auto model = vivid<Teacher<double>>(tiny_config(true));
  check_gradients(model, model.base_parameters());
}

TEST_CASE("gradients with dropout: the mask is the same forward and backward") {
  auto model = vivid<Dropping>(tiny_config());
  check_gradients(model, model.adapter_parameters());
}

TEST_CASE_TEMPLATE("only what is trained gets a gradient, and it is the same as with all others", Model, Terraces) {
  Model one = vivid<Model>(tiny_config()), all_of_them = vivid<Model>(tiny_config());
  const auto some = one.transfer_parameters(), everything = all_of_them.transfer_parameters();
  for (const auto& [name, parameter] : some) parameter->train({});
  for (const auto& list : {everything, all_of_them.base_parameters(), all_of_them.adapter_parameters()}) {
    for (const auto& [name, parameter] : list) parameter->train({});
  }
  backward_of(one, tiny_batch(), 1.0, false);
  backward_of(all_of_them, tiny_batch(), 1.0, false);
  for (std::size_t i = 0; i < some.size(); ++i) {
    CHECK(close(everything[i].parameter->gradient(), some[i].parameter->gradient(), 1e-13));
  }
  for (const auto& [name, parameter] : one.base_parameters()) CHECK_FALSE(parameter->trained());
}

TEST_CASE_TEMPLATE("recomputation gives the same loss and gradients, bit for bit", Model, Terraces, Dropping) {
  Model plain = vivid<Model>(tiny_config()), again = vivid<Model>(tiny_config());
  const auto train = [](Model& model) {
    Parameters<Cpu<double>> list = model.base_parameters();
    for (const auto& more : {model.transfer_parameters(), model.adapter_parameters()}) {
      list.insert(list.end(), more.begin(), more.end());
    }
    for (const auto& [name, parameter] : list) parameter->train({});
    return list;
  };
  const auto a = train(plain), b = train(again);
  CHECK(backward_of(plain, tiny_batch(), 0.3, false) == backward_of(again, tiny_batch(), 0.3, true));
  for (std::size_t i = 0; i < a.size(); ++i) {
    CAPTURE(a[i].name);
    CHECK(same(a[i].parameter->gradient(), b[i].parameter->gradient()));
  }
}

TEST_CASE_TEMPLATE("recomputation with frozen layers below", Model, Control<double>) {
  Model plain = vivid<Model>(tiny_config()), again = vivid<Model>(tiny_config());
  for (Model* model : {&plain, &again}) {
    for (const auto& [name, parameter] : model->adapter_parameters()) {
      if (name.starts_with("model.layers.1.")) parameter->train({});
    }
  }
  CHECK(backward_of(plain, tiny_batch(), 0.3, false) == backward_of(again, tiny_batch(), 0.3, true));
  const auto a = plain.adapter_parameters(), b = again.adapter_parameters();
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].parameter->trained()) CHECK(same(a[i].parameter->gradient(), b[i].parameter->gradient()));
  }
}

TEST_CASE_TEMPLATE("decoding by steps is one pass", Model, Control<double>, Terraces, Grouped, SharedLinear) {
  Model model = vivid<Model>(tiny_config());
  const std::vector<Index> tokens = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 12, 7, 0, 4, 2};
  const auto want = logits_of(model, tokens, Sequences::rectangular(1, 17));
  for (const Index prefill : {1, 4, 11}) CHECK(close(want, decoded_logits_of(model, tokens, prefill), 1e-12));

  Model qwen = vivid<Model>(qwen_config(true, true));
  const auto other = logits_of(qwen, tokens, Sequences::rectangular(1, 17));
  for (const Index prefill : {1, 4, 11}) CHECK(close(other, decoded_logits_of(qwen, tokens, prefill), 1e-12));
}

TEST_CASE("a fresh adapter changes nothing, and switched off it is not there") {
  auto fresh = random_llama<Control<double>>(tiny_config(), 4, 0.4);
  auto base = random_llama<Teacher<double>>(tiny_config(), 4, 0.4);
  const TinyBatch batch = tiny_batch();
  const auto want = logits_of(base, batch.tokens, batch.sequences);
  CHECK(close(want, logits_of(fresh, batch.tokens, batch.sequences), 1e-14));

  auto tuned = vivid<Control<double>>(tiny_config());
  CHECK_FALSE(close(want, logits_of(tuned, batch.tokens, batch.sequences), 1e-2));
  tuned.use_adapters(false);
  CHECK(same(want, logits_of(tuned, batch.tokens, batch.sequences)));
  tuned.use_adapters(true);
  CHECK_FALSE(close(want, logits_of(tuned, batch.tokens, batch.sequences), 1e-2));

  {
    const WithoutAdapters outer(tuned);
    { const WithoutAdapters inner(tuned); }
    CHECK(same(want, logits_of(tuned, batch.tokens, batch.sequences)));
  }
  CHECK(tuned.uses_adapters());
  CHECK_FALSE(close(want, logits_of(tuned, batch.tokens, batch.sequences), 1e-2));
}

TEST_CASE_TEMPLATE("merged is unmerged, and unmerging gives the very tensors back", Model, Terraces, Grouped,
                   Control<double>, Control<float>) {
  // With biases and norms of heads, which merging leaves where they are.
  Model model = vivid<Model>(std::is_same_v<Model, Terraces> ? tiny_config() : qwen_config(true, true));
  Model before = model;
  const TinyBatch batch = tiny_batch();
  const auto want = logits_of(model, batch.tokens, batch.sequences);
  model.merge_adapters();
  model.merge_adapters();  // the second call does nothing
  CHECK(model.merged());
  const bool narrow = std::is_same_v<Scalar<typename Model::Device>, float>;
  CHECK(close(want, logits_of(model, batch.tokens, batch.sequences), narrow ? 2e-5 : 1e-13));
  CHECK_THROWS_WITH_AS(model.use_adapters(false), doctest::Contains("merged"), Error);
  const auto now = model.base_parameters(), then = before.base_parameters();
  bool moved = false;
  for (std::size_t i = 0; i < now.size(); ++i) moved |= !now[i].parameter->shares_storage_with(*then[i].parameter);
  CHECK(moved);
  CHECK(close(want, logits_of(before, batch.tokens, batch.sequences), 0));  // the copy shares weights and saw nothing

  model.unmerge_adapters();
  CHECK_FALSE(model.merged());
  for (std::size_t i = 0; i < now.size(); ++i) {
    CAPTURE(now[i].name);
    CHECK(now[i].parameter->shares_storage_with(*then[i].parameter));
  }
  CHECK(same(want, logits_of(model, batch.tokens, batch.sequences)));
}

TEST_CASE("names of parameters and of the type") {
  auto model = random_llama<Grouped>(tiny_config());
  const auto names = [](const Parameters<Cpu<double>>& list) {
    std::vector<std::string> all_names;
    for (const auto& entry : list) all_names.push_back(entry.name);
    return all_names;
  };
  const auto contains = [](const std::vector<std::string>& list, const char* name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  const auto base = names(model.base_parameters());
  CHECK(base.size() == 3 + 2 * 9);
  for (const char* name : {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight",
                           "model.layers.1.input_layernorm.weight", "model.layers.1.post_attention_layernorm.weight",
                           "model.layers.0.self_attn.k_proj.weight", "model.layers.0.mlp.down_proj.weight"}) {
    CHECK_MESSAGE(contains(base, name), name);
  }
  auto tied = random_llama<Grouped>(tiny_config(true));
  CHECK_FALSE(contains(names(tied.base_parameters()), "lm_head.weight"));
  auto qwen2 = random_llama<Grouped>(qwen_config(true, false)), qwen3 = random_llama<Grouped>(qwen_config(false, true));
  CHECK(qwen2.base_parameters().size() == base.size() + 2 * 3);
  CHECK(qwen3.base_parameters().size() == base.size() + 2 * 2);
  for (const char* name : {"q_proj.bias", "k_proj.bias", "v_proj.bias"}) {
    CHECK_MESSAGE(contains(names(qwen2.base_parameters()), ("model.layers.1.self_attn." + std::string(name)).c_str()),
                  name);
  }
  for (const char* name : {"q_norm.weight", "k_norm.weight"}) {
    CHECK_MESSAGE(contains(names(qwen3.base_parameters()), ("model.layers.0.self_attn." + std::string(name)).c_str()),
                  name);
  }
  CHECK(names(qwen3.adapter_parameters()) == names(model.adapter_parameters()));

  CHECK(names(model.transfer_parameters()) ==
        std::vector<std::string>{
            "model.layers.0.self_attn.feature_map_q.mlp.layer", "model.layers.0.self_attn.feature_map_q.mlp.bias",
            "model.layers.0.self_attn.feature_map_k.mlp.layer", "model.layers.0.self_attn.feature_map_k.mlp.bias",
            "model.layers.0.self_attn.window_factors", "model.layers.1.self_attn.feature_map_q.mlp.layer",
            "model.layers.1.self_attn.feature_map_q.mlp.bias", "model.layers.1.self_attn.feature_map_k.mlp.layer",
            "model.layers.1.self_attn.feature_map_k.mlp.bias", "model.layers.1.self_attn.window_factors"});
  CHECK(names(model.adapter_parameters()) ==
        std::vector<std::string>{
            "model.layers.0.self_attn.v_proj.lora_A.weight", "model.layers.0.self_attn.v_proj.lora_B.weight",
            "model.layers.0.self_attn.o_proj.lora_A.weight", "model.layers.0.self_attn.o_proj.lora_B.weight",
            "model.layers.1.self_attn.v_proj.lora_A.weight", "model.layers.1.self_attn.v_proj.lora_B.weight",
            "model.layers.1.self_attn.o_proj.lora_A.weight", "model.layers.1.self_attn.o_proj.lora_B.weight"});
  auto teacher = random_llama<Teacher<double>>(tiny_config());
  CHECK(teacher.transfer_parameters().empty());
  CHECK(teacher.adapter_parameters().empty());
  CHECK(Teacher<double>::name() == "llama<cpu<double>, softmax>");
  CHECK(Terraces::name() == "llama<cpu<double>, hybrid<hedgehog<4>, terraced<4>>, lora<2, qkvo+gate+up+down>>");
}

TEST_CASE("bad input") {
  auto model = random_llama<Teacher<double>>(tiny_config());
  const Sequences two = Sequences::rectangular(1, 2);
  CHECK_THROWS_AS(logits_of(model, {1, 13}, two), DataError);
  CHECK_THROWS_AS(logits_of(model, {1, -1}, two), DataError);
  CHECK_THROWS_WITH_AS(logits_of(model, {1, 2, 3}, two),
                       "Llama::hidden: 3 tokens, expected the 2 rows of the sequences", ShapeError);
  LlamaConfig config = tiny_config();
  config.kv_heads = 3;
  CHECK_THROWS_AS(random_llama<Teacher<double>>(config), ConfigError);
  TinyBatch batch = tiny_batch();
  batch.labels[3] = 13;
  CHECK_THROWS_AS(loss_of(model, batch, 1.0), DataError);
}

TEST_CASE("positions beyond the first table") {
  auto model = vivid<Teacher<double>>(tiny_config());
  CHECK(model.rope().positions() == 64);
  const Sequences late(3, {{0, 3, 5000}});
  // Without neighbours at other distances, a shift of all positions changes nothing.
  const auto here = logits_of(model, {4, 7, 2}, Sequences::rectangular(1, 3));
  CHECK(close(here, logits_of(model, {4, 7, 2}, late), 1e-9));
  CHECK(model.rope().positions() >= 5003);
}
