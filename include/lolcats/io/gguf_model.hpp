// Base models in GGUF files: the config from the metadata, the tensors under Hugging Face's names.
#pragma once

#include <lolcats/io/gguf.hpp>
#include <lolcats/io/rope_factors.hpp>
#include <lolcats/io/tensor_store.hpp>

#include <array>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

namespace detail {

/// Reads the keys of one architecture ("llama.block_count") and knows which were read.
class GgufConfigReader {
 public:
  explicit GgufConfigReader(const Gguf& file) : file_(file), architecture_(file.text("general.architecture")) {
    constexpr std::array known = {"llama", "qwen2", "qwen3"};
    require<ConfigError>(std::find(known.begin(), known.end(), architecture_) != known.end(),
                         "{}: 'general.architecture' is '{}', expected 'llama', 'qwen2' or 'qwen3'", file.name(),
                         shown(architecture_));
    const std::string type = file.text("general.type", "model");
    require<ConfigError>(type == "model", "{}: 'general.type' is '{}', expected 'model'", file.name(), shown(type));
    const Index parts = file.integer("split.count", 1);
    require<ConfigError>(parts <= 1,
                         "{}: is one of {} files of a model, expected a whole one; join them with "
                         "'llama-gguf-split --merge'",
                         file.name(), parts);
  }

  const std::string& architecture() const { return architecture_; }

  LlamaConfig read() {
    LlamaConfig config;
    config.layers = integer("block_count");
    config.hidden_size = integer("embedding_length");
    config.intermediate_size = same_in_all_layers("feed_forward_length", config.layers);
    config.heads = same_in_all_layers("attention.head_count", config.layers);
    const bool grouped = file_.has(key("attention.head_count_kv"));
    config.kv_heads = grouped ? same_in_all_layers("attention.head_count_kv", config.layers) : config.heads;
    config.head_dim = read_head_dim(config);
    config.max_position = integer("context_length");
    config.rms_eps = decimal(file_.number(used("attention.layer_norm_rms_epsilon")));
    if (architecture_ == "llama") config.sliding_window = file_.integer(used("attention.sliding_window"), 0);
    config.tied_embeddings = !file_.contains("output.weight");
    config.qkv_bias = file_.contains("blk.0.attn_q.bias");
    config.qk_norm = architecture_ == "qwen3" && file_.contains("blk.0.attn_q_norm.weight");
    config.vocab_size = read_vocabulary();
    read_special_tokens(config);
    config.rope = read_rope(config.head_dim);
    require_nothing_else();
    try {
      config.validate();
    } catch (const ConfigError& error) {
      fail<ConfigError>("{}: {}", file_.name(), error.what());
    }
    return config;
  }

 private:
  std::string key(std::string_view name) const { return fmt::format("{}.{}", architecture_, name); }
  std::string used(std::string_view name) {
    read_.insert(key(name));
    return key(name);
  }
  Index integer(std::string_view name) { return file_.integer(used(name)); }

  /// A float32 as the decimal number that it was made from: 1e-5, not 9.99999974e-06.
  static double decimal(double value) {
    const auto single = static_cast<float>(value);
    return static_cast<double>(single) == value && std::isfinite(value) ? std::stod(fmt::format("{}", single)) : value;
  }

  [[noreturn]] void wrong(std::string_view name, std::string_view expected) const {
    fail<ConfigError>("{}: '{}' is {}, expected {}", file_.name(), key(name), file_.shown_value(key(name)), expected);
  }

  /// A number, or an array of one number per layer, all equal.
  Index same_in_all_layers(std::string_view name, Index layers) {
    if (!file_.has(key(name)) || !file_.is_array(key(name))) return integer(name);
    const std::vector<Index> list = file_.integers(used(name));
    const bool same = std::adjacent_find(list.begin(), list.end(), std::not_equal_to<>()) == list.end();
    if (std::ssize(list) != layers || !same) wrong(name, fmt::format("{} times the same number", layers));
    return list.empty() ? 0 : list[0];
  }

