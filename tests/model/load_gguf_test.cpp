// Models of every supported architecture from GGUF files that the tests write.
#include <lolcats/model/load.hpp>

#include "../io/gguf_support.hpp"
#include "models.hpp"

#include <lolcats/testing/close.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numbers>

#include <unistd.h>

using namespace models;
using namespace io_test;
using lolcats::testing::same;

namespace {

/// llama.cpp's name of a tensor.
std::string gguf_name(std::string name) {
  const std::pair<const char*, const char*> parts[] = {{"model.embed_tokens", "token_embd"},
                                                       {"model.norm", "output_norm"},
                                                       {"lm_head", "output"},
                                                       {"model.layers.", "blk."},
                                                       {"input_layernorm", "attn_norm"},
                                                       {"post_attention_layernorm", "ffn_norm"},
                                                       {"self_attn.q_proj", "attn_q"},
                                                       {"self_attn.k_proj", "attn_k"},
                                                       {"self_attn.v_proj", "attn_v"},
                                                       {"self_attn.o_proj", "attn_output"},
                                                       {"self_attn.q_norm", "attn_q_norm"},
                                                       {"self_attn.k_norm", "attn_k_norm"},
                                                       {"mlp.", "ffn_"},
                                                       {"_proj.", "."}};
  for (const auto& [ours, theirs] : parts) {
    if (const auto at = name.find(ours); at != std::string::npos) name.replace(at, std::string(ours).size(), theirs);
  }
  return name;
}

/// A model as a GGUF file of float64, as llama.cpp's converter would write it.
std::string gguf_of(Teacher<double>& model, const std::string& architecture) {
  const LlamaConfig& config = model.config();
  const auto u32 = [](Index value) { return static_cast<std::uint32_t>(value); };
  const std::string at = architecture + ".";
  GgufFile file;
  file.set("general.architecture", architecture)
      .set(at + "block_count", u32(config.layers))
      .set(at + "context_length", u32(config.max_position))
      .set(at + "embedding_length", u32(config.hidden_size))
      .set(at + "feed_forward_length", u32(config.intermediate_size))
      .set(at + "attention.head_count", u32(config.heads))
      .set(at + "attention.head_count_kv", u32(config.kv_heads))
      .set(at + "attention.key_length", u32(config.head_dim))
      .set(at + "attention.value_length", u32(config.head_dim))
      .set(at + "attention.layer_norm_rms_epsilon", static_cast<float>(config.rms_eps))
      .set(at + "rope.freq_base", static_cast<float>(config.rope.theta))
      .set(at + "rope.scaling.original_context_length", u32(config.rope.original_max_position));
  std::vector<float> factors;
  for (Index i = 0; i < config.head_dim / 2; ++i) {
    const double frequency =
        std::pow(config.rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    const double ratio = static_cast<double>(config.rope.original_max_position) * frequency / (2 * std::numbers::pi);
    const double smooth = std::clamp((ratio - 1) / (4 - 1), 0.0, 1.0);
    factors.push_back(static_cast<float>(1 / ((1 - smooth) / config.rope.factor + smooth)));
  }
  file.tensor("rope_freqs.weight", {factors.size()}, factors);

  for (const auto& [name, parameter] : model.base_parameters()) {
    const Shape shape = parameter->shape();
    std::vector<std::uint64_t> extents;
    for (int i = 0; i < shape.rank(); ++i) extents.push_back(static_cast<std::uint64_t>(shape[i]));
    const Index rows = shape[0], cols = shape.size() / rows, D = config.head_dim;
    const bool rotated = architecture == "llama" &&
                         (name.find("q_proj") != std::string::npos || name.find("k_proj") != std::string::npos);
    std::string bytes;
    for (Index row = 0; row < rows; ++row) {
      // Row 2j + h of a head in the file is row j + h D/2 of ours.
      const Index i = row % D, source = rotated ? row - i + i / 2 + i % 2 * (D / 2) : row;
      for (Index col = 0; col < cols; ++col) bytes += bytes_of(parameter->value().data[source * cols + col]);
    }
    file.tensor(gguf_name(name), extents, ggml_f64, bytes);
  }
  return file.bytes();
}

}  // namespace

TEST_CASE("a GGUF file of a model is that model, bit for bit") {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / fmt::format("lolcats_gguf_{}.gguf", ::getpid());
  for (const bool tied : {false, true}) {
    for (const std::string architecture : {"llama", "llama with biases", "qwen2", "qwen3"}) {
      CAPTURE(tied);
      CAPTURE(architecture);
      const LlamaConfig config =
          qwen_config(architecture == "qwen2" || architecture == "llama with biases", architecture == "qwen3", tied);
      auto model = vivid<Teacher<double>>(config);
      std::ofstream(path, std::ios::binary) << gguf_of(model, architecture.substr(0, architecture.find(' ')));
      auto loaded = load_llama<Cpu<double>>(path);
      CHECK(loaded.config() == config);
      CHECK(numbers_of(loaded) == numbers_of(model));
      const TinyBatch batch = tiny_batch();
      CHECK(same(logits_of(model, batch.tokens, batch.sequences), logits_of(loaded, batch.tokens, batch.sequences)));
    }
  }
  std::filesystem::remove(path);
}
