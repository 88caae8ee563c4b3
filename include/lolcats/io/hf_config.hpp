// Reads and writes Hugging Face's config.json of Llama and Mistral models.
#pragma once

#include <lolcats/io/file.hpp>
#include <lolcats/io/json.hpp>
#include <lolcats/io/llama_config.hpp>
#include <lolcats/tensor/dtype.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace lolcats {

namespace detail {

/// The rope of `rope_parameters` (transformers 5) or `rope_scaling` (4); `theta` where the object has none.
inline RopeConfig parse_rope(JsonObject object, double theta) {
  RopeConfig rope;
  rope.theta = object.number("rope_theta", theta);
  // Old checkpoints say `type`; some versions wrote both.
  const char* key = object.has("rope_type") ? "rope_type" : "type";
  const std::string type = object.text(key);
  if (object.has("type") && object.text("type") != type) {
    object.wrong("type", object.at("type", "a string"), fmt::format("'{}' as rope_type says", type));
  }
  if (type == "linear") {
    rope.kind = RopeKind::Linear;
  } else if (type == "llama3") {
    rope.kind = RopeKind::Llama3;
  } else if (type != "default") {
    object.wrong(key, type, "'default', 'linear' or 'llama3'");
  }
  if (rope.kind != RopeKind::Default) rope.factor = object.number("factor");
  if (rope.kind == RopeKind::Llama3) {
    rope.low_freq_factor = object.number("low_freq_factor");
    rope.high_freq_factor = object.number("high_freq_factor");
    rope.original_max_position = object.integer("original_max_position_embeddings");
  } else {
    object.ignore({"original_max_position_embeddings"});
  }
  if (object.number("partial_rotary_factor", 1) != 1) {
    object.wrong("partial_rotary_factor", object.at("partial_rotary_factor", "1"), "1");
  }
  object.require_all_read();
  return rope;
}

inline RopeConfig parse_rope_keys(JsonObject& config) {
  const double theta = config.number("rope_theta", 10000);  // Llama 1 and 2 were saved without it
  RopeConfig rope;
  rope.theta = theta;
  const bool four = config.has("rope_scaling"), five = config.has("rope_parameters");
  if (four) rope = parse_rope(config.object("rope_scaling"), theta);
  if (five) {
    const RopeConfig other = parse_rope(config.object("rope_parameters"), theta);
    require<ConfigError>(!four || other == rope, "{}: 'rope_scaling' and 'rope_parameters' differ", config.file());
    require<ConfigError>(!config.has("rope_theta") || other.theta == theta,
                         "{}: 'rope_theta' is {}, expected {} as 'rope_parameters' says", config.file(), theta,
                         other.theta);
    rope = other;
  }
  return rope;
}

/// A token id, or a list of them.
inline std::vector<Index> parse_tokens(JsonObject& config, const char* key) {
  std::vector<Index> tokens;
  if (!config.has(key)) return tokens;
  const auto& value = config.at(key, "an integer");
  if (!value.is_array()) return {config.integer(key)};
  for (const auto& token : value) {
    if (!token.is_number_integer()) config.wrong(key, value, "an integer or a list of integers");
    tokens.push_back(token.get<Index>());
  }
  return tokens;
}

}  // namespace detail

