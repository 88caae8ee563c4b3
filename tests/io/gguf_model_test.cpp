#include <lolcats/io/gguf_model.hpp>

#include "gguf_support.hpp"
#include "support.hpp"

#include <numeric>

using namespace lolcats;
using namespace io_test;

namespace {

/// A small model's keys but those in `without`; every number differs where it can.
GgufFile keys(const std::string& architecture, const std::vector<std::string>& without = {}) {
  GgufFile file;
  const auto add = [&](const std::string& name, auto value) {
    if (std::find(without.begin(), without.end(), name) == without.end()) file.set(architecture + "." + name, value);
  };
  file.set("general.architecture", architecture).set("general.quantization_version", 2u).set("general.file_type", 3u);
  add("block_count", 2u);
  add("context_length", 77u);
  add("embedding_length", 16u);
  add("feed_forward_length", 24u);
  add("attention.head_count", 4u);
  add("attention.head_count_kv", 2u);
  add("attention.layer_norm_rms_epsilon", 1e-6f);
  add("rope.freq_base", 50000.5f);
  return file;
}

std::vector<float> counting_floats(std::size_t count, float from = 0) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), from);
  return values;
}

/// Tensors of that model; heads of 4.
void add_tensors(GgufFile& file, bool tied = true, bool bias = false, bool norm = false) {
  file.tensor("token_embd.weight", {10, 16}, counting_floats(160))
      .tensor("output_norm.weight", {16}, counting_floats(16));
  if (!tied) file.tensor("output.weight", {10, 16}, counting_floats(160, 1000));
  for (int layer = 0; layer < 2; ++layer) {
    const std::string at = "blk." + std::to_string(layer) + ".";
    const auto add = [&](const std::string& name, const std::vector<std::uint64_t>& shape) {
      const std::size_t size = shape.size() == 1 ? shape[0] : shape[0] * shape[1];
      file.tensor(at + name, shape, counting_floats(size, static_cast<float>(layer)));
    };
    add("attn_norm.weight", {16}), add("ffn_norm.weight", {16});
    add("attn_q.weight", {16, 16}), add("attn_k.weight", {8, 16}), add("attn_v.weight", {8, 16});
    add("attn_output.weight", {16, 16});
    add("ffn_gate.weight", {24, 16}), add("ffn_up.weight", {24, 16}), add("ffn_down.weight", {16, 24});
    if (bias) add("attn_q.bias", {16}), add("attn_k.bias", {8}), add("attn_v.bias", {8});
    if (norm) add("attn_q_norm.weight", {4}), add("attn_k_norm.weight", {4});
  }
}

Checkpoint checkpoint_of(const GgufFile& file) {
  const auto bytes = std::make_shared<const std::string>(file.bytes());
  return read_gguf(Gguf(std::as_bytes(std::span(bytes->data(), bytes->size())), "m.gguf", bytes));
}

Checkpoint with_tensors(GgufFile file) {
  add_tensors(file);
  return checkpoint_of(file);
}

template <class E>
void refuses_model(const GgufFile& file, std::initializer_list<std::string_view> parts) {
  check_throws<E>(
      [&] {
        try {
          with_tensors(file);
        } catch (const Error& error) {
          CHECK(std::string(error.what()).starts_with("m.gguf: "));
          throw;
        }
      },
      parts);
}

}  // namespace

TEST_CASE("the config of each architecture") {
  for (const std::string architecture : {"llama", "qwen2", "qwen3"}) {
    CAPTURE(architecture);
    GgufFile file = keys(architecture);
    add_tensors(file, architecture != "qwen3", architecture == "qwen2", architecture == "qwen3");
    LlamaConfig want;
    want.vocab_size = 10;
    want.hidden_size = 16;
    want.layers = 2;
    want.heads = 4;
    want.kv_heads = 2;
    want.head_dim = 4;
    want.intermediate_size = 24;
    want.max_position = 77;
    want.rms_eps = 1e-6;  // the decimal number, not the float32 beside it
    want.rope.theta = 50000.5;
    want.tied_embeddings = architecture != "qwen3";
    want.qkv_bias = architecture == "qwen2";
    want.qk_norm = architecture == "qwen3";
    CHECK(checkpoint_of(file).config == want);
  }
  CHECK(with_tensors(keys("llama", {"rope.freq_base"})).config.rope.theta == 10000);
  CHECK(with_tensors(keys("llama", {"attention.head_count_kv"})).config.kv_heads == 4);
  CHECK(with_tensors(keys("llama").set("llama.attention.sliding_window", 5u)).config.sliding_window == 5);
}

