// The whole procedure on a tiny model, on any device: what every backend must find.
#pragma once

#include "../train/tiny_rows.hpp"

#include <lolcats/eval/attention_error.hpp>
#include <lolcats/eval/perplexity.hpp>
#include <lolcats/generate/generate.hpp>
#include <lolcats/model/convert.hpp>
#include <lolcats/model/random.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/train/finetune.hpp>
#include <lolcats/train/pretrain.hpp>
#include <lolcats/train/transfer.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <vector>

namespace end_to_end {

using namespace lolcats;

/// Numbers that backends must agree on.
struct Outcome {
  double teacher = 0, swapped = 0, tuned = 0;   // perplexity
  std::vector<double> transfer, weighed, finetune, pretrain;  // losses of updates; weighed: with a loss on weights
  std::vector<double> mse_per_layer, attention_error;
};

inline LlamaConfig config() {
  LlamaConfig c = tiny::config(2);
  c.vocab_size = 67;
  c.hidden_size = 64;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 16;
  c.intermediate_size = 80;
  return c;
}

/// The same with biases of q, k and v (Qwen2) and norms of the heads of q and k (Qwen3).
inline LlamaConfig qwen_config(Index head_dim = 16) {
  LlamaConfig c = config();
  c.head_dim = head_dim;
  c.qkv_bias = c.qk_norm = true;
  return c;
}

/// Random weights; where there are biases and norms of heads, these too, so that they matter.
template <Backend B>
Llama<B> random_teacher(const LlamaConfig& config) {
  auto teacher = random_llama<Llama<B>>(config, 1, 0.2);
  std::uint64_t stream = 0;
  for (const auto& [name, parameter] : teacher.base_parameters()) {
    const bool bias = name.ends_with(".bias");
    if (!bias && !name.ends_with("q_norm.weight") && !name.ends_with("k_norm.weight")) continue;
    Rng rng(77, stream++);
    std::vector<double> values(static_cast<std::size_t>(parameter->size()));
    for (double& value : values) value = bias ? 0.5 * rng.normal() : 1 + 0.3 * rng.normal();
    *parameter = lolcats::detail::make_parameter(teacher.backend(), parameter->shape(), values);
  }
  return teacher;
}

template <Backend B>
using Student = Llama<B, Hybrid<Hedgehog<8>, Terraced<16>>, Lora<4, qkvo, 8, Ratio{1, 10}>>;

inline std::vector<double> losses(const TrainingResult& result) {
  std::vector<double> list;
  for (const auto& point : result.history) list.push_back(point.loss);
  return list;
}

/// Both stages and pretraining, over ragged rows with ignored labels, dropout and recomputation.
template <Backend B, template <Backend> class S = Student>
Outcome run(const LlamaConfig& config = end_to_end::config()) {
  const DataSet data = tiny::data(12, {70, 33, 65, 2, 128}, 5, 67), validation = tiny::data(4, {40, 64, 100}, 6, 67);
  Outcome o;
  auto teacher = random_teacher<B>(config);
  o.teacher = perplexity(teacher, validation).perplexity;
  auto student = convert<S<B>>(teacher, 1);
  o.swapped = perplexity(student, validation).perplexity;
  auto other = convert<S<B>>(teacher, 1);
  o.weighed = losses(transfer_attention(other, data, validation, {.epochs = 1, .batch = 4, .xent_factor = 1}).blocks.front());
  const auto transferred = transfer_attention(student, data, validation, {.epochs = 2, .batch = 4, .micro_batch = 2});
  o.transfer = losses(transferred.blocks.front());
  o.mse_per_layer = transferred.mse_per_layer;
  o.attention_error = attention_error(student, validation).per_layer();
  o.finetune = losses(finetune(student, data, validation, {.epochs = 2, .batch = 4, .learning_rate = 1e-2, .recompute = true}));
  o.tuned = perplexity(student, validation).perplexity;
  o.pretrain = losses(pretrain(teacher, data, validation, {.epochs = 2, .batch = 4, .learning_rate = 3e-3}));
  return o;
}

/// `values` for perplexities and losses, `errors` for what is a difference of nearly equal numbers.
inline void compare(const Outcome& want, const Outcome& got, double values, double errors) {
  using testing::close;
  CHECK(close(std::vector{want.teacher, want.swapped, want.tuned}, std::vector{got.teacher, got.swapped, got.tuned}, values));
  CHECK(close(want.finetune, got.finetune, values));
  CHECK(close(want.pretrain, got.pretrain, values));
  CHECK(close(want.transfer, got.transfer, errors));
  CHECK(close(want.weighed, got.weighed, errors));
  CHECK(close(want.mse_per_layer, got.mse_per_layer, errors));
  CHECK(close(want.attention_error, got.attention_error, errors));
}

/// What a model says, and the logits behind it.
struct Text {
  TokenLists tokens;
  std::vector<std::vector<double>> logits;  // behind each prompt, then behind each of some given tokens
};

inline TokenLists prompts() {
  const DataSet rows = tiny::data(3, {50, 2, 130}, 9, 67);
  return {rows[0].tokens, rows[1].tokens, rows[2].tokens};
}

template <Backend B, AttentionPolicy A>
Text write(const LlamaConfig& config = end_to_end::config()) {
  auto model = convert<Llama<B, A>>(random_teacher<B>(config), 1);
  Reader<Llama<B, A>> reader(model, 3, 40);
  Text text{{}, reader.read(prompts())};
  for (const Index token : {5, 21, 40}) {
    for (auto& scores : reader.read({{token}, {token + 1}, {token + 2}})) text.logits.push_back(std::move(scores));
  }
  text.tokens = generate(model, prompts(), {.max_tokens = 40, .chunk = 17}).tokens;
  return text;
}

inline void compare(const Text& want, const Text& got, double tolerance) {
  for (std::size_t i = 0; i < want.logits.size(); ++i) CHECK(testing::close(want.logits[i], got.logits[i], tolerance));
}

using WindowsAndMaps = Hybrid<Hedgehog<8>, Terraced<16>>;

// On Cpu<float>; compiled by the host's compiler.
Outcome on_cpu();
Text hybrid_text_on_cpu();
Text softmax_text_on_cpu();
Outcome qwen_on_cpu();
Text qwen_text_on_cpu();

}  // namespace end_to_end