/// Parses the text of a config.json; `file` names it in messages.
///
/// Reads what transformers 4 and 5 write for model types llama and mistral.  A key that changes the mathematics and is
/// not understood here is an error, and so is any key that is unknown: nothing is skipped silently except a list of
/// keys that do not concern inference, and null, which counts as absent.
/// Errors: FormatError for malformed JSON, ConfigError for everything else.
inline LlamaConfig parse_config(std::string_view text, const std::string& file) {
  const nlohmann::json document = parse_json(text, file);
  JsonObject object(document, file);
  const std::string type = object.text("model_type");
  const bool mistral = type == "mistral";
  if (type != "llama" && !mistral) object.wrong("model_type", type, "'llama' or 'mistral'");
  if (const std::string act = object.text("hidden_act"); act != "silu") object.wrong("hidden_act", act, "'silu'");
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (object.boolean(key, false)) object.wrong(key, true, "false");
  }

  LlamaConfig config;
  config.vocab_size = object.integer("vocab_size");
  config.hidden_size = object.integer("hidden_size");
  config.layers = object.integer("num_hidden_layers");
  config.heads = object.integer("num_attention_heads");
  // Llama 1 was saved without it; Mistral's default is another number, so there it must be said.
  config.kv_heads =
      mistral ? object.integer("num_key_value_heads") : object.integer("num_key_value_heads", config.heads);
  config.intermediate_size = object.integer("intermediate_size");
  config.max_position = object.integer("max_position_embeddings");
  config.rms_eps = object.number("rms_norm_eps");
  if (object.has("head_dim")) {
    config.head_dim = object.integer("head_dim");
  } else {
    require<ConfigError>(config.heads > 0 && config.hidden_size % config.heads == 0,
                         "{}: 'hidden_size' is {}, expected a multiple of 'num_attention_heads' {} where 'head_dim' is "
                         "not given",
                         file, config.hidden_size, config.heads);
    config.head_dim = config.hidden_size / config.heads;
  }
  config.rope = detail::parse_rope_keys(object);
  if (mistral) {
    // Absent would mean 4096 to transformers; null means none.
    require<ConfigError>(document.contains("sliding_window"),
                         "{}: 'sliding_window' is missing, expected an integer or null", file);
    if (object.has("sliding_window")) {
      config.sliding_window = object.integer("sliding_window");
      if (config.sliding_window <= 0)
        object.wrong("sliding_window", config.sliding_window, "a positive integer or null");
    }
  }
  config.tied_embeddings = object.boolean("tie_word_embeddings", false);
  const std::vector<Index> bos = detail::parse_tokens(object, "bos_token_id");
  if (bos.size() > 1) object.wrong("bos_token_id", object.at("bos_token_id", "an integer"), "one integer");
  if (!bos.empty()) config.bos_token = bos[0];
  config.eos_tokens = detail::parse_tokens(object, "eos_token_id");

  object.ignore({"_attn_implementation", "_attn_implementation_autoset", "_name_or_path", "architectures",
                 "attention_dropout", "dtype", "initializer_range", "max_sequence_length", "output_attentions",
                 "output_hidden_states", "pad_token_id", "pretraining_tp", "return_dict", "torch_dtype",
                 "transformers_version", "unsloth_version", "use_cache"});
  object.require_all_read();
  try {
    config.validate();
  } catch (const ConfigError& error) {
    fail<ConfigError>("{}: {}", file, error.what());
  }
  return config;
}

/// Reads a config.json.  Errors: FileError, FormatError, ConfigError.
inline LlamaConfig read_config(const std::filesystem::path& path) {
  return parse_config(read_text(path), path.string());
}

/// The text of a config.json for `config`; `stored` is the type of the weights beside it.
///
/// Written in transformers 4's keys (`rope_theta`, `rope_scaling`, `torch_dtype`): version 5 still reads them, version
/// 4 does not read version 5's, and writing both would state each fact twice.
inline std::string format_config(const LlamaConfig& config, DType stored) {
  config.validate();
  require<ConfigError>(stored == DType::F32 || stored == DType::BF16 || stored == DType::F64 || stored == DType::F16,
                       "format_config: weights are {}, expected a floating type", name_of(stored));
  const bool mistral = config.sliding_window > 0;  // transformers knows the window in this model type only
  nlohmann::ordered_json json;
  json["architectures"] = {mistral ? "MistralForCausalLM" : "LlamaForCausalLM"};
  json["model_type"] = mistral ? "mistral" : "llama";
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.layers;
  json["num_attention_heads"] = config.heads;
  json["num_key_value_heads"] = config.kv_heads;
  json["head_dim"] = config.head_dim;
  json["hidden_act"] = "silu";
  if (!mistral) json["attention_bias"] = json["mlp_bias"] = false;
  json["rms_norm_eps"] = config.rms_eps;
  json["max_position_embeddings"] = config.max_position;
  json["rope_theta"] = config.rope.theta;
  json["rope_scaling"] = nullptr;
  if (config.rope.kind != RopeKind::Default) {
    auto& rope = json["rope_scaling"] = {{"rope_type", name_of(config.rope.kind)}, {"factor", config.rope.factor}};
    if (config.rope.kind == RopeKind::Llama3) {
      rope["low_freq_factor"] = config.rope.low_freq_factor;
      rope["high_freq_factor"] = config.rope.high_freq_factor;
      rope["original_max_position_embeddings"] = config.rope.original_max_position;
    }
  }
  if (mistral) json["sliding_window"] = config.sliding_window;
  json["tie_word_embeddings"] = config.tied_embeddings;
  json["bos_token_id"] = nullptr;
  if (config.bos_token) json["bos_token_id"] = *config.bos_token;
  json["eos_token_id"] = nullptr;
  if (config.eos_tokens.size() == 1) json["eos_token_id"] = config.eos_tokens[0];
  if (config.eos_tokens.size() > 1) json["eos_token_id"] = config.eos_tokens;
  json["torch_dtype"] = stored == DType::F32    ? "float32"
                        : stored == DType::BF16 ? "bfloat16"
                        : stored == DType::F64  ? "float64"
                                                : "float16";
  return json.dump(2) + "\n";
}

/// Writes `format_config` to `path`.  Errors: ConfigError, FileError.
inline void write_config(const std::filesystem::path& path, const LlamaConfig& config, DType stored) {
  write_file_atomically(path, std::string_view(format_config(config, stored)));
}

}  // namespace lolcats
