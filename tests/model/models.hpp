// The model types that the tests share; what computes with them is compiled once, in models_*.cpp.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/model/llama.hpp>
#include <lolcats/model/random.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/policy/feature_map/relu.hpp>

#include <map>
#include <string>
#include <vector>

namespace models {

using namespace lolcats;

inline constexpr Targets all{Projections::q,    Projections::k,  Projections::v,   Projections::o,
                             Projections::gate, Projections::up, Projections::down};

template <class T>
using Teacher = Llama<Cpu<T>, Softmax<>, NoAdapter>;
template <class T>
using Control = Llama<Cpu<T>, Softmax<>, Lora<4>>;
using Terraces = Llama<Cpu<double>, Hybrid<Hedgehog<4>, Terraced<4>>, Lora<2, all>>;
using Grouped = Llama<Cpu<double>, Hybrid<T2R<6>, Sliding<3>, Affine, KeyMapsPerGroup>,
                      Lora<2, Targets{Projections::v, Projections::o}, 3>>;
using SharedLinear = Llama<Cpu<double>, Linear<T2R<6, Bias::head>, SharedMaps>>;
/// With dropout, for what depends on random masks.
using Dropping = Llama<Cpu<double>, Softmax<>, Lora<2, all, 4, Ratio{1, 2}>>;

/// Like data/batch.hpp's.
struct TinyBatch {
  std::vector<Index> tokens, labels;
  Sequences sequences;
};

/// (M, V) logits, row-major.
template <class Model>
std::vector<double> logits_of(Model& model, const std::vector<Index>& tokens, const Sequences& sequences);

/// The loss of a batch, in training mode with tape.seed 9; nothing is recorded.
template <class Model>
double loss_of(Model& model, const TinyBatch& batch, double scale);

/// The same, with gradients added to everything that is trained.
template <class Model>
double backward_of(Model& model, const TinyBatch& batch, double scale, bool recompute);

/// Logits by way of each layer's step: the first `prefill` tokens at once, then one by one; one sequence.
template <class Model>
std::vector<double> decoded_logits_of(Model& model, const std::vector<Index>& tokens, Index prefill);

/// A small config with grouped queries, D != C / H and llama3 rope.
inline LlamaConfig tiny_config(bool tied = false) {
  LlamaConfig config;
  config.vocab_size = 13;
  config.hidden_size = 10;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 6;
  config.intermediate_size = 7;
  config.max_position = 64;
  config.tied_embeddings = tied;
  config.rope.kind = RopeKind::Llama3;
  config.rope.theta = 100;
  config.rope.factor = 4;
  config.rope.original_max_position = 16;
  return config;
}

/// The same with what Qwen2 (biases) and Qwen3 (norms of heads) add.
inline LlamaConfig qwen_config(bool biases, bool norms, bool tied = false) {
  LlamaConfig config = tiny_config(tied);
  config.qkv_bias = biases;
  config.qk_norm = norms;
  return config;
}

/// Two sequences of different lengths, a row of padding between them, the second one not at the start of its
/// positions, and labels with gaps.
inline TinyBatch tiny_batch() {
  TinyBatch batch;
  batch.tokens = {3, 1, 4, 1, 5, 9, 2, 6, 5, 0, 3, 5, 8, 12, 7};
  batch.labels = {1, 4, 1, 5, 9, -100, 6, 5, 3, -100, 5, 8, 12, -100, 9};
  batch.sequences = Sequences(15, {{0, 9, 0}, {10, 5, 3}});
  return batch;
}

/// Gives every parameter of a list random values of its own: fresh adapters and maps hide what they do.
template <Backend B>
void randomize(const B& backend, const Parameters<B>& parameters, double scale = 0.4) {
  std::uint64_t stream = 1000;
  for (const auto& [name, parameter] : parameters) {
    Rng rng(3, stream++);
    std::vector<double> values(static_cast<std::size_t>(parameter->size()));
    for (double& value : values) value = static_cast<float>(scale * rng.normal());
    *parameter = lolcats::detail::make_parameter(backend, parameter->shape(), values);
  }
}

/// A model with large random weights, maps and adapters, so that every part matters; biases and norms of heads, too.
template <class Model>
Model vivid(const LlamaConfig& config, std::uint64_t seed = 4) {
  Model model = random_llama<Model>(config, seed, 0.4);
  Parameters<typename Model::Device> qwen;
  for (const auto& entry : model.base_parameters()) {
    if (entry.name.ends_with(".bias") || entry.name.ends_with("q_norm.weight") || entry.name.ends_with("k_norm.weight"))
      qwen.push_back(entry);
  }
  randomize(model.backend(), qwen, 0.8);
  randomize(model.backend(), model.transfer_parameters());
  randomize(model.backend(), model.adapter_parameters());
  return model;
}

/// All parameters as doubles, by name.
template <class Model>
std::map<std::string, std::vector<double>> numbers_of(Model& model) {
  std::map<std::string, std::vector<double>> numbers;
  for (const auto& list : {model.base_parameters(), model.transfer_parameters(), model.adapter_parameters()}) {
    for (const auto& [name, parameter] : list) {
      std::vector<double> values(static_cast<std::size_t>(parameter->size()));
      model.backend().to_host(parameter->value().data, values.data(), parameter->size());
      numbers[name] = values;
    }
  }
  return numbers;
}

}  // namespace models