TEST_CASE("sizes of heads and of layers") {
  const GgufFile wide = keys("llama")
                            .set("llama.attention.key_length", 6u)
                            .set("llama.attention.value_length", 6u)
                            .set("llama.rope.dimension_count", 6u);
  CHECK(with_tensors(wide).config.head_dim == 6);
  refuses_model<ConfigError>(keys("llama").set("llama.attention.value_length", 6u),
                       {"'llama.attention.value_length' is u32 6, expected 4, the size of a head"});
  refuses_model<ConfigError>(keys("llama").set("llama.rope.dimension_count", 2u),
                       {"'llama.rope.dimension_count' is u32 2, expected 4, the size of a head"});
  refuses_model<ConfigError>(keys("llama", {"attention.head_count"}).set("llama.attention.head_count", 3u),
                       {"'llama.embedding_length' is 16, expected a multiple of 'llama.attention.head_count' 3 where "
                        "'llama.attention.key_length' is not given"});
  refuses_model<ConfigError>(keys("llama", {"attention.head_count"}).set("llama.attention.head_count", 0u),
                       {"a multiple of"});

  const auto per_layer = [](const std::vector<std::uint32_t>& values) {
    return keys("llama", {"attention.head_count_kv"}).set("llama.attention.head_count_kv", values);
  };
  CHECK(with_tensors(per_layer({2, 2})).config.kv_heads == 2);
  refuses_model<ConfigError>(per_layer({2, 4}),
                       {"'llama.attention.head_count_kv' is an array of 2 u32, expected 2 times the same number"});
  refuses_model<ConfigError>(per_layer({2}), {"is an array of 1 u32, expected 2 times the same number"});
  refuses_model<ConfigError>(per_layer({}), {"is an array of 0 u32, expected 2 times the same number"});
}

TEST_CASE("keys that are not understood are errors if they are the architecture's") {
  refuses_model<ConfigError>(keys("gemma"),
                             {"'general.architecture' is 'gemma', expected 'llama', 'qwen2' or 'qwen3'"});
  refuses_model<FormatError>(GgufFile(), {"key 'general.architecture' is missing, expected a string"});
  refuses_model<FormatError>(keys("llama", {"block_count"}),
                             {"key 'llama.block_count' is missing, expected an integer"});
  refuses_model<FormatError>(keys("qwen2", {"attention.layer_norm_rms_epsilon"}),
                             {"epsilon' is missing, expected a number"});
  refuses_model<ConfigError>(keys("llama").set("llama.logit_scale", 0.5f),
                       {"'llama.logit_scale' is f32 0.5, which is not supported"});
  refuses_model<ConfigError>(keys("llama").set("llama.rope.dimension_sections", std::vector<int>{1, 2}),
                       {"'llama.rope.dimension_sections' is an array of 2 i32, which is not supported"});
  refuses_model<ConfigError>(keys("llama").set("llama.expert_count", 8u),
                             {"'llama.expert_count' is u32 8, expected 0"});
  refuses_model<ConfigError>(keys("llama").set("llama.attention.causal", false),
                       {"'llama.attention.causal' is bool false, expected true"});
  refuses_model<ConfigError>(keys("llama").set("llama.use_parallel_residual", true), {"expected false"});
  refuses_model<ConfigError>(keys("llama").set("llama.tensor_data_layout", "other"),
                             {"expected 'Meta AI original pth'"});
  refuses_model<ConfigError>(keys("qwen2").set("qwen2.attention.sliding_window", 5u),
                       {"'qwen2.attention.sliding_window' is u32 5, expected 0"});
  refuses_model<ConfigError>(keys("llama").set("llama.rope.scaling.attn_factor", 1.5f),
                       {"attn_factor' is f32 1.5, expected 1"});
  refuses_model<ConfigError>(keys("llama").set("general.type", "adapter"),
                             {"'general.type' is 'adapter', expected 'model'"});
  refuses_model<ConfigError>(keys("llama").set("split.count", std::uint16_t{3}),
                       {"is one of 3 files of a model", "llama-gguf-split --merge"});
  refuses_model<ConfigError>(keys("llama", {"context_length"}).set("llama.context_length", 0u),
                       {"max_position is 0, expected 1 to"});
  CHECK_NOTHROW(with_tensors(keys("llama")
                                 .set("general.type", "model")
                                 .set("llama.expert_count", 0u)
                                 .set("llama.attention.causal", true)
                                 .set("llama.vocab_size", 10u)
                                 .set("llama.tensor_data_layout", "Meta AI original pth")
                                 .set("split.count", std::uint16_t{1})
                                 .set("qwen2.logit_scale", 0.5f)  // of another architecture
                                 .set("quantize.imatrix.file", "x")
                                 .set("tokenizer.ggml.pre", "x")));
}