  Index read_head_dim(const LlamaConfig& config) {
    require<ConfigError>(
        file_.has(key("attention.key_length")) || (config.heads > 0 && config.hidden_size % config.heads == 0),
        "{}: '{}' is {}, expected a multiple of '{}' {} where '{}' is not given", file_.name(), key("embedding_length"),
        config.hidden_size, key("attention.head_count"), config.heads, key("attention.key_length"));
    const Index size =
        file_.has(key("attention.key_length")) ? integer("attention.key_length") : config.hidden_size / config.heads;
    for (const char* name : {"attention.value_length", "rope.dimension_count"}) {
      if (file_.integer(used(name), size) != size) wrong(name, fmt::format("{}, the size of a head", size));
    }
    return size;
  }

  /// The rows of the embeddings; there may be fewer tokens.
  Index read_vocabulary() {
    const std::vector<Index>& shape = file_.info("token_embd.weight").shape;
    require<FormatError>(shape.size() == 2, "{}: tensor 'token_embd.weight' has shape {}, expected two axes",
                         file_.name(), to_string(shape));
    if (file_.has("tokenizer.ggml.tokens")) {
      const Index tokens = file_.count("tokenizer.ggml.tokens");
      require<ConfigError>(tokens <= shape[0],
                           "{}: 'tokenizer.ggml.tokens' has {} tokens, expected at most the {} rows of "
                           "'token_embd.weight'",
                           file_.name(), tokens, shape[0]);
    }
    if (file_.integer(used("vocab_size"), 0) > shape[0]) {
      wrong("vocab_size", fmt::format("at most the {} rows of 'token_embd.weight'", shape[0]));
    }
    return shape[0];
  }

  void read_special_tokens(LlamaConfig& config) const {
    const auto token = [&](const char* name, Index absent) -> Index {
      const Index id = file_.integer(fmt::format("tokenizer.ggml.{}_token_id", name), absent);
      return id == Index{UINT32_MAX} ? -1 : id;  // how llama.cpp writes none
    };
    // llama.cpp's defaults for sentencepiece vocabularies, whose files leave these out.
    const bool pieces = file_.text("tokenizer.ggml.model", "") == "llama";
    if (const Index bos = token("bos", pieces ? 1 : -1); bos >= 0) config.bos_token = bos;
    for (const auto& [name, absent] : {std::pair("eos", pieces ? 2 : -1), {"eot", -1}, {"eom", -1}}) {
      const Index id = token(name, absent);
      const bool known = std::find(config.eos_tokens.begin(), config.eos_tokens.end(), id) != config.eos_tokens.end();
      if (id >= 0 && !known) config.eos_tokens.push_back(id);
    }
  }

  RopeConfig read_rope(Index head_dim) {
    RopeConfig rope;
    rope.theta = decimal(file_.number(used("rope.freq_base"), 10000));
    // Without a type a factor is linear; old files say scale_linear.
    const std::string type = file_.text(used("rope.scaling.type"), "linear");
    if (type != "none" && type != "linear") wrong("rope.scaling.type", "'none' or 'linear'");
    const double old = file_.number(used("rope.scale_linear"), 0);
    const double factor = decimal(file_.number(used("rope.scaling.factor"), old));
    const Index original = file_.integer(used("rope.scaling.original_context_length"), 0);
    if (type == "linear" && factor != 0 && factor != 1) rope.kind = RopeKind::Linear, rope.factor = factor;
    if (!file_.contains("rope_freqs.weight")) return rope;

    require<ConfigError>(rope.kind == RopeKind::Default, "{}: has both '{}' and 'rope_freqs.weight', expected one",
                         file_.name(), key("rope.scaling.factor"));
    const Tensor<double> factors = file_.read<double>("rope_freqs.weight", {head_dim / 2});
    const auto found = rope_of_factors(rope.theta, factors.span(), original);
    require<ConfigError>(found.has_value(),
                         "{}: tensor 'rope_freqs.weight' holds factors that are not those of Llama 3's rule nor of "
                         "linear scaling, which is not supported",
                         file_.name());
    return *found;
  }

