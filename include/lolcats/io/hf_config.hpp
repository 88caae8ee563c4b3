// Reads and writes Hugging Face's config.json of Llama, Mistral and Qwen models.
#pragma once

#include <lolcats/io/config_keys.hpp>
#include <lolcats/io/file.hpp>
#include <lolcats/io/json.hpp>
#include <lolcats/io/llama_config.hpp>
#include <lolcats/tensor/dtype.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
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
  object.require_all_read(true);
  return rope;
}

inline RopeConfig parse_rope_keys(JsonObject& config) {
  const double theta = config.number("rope_theta", 10000);  // Llama 1 and 2 were saved without it
  RopeConfig rope;
  rope.theta = theta;
  const bool four = config.is_on("rope_scaling"), five = config.is_on("rope_parameters");
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

/// `bos_token_id` and `eos_token_id`, where they are given.
inline void parse_special_tokens(JsonObject& object, LlamaConfig& config) {
  const std::vector<Index> bos = parse_tokens(object, "bos_token_id");
  if (bos.size() > 1) object.wrong("bos_token_id", object.at("bos_token_id", "an integer"), "one integer");
  if (!bos.empty()) config.bos_token = bos[0];
  std::vector<Index> eos = parse_tokens(object, "eos_token_id");
  if (!eos.empty()) config.eos_tokens = std::move(eos);
}

/// Do all layers have windows?  By `layer_types`, or if there are none by `otherwise`.
inline bool parse_layer_types(JsonObject& config, Index layers, bool otherwise) {
  if (!config.is_on("layer_types")) return otherwise;
  const auto& types = config.at("layer_types", "a list");
  const auto all = [&](const char* type) {
    return types.is_array() && static_cast<Index>(types.size()) == layers &&
           std::all_of(types.begin(), types.end(), [&](const auto& item) { return item == type; });
  };
  if (all("full_attention")) return false;
  if (!all("sliding_attention")) {
    config.wrong("layer_types", types,
                 fmt::format("'full_attention' for each of the {} layers, or 'sliding_attention' for each", layers));
  }
  return true;
}

/// The window of all layers of a Qwen: 0 without `use_sliding_window`, whatever the other keys say.
inline Index parse_qwen_window(JsonObject& config, Index layers) {
  if (!config.boolean("use_sliding_window", false) || !config.has("sliding_window")) {
    config.ignore({"sliding_window", "max_window_layers"});
    if (parse_layer_types(config, layers, false)) {
      config.wrong("layer_types", config.at("layer_types", ""), "'full_attention' where 'use_sliding_window' is off");
    }
    return 0;
  }
  const Index window = config.integer("sliding_window");
  if (window <= 0) config.wrong("sliding_window", window, "a positive integer or null");
  if (!config.is_on("layer_types")) {  // layers from the one of this number on have windows
    const Index first = config.integer("max_window_layers");
    if (first > 0 && first < layers) {
      config.wrong("max_window_layers", first,
                   fmt::format("0, or at least the {} layers: windows in some layers only are not supported", layers));
    }
    return first > 0 ? 0 : window;
  }
  config.ignore({"max_window_layers"});
  return parse_layer_types(config, layers, false) ? window : 0;
}

/// Code beside the weights (`auto_map`) may compute anything, unless the architecture is one that we know.
inline void check_auto_map(JsonObject& config, std::string_view type) {
  const auto known = [&](const nlohmann::json& name) {
    return name == "LlamaForCausalLM" || name == "MistralForCausalLM" || name == "Qwen2ForCausalLM" ||
           name == "Qwen3ForCausalLM";
  };
  if (!config.is_on("auto_map")) return;
  const auto& map = config.at("auto_map", "an object");
  const auto& names = config.at("architectures", "the names of known architectures where there is an 'auto_map'");
  if (!names.is_array() || names.empty() || !std::all_of(names.begin(), names.end(), known)) {
    config.wrong("auto_map", map, fmt::format("none, or that 'architectures' names the known one of {}", type));
  }
}

}  // namespace detail