TEST_CASE("vocabulary and special tokens") {
  const std::vector<std::string> tokens(9, "x");
  CHECK(with_tensors(keys("llama").set("tokenizer.ggml.tokens", tokens)).config.vocab_size == 10);  // padded
  refuses_model<ConfigError>(keys("llama").set("tokenizer.ggml.tokens", std::vector<std::string>(11, "x")),
                       {"'tokenizer.ggml.tokens' has 11 tokens, expected at most the 10 rows of 'token_embd.weight'"});
  refuses_model<ConfigError>(keys("llama").set("llama.vocab_size", 11u),
                       {"'llama.vocab_size' is u32 11, expected at most the 10 rows"});
  check_throws<FormatError>([] { checkpoint_of(keys("llama")); }, {"m.gguf: tensor 'token_embd.weight' is missing"});
  check_throws<FormatError>([] { checkpoint_of(keys("llama").tensor("token_embd.weight", {16}, counting_floats(16))); },
                            {"'token_embd.weight' has shape (16), expected two axes"});

  const LlamaConfig none = with_tensors(keys("llama")).config;
  CHECK_FALSE(none.bos_token.has_value());
  CHECK(none.eos_tokens.empty());
  const LlamaConfig all = with_tensors(keys("llama")
                                           .set("tokenizer.ggml.model", "gpt2")
                                           .set("tokenizer.ggml.bos_token_id", 3u)
                                           .set("tokenizer.ggml.eos_token_id", 7u)
                                           .set("tokenizer.ggml.eot_token_id", 7u)
                                           .set("tokenizer.ggml.eom_token_id", 5u))
                              .config;
  CHECK(all.bos_token == 3);
  CHECK(all.eos_tokens == std::vector<Index>{7, 5});
  const LlamaConfig pieces = with_tensors(keys("llama").set("tokenizer.ggml.model", "llama")).config;
  CHECK(pieces.bos_token == 1);  // llama.cpp's defaults
  CHECK(pieces.eos_tokens == std::vector<Index>{2});
  const LlamaConfig off = with_tensors(keys("llama").set("tokenizer.ggml.bos_token_id", UINT32_MAX)).config;
  CHECK_FALSE(off.bos_token.has_value());
  refuses_model<ConfigError>(keys("llama").set("tokenizer.ggml.eos_token_id", 10u),
                             {"eos_tokens is 10, expected 0 to 9"});
}

TEST_CASE("rotary scaling") {
  const auto rope = [](GgufFile file) { return with_tensors(std::move(file)).config.rope; };
  const RopeConfig linear{RopeKind::Linear, 50000.5, 2.5};
  CHECK(rope(keys("llama").set("llama.rope.scaling.type", "linear").set("llama.rope.scaling.factor", 2.5f)) == linear);
  CHECK(rope(keys("llama").set("llama.rope.scaling.factor", 2.5f)) == linear);
  CHECK(rope(keys("llama").set("llama.rope.scale_linear", 2.5f)) == linear);
  CHECK(rope(keys("llama").set("llama.rope.scaling.type", "none").set("llama.rope.scaling.factor", 2.5f)).kind ==
        RopeKind::Default);
  CHECK(rope(keys("llama").set("llama.rope.scaling.factor", 1.0f).set("llama.rope.scaling.finetuned", true)).kind ==
        RopeKind::Default);
  refuses_model<ConfigError>(keys("llama").set("llama.rope.scaling.type", "yarn"),
                       {"'llama.rope.scaling.type' is string 'yarn', expected 'none' or 'linear'"});

  // Frequencies 1 and 0.01 turn 1303.8 and 13.0 times in 8192 tokens: both are kept, so make the table by hand.
  GgufFile three =
      keys("llama", {"rope.freq_base"}).set("llama.rope.freq_base", 1e8f).tensor("rope_freqs.weight", {2}, {1, 8});
  const Checkpoint checkpoint = with_tensors(three);
  CHECK(checkpoint.config.rope == RopeConfig{RopeKind::Llama3, 1e8, 8, 1, 4, 8192});
  CHECK_FALSE(checkpoint.weights.contains("rope_freqs.weight"));
  refuses_model<ConfigError>(keys("llama").tensor("rope_freqs.weight", {2}, {4, 2}),
                       {"tensor 'rope_freqs.weight' holds factors that are not those of Llama 3's rule"});
  refuses_model<ShapeError>(keys("llama").tensor("rope_freqs.weight", {3}, {1, 1, 1}),
                      {"'rope_freqs.weight' has shape (3), expected (2)"});
  refuses_model<ConfigError>(
      keys("llama").set("llama.rope.scaling.factor", 2.5f).tensor("rope_freqs.weight", {2}, {1, 1}),
      {"has both 'llama.rope.scaling.factor' and 'rope_freqs.weight'"});
}