  /// Keys that say nothing new, keys of features that must be off, and an error for each other key.
  void require_nothing_else() {
    used("rope.scaling.finetuned");
    for (const auto& [name, off] : {std::pair("expert_count", 0.0),
                                    {"expert_used_count", 0.0},
                                    {"attention.max_alibi_bias", 0.0},
                                    {"attention.clamp_kqv", 0.0},
                                    {"attention.sliding_window", 0.0},
                                    {"rope.scaling.attn_factor", 1.0},
                                    {"pooling_type", 0.0}}) {
      if (read_.contains(key(name)) || !file_.has(key(name))) continue;
      if (file_.number(used(name)) != off) wrong(name, fmt::format("{}", off));
    }
    if (!file_.boolean(used("attention.causal"), true)) wrong("attention.causal", "true");
    if (file_.boolean(used("use_parallel_residual"), false)) wrong("use_parallel_residual", "false");
    const std::string layout = "Meta AI original pth";  // the order of rows that every file of the architecture has
    if (file_.text(used("tensor_data_layout"), layout) != layout) wrong("tensor_data_layout", "'" + layout + "'");
    for (const std::string& name : file_.keys()) {
      if (!name.starts_with(architecture_ + ".") || read_.contains(name)) continue;
      fail<ConfigError>("{}: '{}' is {}, which is not supported", file_.name(), shown(name), file_.shown_value(name));
    }
  }

  const Gguf& file_;
  std::string architecture_;
  std::set<std::string, std::less<>> read_;
};

/// Hugging Face's name of a tensor; GGUF's own where there is none, so that a surplus tensor is named as in the file.
inline std::string huggingface_name(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> whole = {{
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"output_norm.weight", "model.norm.weight"},
      {"output.weight", "lm_head.weight"},
  }};
  for (const auto& [theirs, ours] : whole) {
    if (name == theirs) return std::string(ours);
  }
  constexpr std::array<std::pair<std::string_view, std::string_view>, 12> parts = {{
      {"attn_norm", "input_layernorm"},
      {"attn_q", "self_attn.q_proj"},
      {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},
      {"attn_output", "self_attn.o_proj"},
      {"attn_q_norm", "self_attn.q_norm"},
      {"attn_k_norm", "self_attn.k_norm"},
      {"ffn_norm", "post_attention_layernorm"},
      {"ffn_gate", "mlp.gate_proj"},
      {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"},
      {"attn_rot_embd", "self_attn.rotary_emb.inv_freq"},
  }};
  if (!name.starts_with("blk.")) return std::string(name);
  const std::string_view rest = name.substr(4);
  const std::size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
  const std::size_t dot = rest.rfind('.');
  if (digits == 0 || dot == std::string_view::npos || dot <= digits || rest[digits] != '.') return std::string(name);
  const std::string_view part = rest.substr(digits + 1, dot - digits - 1), kind = rest.substr(dot);
  for (const auto& [theirs, ours] : parts) {
    if (part != theirs || (kind != ".weight" && kind != ".bias")) continue;
    if (part == "attn_rot_embd") return fmt::format("model.layers.{}.{}", rest.substr(0, digits), ours);
    return fmt::format("model.layers.{}.{}{}", rest.substr(0, digits), ours, kind);
  }
  return std::string(name);
}

}  // namespace detail

/// A base model of architecture llama (Mistral's, too), qwen2 or qwen3.
///
/// Quantized tensors are decoded when they are read.  The rows of q and k of architecture llama, which GGUF keeps in the
/// interleaved rotary order, come in Hugging Face's.  Without "output.weight" the embeddings are tied.  Errors:
/// ConfigError for another architecture and for a key of the architecture that is not understood, FormatError.
inline Checkpoint read_gguf(const Gguf& file) {
  detail::GgufConfigReader reader(file);
  Checkpoint checkpoint{reader.read(), TensorStore(file.name())};
  const LlamaConfig& config = checkpoint.config;
  for (const auto& [name, stored] : file.tensors()) {
    if (name == "rope_freqs.weight") continue;  // they are config.rope
    std::string key = detail::huggingface_name(name);
    TensorInfo info = stored;
    if (reader.architecture() == "llama") {
      if (key.find(".self_attn.q_proj.") != std::string::npos) info.interleaved_heads = config.heads;
      if (key.find(".self_attn.k_proj.") != std::string::npos) info.interleaved_heads = config.kv_heads;
    }
    checkpoint.weights.add(std::move(key), std::move(info), file.name(), file.owner());
  }
  return checkpoint;
}

/// Maps and reads a GGUF file.  Errors: FileError, FormatError, ConfigError.
inline Checkpoint open_gguf(const std::filesystem::path& path) { return read_gguf(Gguf(path)); }

}  // namespace lolcats