/// Parses the text of a config.json; `file` names it in messages.
///
/// Reads what transformers 4 and 5 write for model types llama, mistral, qwen2 and qwen3.  The rule for all other keys:
///   1. a key that cannot change the logits is skipped (io/config_keys.hpp lists them);
///   2. what is off counts as absent, under any name: null, false, "", [], {}, and numbers that are known to be neutral;
///   3. every other key is an error that names it and its value.
/// So a feature that changes the mathematics is either understood or refused.  A size that the file leaves out is an
/// error where transformers' default is another number than ours would be.
/// Errors: FormatError for malformed JSON, ConfigError for everything else.
inline LlamaConfig parse_config(std::string_view text, const std::string& file) {
  const nlohmann::json document = parse_json(text, file);
  JsonObject object(document, file);
  const std::string type = object.text("model_type");
  const bool mistral = type == "mistral", qwen2 = type == "qwen2", qwen3 = type == "qwen3";
  if (type != "llama" && !mistral && !qwen2 && !qwen3) {
    object.wrong("model_type", type, "'llama', 'mistral', 'qwen2' or 'qwen3'");
  }
  if (const std::string act = object.text("hidden_act"); act != "silu") object.wrong("hidden_act", act, "'silu'");
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (object.boolean(key, false)) object.wrong(key, true, "false");
  }

  LlamaConfig config;
  config.qkv_bias = qwen2;
  config.qk_norm = qwen3;
  config.vocab_size = object.integer("vocab_size");
  config.hidden_size = object.integer("hidden_size");
  config.layers = object.integer("num_hidden_layers");
  config.heads = object.integer("num_attention_heads");
  // Llama 1 was saved without it; the default of the others is another number, so there it must be said.
  config.kv_heads =
      type == "llama" ? object.integer("num_key_value_heads", config.heads) : object.integer("num_key_value_heads");
  config.intermediate_size = object.integer("intermediate_size");
  config.max_position = object.integer("max_position_embeddings");
  config.rms_eps = object.number("rms_norm_eps");
  if (object.has("head_dim") || qwen3) {  // Qwen3's default is 128
    config.head_dim = object.integer("head_dim");
  } else {
    require<ConfigError>(config.heads > 0 && config.hidden_size % config.heads == 0,
                         "{}: 'hidden_size' is {}, expected a multiple of 'num_attention_heads' {} where 'head_dim' is "
                         "not given",
                         file, config.hidden_size, config.heads);
    config.head_dim = config.hidden_size / config.heads;
  }
  config.rope = detail::parse_rope_keys(object);
  if (qwen2 || qwen3) {
    config.sliding_window = detail::parse_qwen_window(object, config.layers);
  } else if (mistral) {
    // Absent would mean 4096 to transformers; null means none.
    require<ConfigError>(document.contains("sliding_window"),
                         "{}: 'sliding_window' is missing, expected an integer or null", file);
    if (object.has("sliding_window")) {
      config.sliding_window = object.integer("sliding_window");
      if (config.sliding_window <= 0)
        object.wrong("sliding_window", config.sliding_window, "a positive integer or null");
    }
  }
  if (detail::parse_layer_types(object, config.layers, config.sliding_window > 0) != (config.sliding_window > 0)) {
    object.wrong("layer_types", object.at("layer_types", ""),
                 config.sliding_window > 0 ? "'sliding_attention'" : "'full_attention' where there is no window");
  }
  config.tied_embeddings = object.boolean("tie_word_embeddings", false);
  detail::parse_special_tokens(object, config);
  detail::check_auto_map(object, type);

  object.require_all_read([](const std::string& key, const nlohmann::json& value) {
    return is_off(value) || detail::is_idle_config_key(key) ||
           (value.is_number() && detail::is_neutral_config_value(key, value.get<double>()));
  });
  try {
    config.validate();
  } catch (const ConfigError& error) {
    fail<ConfigError>("{}: {}", file, error.what());
  }
  return config;
}

/// Takes the tokens that start and end a text from a generation_config.json into `config`: where the file names some,
/// they replace those of config.json, as in transformers; all else in it are defaults of a sampler.
/// Errors: FormatError, ConfigError.
inline void parse_generation_config(std::string_view text, const std::string& file, LlamaConfig& config) {
  const nlohmann::json document = parse_json(text, file);
  JsonObject object(document, file);
  LlamaConfig changed = config;
  detail::parse_special_tokens(object, changed);
  try {
    changed.validate();
  } catch (const ConfigError& error) {
    fail<ConfigError>("{}: {}", file, error.what());
  }
  config = std::move(changed);
}

/// Reads a config.json, and generation_config.json if it lies beside.  Errors: FileError, FormatError, ConfigError.
inline LlamaConfig read_config(const std::filesystem::path& path) {
  LlamaConfig config = parse_config(read_text(path), path.string());
  const std::filesystem::path generation = path.parent_path() / "generation_config.json";
  if (path_exists(generation)) parse_generation_config(read_text(generation), generation.string(), config);
  return config;
}

/// The text of a config.json for `config`; `stored` is the type of the weights beside it.
///
/// Written in transformers 4's keys (`rope_theta`, `rope_scaling`, `torch_dtype`): version 5 still reads them, version
/// 4 does not read version 5's, and writing both would state each fact twice.
inline std::string format_config(const LlamaConfig& config, DType stored) {
  config.validate();
  require<ConfigError>(stored == DType::F32 || stored == DType::BF16 || stored == DType::F64 || stored == DType::F16,
                       "format_config: weights are {}, expected a floating type", name_of(stored));
  require<ConfigError>(!config.qkv_bias || !config.qk_norm,
                       "format_config: qkv_bias and qk_norm are true, expected at most one: no model type of "
                       "transformers has both");
  const bool qwen = config.qkv_bias || config.qk_norm;
  const bool mistral = config.sliding_window > 0 && !qwen;  // transformers' llama knows no window
  nlohmann::ordered_json json;
  json["architectures"] = {config.qkv_bias  ? "Qwen2ForCausalLM"
                           : config.qk_norm ? "Qwen3ForCausalLM"
                           : mistral        ? "MistralForCausalLM"
                                            : "LlamaForCausalLM"};
  json["model_type"] = config.qkv_bias ? "qwen2" : config.qk_norm ? "qwen3" : mistral ? "mistral" : "llama";
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.layers;
  json["num_attention_heads"] = config.heads;
  json["num_key_value_heads"] = config.kv_heads;
  json["head_dim"] = config.head_dim;
  json["hidden_act"] = "silu";
  if (!mistral && !config.qkv_bias) json["attention_bias"] = false;
  if (!mistral && !qwen) json["mlp_bias"] = false;
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
  if (qwen) {
    json["use_sliding_window"] = config.sliding_window > 0;
    json["sliding_window"] = nullptr;
    if (config.sliding_window > 0) json["sliding_window"] = config.sliding_window;
    json["max_window_layers"] = config.sliding_window > 0 ? 0 : config.layers;  // the first layer with a window
  }
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