TEST_CASE("tensors come under Hugging Face's names; q and k of llama in its rotary order") {
  for (const bool llama : {true, false}) {
    CAPTURE(llama);
    GgufFile file = keys(llama ? "llama" : "qwen3");
    add_tensors(file, false, true, !llama);
    Checkpoint checkpoint = checkpoint_of(file);
    TensorStore& weights = checkpoint.weights;
    CHECK(weights.read<float>("model.embed_tokens.weight", {10, 16}).data()[159] == 159);
    CHECK(weights.read<float>("lm_head.weight", {10, 16}).data()[0] == 1000);
    CHECK(weights.read<float>("model.norm.weight", {16}).data()[15] == 15);
    for (const int layer : {0, 1}) {
      const std::string at = fmt::format("model.layers.{}.", layer);
      const std::vector<std::pair<const char*, Shape>> same = {
          {"input_layernorm.weight", {16}},      {"post_attention_layernorm.weight", {16}},
          {"self_attn.v_proj.weight", {8, 16}},  {"self_attn.v_proj.bias", {8}},
          {"self_attn.o_proj.weight", {16, 16}}, {"mlp.gate_proj.weight", {24, 16}},
          {"mlp.up_proj.weight", {24, 16}},      {"mlp.down_proj.weight", {16, 24}}};
      for (const auto& [name, shape] : same) {
        const Tensor<float> tensor = weights.read<float>(at + name, shape);
        CHECK(tensor.data()[0] == layer);
        CHECK(static_cast<const void*>(tensor.data()) == weights.info(at + name).bytes.data());  // borrowed
      }
      const int order[4] = {0, 2, 1, 3};
      for (const auto& [name, heads] : {std::pair("q", 4), {"k", 2}}) {
        const std::string part = fmt::format("{}self_attn.{}_proj.", at, name);
        const Tensor<double> weight = weights.read<double>(part + "weight", {4 * heads, 16});
        const Tensor<double> bias = weights.read<double>(part + "bias", {4 * heads});
        for (int row = 0; row < 4 * heads; ++row) {
          const int source = llama ? row / 4 * 4 + order[row % 4] : row;
          CHECK(bias.data()[row] == source + layer);
          CHECK(weight.data()[row * 16] == source * 16 + layer);
          CHECK(weight.data()[row * 16 + 15] == source * 16 + 15 + layer);
        }
        if (!llama) {
          CHECK(weights.read<float>(fmt::format("{}self_attn.{}_norm.weight", at, name), {4}).data()[3] == 3 + layer);
        }
      }
    }
    CHECK_NOTHROW(weights.require_all_read());
  }
}

TEST_CASE("tensors that the model has not keep their name and are surplus") {
  for (const char* name : {"blk.0.ffn_gate_inp.weight", "blk..attn_q.weight", "blk.0attn_q.weight", "blk.0.attn_q",
                           "blk.0.attn_q.scale", "output.bias", "x", "blk.", "blk.12", "blk.1.", "blk.0..weight"}) {
    CAPTURE(std::string(name));
    GgufFile file = keys("llama").tensor(name, {1}, {1});
    Checkpoint checkpoint = with_tensors(file);
    for (const std::string& read : checkpoint.weights.names()) {
      if (read != name) checkpoint.weights.read<float>(read);
    }
    check_throws<FormatError>([&] { checkpoint.weights.require_all_read(); },
                              {"m.gguf: 1 tensors are in the file but not in the model", name});
  }
  // A stored table of frequencies is ignored, as in other files.
  Checkpoint checkpoint = with_tensors(keys("llama").tensor("blk.0.attn_rot_embd.weight", {1}, {1}));
  CHECK(checkpoint.weights.contains("model.layers.0.self_attn.rotary_emb.inv_freq"));
  // Messages say how the file calls a tensor.
  check_throws<ShapeError>([&] { checkpoint.weights.read<float>("model.layers.1.mlp.up_proj.weight", {1}); },
                           {"m.gguf: tensor 'blk.1.ffn_up.weight' has shape (24, 16), expected (1)"});
}
