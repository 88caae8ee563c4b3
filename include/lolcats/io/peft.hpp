// LoRA adapters in the layout of Python's peft: adapter_config.json and adapter_model.safetensors.
#pragma once

#include <lolcats/io/json.hpp>
#include <lolcats/io/safetensors_writer.hpp>
#include <lolcats/io/tensor_store.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

/// The two factors of an update: W + scale * b a.
struct LoraPair {
  Tensor<float> a;  ///< (R, in)
  Tensor<float> b;  ///< (out, R)
};

/// A LoRA adapter on disk (Hu et al. 2021, arXiv:2106.09685), for any modules of the base model.
struct PeftAdapter {
  Index rank = 0;
  double alpha = 0;
  double dropout = 0;
  std::vector<std::string> targets;         ///< last parts of module names: "q_proj"
  std::map<std::string, LoraPair> modules;  ///< by the base model's name: "model.layers.0.self_attn.q_proj"
  std::string target_text;                  ///< where the config has a text for the list: "all-linear", an expression
  bool rslora = false;                      ///< scaled by alpha / sqrt(rank): Kalajdzievski 2023, arXiv:2312.03732
  bool mixed_ranks = false;                 ///< modules may have ranks of their own (`rank_pattern`)
  std::map<std::string, double> alphas;     ///< of modules that have one of their own (`alpha_pattern`)
  std::string name = "adapter";             ///< its folder, for messages
  std::string base_fingerprint;             ///< of the base it was trained over; empty: the file does not say

  /// What the update of a module is multiplied with: alpha / rank, or alpha / sqrt(rank), of this module.
  double scale(const std::string& module) const {
    const auto own = alphas.find(module);
    const auto r = static_cast<double>(modules.at(module).a.shape()[0]);
    return (own == alphas.end() ? alpha : own->second) / (rslora ? std::sqrt(r) : r);
  }
};

namespace detail {

inline constexpr std::string_view peft_prefix = "base_model.model.";
inline constexpr std::string_view lora_suffix_a = ".lora_A.weight", lora_suffix_b = ".lora_B.weight";

/// peft's rule: a module is a target if its name ends in one, at a dot.
inline bool is_target(std::string_view module, std::string_view target) {
  if (module == target) return true;
  return module.size() > target.size() && module.ends_with(target) && module[module.size() - target.size() - 1] == '.';
}

/// Alphas of single modules: keys are names or last parts of names.  peft takes each for a regular expression; those
/// that are more than a name are refused, and so are two that contradict each other, since a JSON object has no order.
inline std::map<std::string, double> parse_alpha_pattern(JsonObject& object) {
  std::map<std::string, double> alphas;
  if (!object.is_on("alpha_pattern")) return alphas;
  const auto& pattern = object.at("alpha_pattern", "an object");
  if (!pattern.is_object()) object.wrong("alpha_pattern", pattern, "an object of numbers");
  for (const auto& [name, alpha] : pattern.items()) {
    const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
    });
    if (name.empty() || !plain || !alpha.is_number()) {
      object.wrong("alpha_pattern", pattern, "numbers by names of modules (regular expressions are not supported)");
    }
    alphas[name] = alpha.get<double>();
  }
  return alphas;
}

inline void parse_peft_config(JsonObject& object, PeftAdapter& adapter) {
  if (const std::string type = object.text("peft_type"); type != "LORA") object.wrong("peft_type", type, "'LORA'");
  adapter.rank = object.integer("r");
  if (adapter.rank < 1 || adapter.rank > INT32_MAX) object.wrong("r", adapter.rank, "a positive number");
  adapter.alpha = object.number("lora_alpha");
  adapter.dropout = object.number("lora_dropout", 0);
  if (!(adapter.dropout >= 0 && adapter.dropout < 1)) object.wrong("lora_dropout", adapter.dropout, "0 to below 1");
  if (object.has("bias") && object.text("bias") != "none") object.wrong("bias", object.text("bias"), "'none'");
  const auto& targets = object.at("target_modules", "a list of names or a text");
  if (targets.is_string()) {
    adapter.target_text = targets.get<std::string>();
  } else {
    for (const auto& target : targets) {
      if (!target.is_string()) object.wrong("target_modules", targets, "a list of names or a text");
      adapter.targets.push_back(target.get<std::string>());
    }
  }
  if (adapter.targets.empty() && adapter.target_text.empty()) {
    object.wrong("target_modules", targets, "a list of names or a text");
  }
  adapter.rslora = object.boolean("use_rslora", false);
  adapter.mixed_ranks = object.is_on("rank_pattern");  // the tensors say which rank is whose
  adapter.alphas = parse_alpha_pattern(object);        // by pattern as yet
  // Some ways to initialise also change the base weights (pissa, olora, corda, loftq): such an adapter is not
  // an update of the base model as it lies on disk.
  if (object.has("init_lora_weights")) {
    const auto& init = object.at("init_lora_weights", "true or false");
    const bool harmless = init.is_boolean() || init == "gaussian" || init == "orthogonal" || init == "eva";
    if (!harmless) object.wrong("init_lora_weights", init, "true, false, 'gaussian', 'orthogonal' or 'eva'");
  }
  // Where an adapter comes from and how it started; and which modules it has, which its tensors tell.
  object.ignore({"auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "eva_config", "exclude_modules",
                 "inference_mode", "layers_pattern", "layers_to_transform", "megatron_core", "peft_version",
                 "qalora_group_size", "rank_pattern", "revision", "task_type"});
  // Every other option (use_dora, fan_in_fan_out, modules_to_save, lora_bias, ...) must be off.
  object.require_all_read(true);
}

}  // namespace detail

/// Parses an adapter: the text of adapter_config.json, which messages call `file`, and the tensors beside it.
/// The factors may be borrowed from the tensors' file and must not be written.
///
/// Which modules are adapted is what the tensors say.  A list of `target_modules` must agree with them; a text there
/// ("all-linear", a regular expression) is kept, not interpreted.
/// Strict: an option that changes the mathematics, a module with one factor, a factor whose rank is not the config's
/// (or, with `rank_pattern`, not its partner's), a module that is no target, a target without a module and any other
/// tensor are errors.  Errors: FormatError, ConfigError, ShapeError.
inline PeftAdapter parse_peft(std::string_view config, const std::string& file, const Safetensors& tensors) {
  const nlohmann::json document = parse_json(config, file);
  JsonObject object(document, file);
  PeftAdapter adapter;
  detail::parse_peft_config(object, adapter);
  const std::map<std::string, double> alphas = std::exchange(adapter.alphas, {});

  const auto base = tensors.metadata().find("base_fingerprint");
  if (base != tensors.metadata().end()) adapter.base_fingerprint = base->second;
  TensorStore store{tensors};
  for (const std::string& name : store.names()) {
    if (!name.starts_with(detail::peft_prefix) || !name.ends_with(detail::lora_suffix_a)) continue;
    const std::string stem = name.substr(0, name.size() - detail::lora_suffix_a.size());
    if (stem.size() <= detail::peft_prefix.size()) continue;  // reported as surplus
    const std::string module = stem.substr(detail::peft_prefix.size());
    const auto matches = [&](const std::string& target) { return detail::is_target(module, target); };
    require<FormatError>(
        adapter.targets.empty() || std::any_of(adapter.targets.begin(), adapter.targets.end(), matches),
        "{}: tensor '{}' belongs to none of the target_modules {}", store.name(), shown(name),
        shown(document["target_modules"]));
    Index rank = adapter.rank;
    if (const auto& shape = store.info(name).shape; adapter.mixed_ranks && shape.size() == 2 && shape[0] > 0) {
      rank = shape[0];
    }
    const auto read = [&](const std::string& factor, int rank_axis) {
      const auto& shape = store.info(factor).shape;
      require<ShapeError>(shape.size() == 2 && shape[static_cast<std::size_t>(rank_axis)] == rank,
                          "{}: tensor '{}' has shape {}, expected {}", store.name(), shown(factor), to_string(shape),
                          rank_axis == 0 ? fmt::format("({}, in)", rank) : fmt::format("(out, {})", rank));
      return store.read<float>(factor);
    };
    adapter.modules[module] = {read(name, 0), read(stem + std::string(detail::lora_suffix_b), 1)};
    for (const auto& [pattern, alpha] : alphas) {
      if (!detail::is_target(module, pattern)) continue;
      const auto [entry, fresh] = adapter.alphas.try_emplace(module, alpha);
      require<ConfigError>(fresh || entry->second == alpha,
                           "{}: 'alpha_pattern' gives '{}' both {} and {}, expected one alpha", file, shown(module),
                           entry->second, alpha);
    }
  }
  store.require_all_read();
  require<FormatError>(!adapter.modules.empty(), "{}: holds no tensors of modules", store.name());
  for (const std::string& target : adapter.targets) {
    const auto matches = [&](const auto& entry) { return detail::is_target(entry.first, target); };
    require<FormatError>(std::any_of(adapter.modules.begin(), adapter.modules.end(), matches),
                         "{}: target_modules '{}' has no tensors", store.name(), shown(target));
  }
  return adapter;
}

/// Reads an adapter folder; see parse_peft.  Errors: FileError, too.
inline PeftAdapter read_peft(const std::filesystem::path& folder) {
  const std::filesystem::path config = folder / "adapter_config.json";
  PeftAdapter adapter =
      parse_peft(read_text(config), config.string(), Safetensors(folder / "adapter_model.safetensors"));
  adapter.name = folder.string();
  return adapter;
}

/// Writes an adapter folder that peft 0.12 and later load, the tensors as F32.
///
/// The config holds only keys that the oldest of these versions knows: it refuses unknown ones.  The base's fingerprint is
/// metadata of the tensors.
/// Errors: ShapeError for factors that do not fit `rank`; ConfigError, also for alphas of single modules; FileError.
inline void write_peft(const std::filesystem::path& folder, const PeftAdapter& adapter,
                       const std::string& base_model = "") {
  const bool targets = !adapter.targets.empty() || !adapter.target_text.empty();
  require<ConfigError>(adapter.rank > 0 && targets && !adapter.modules.empty(),
                       "write_peft: rank is {} with {} targets and {} modules, expected at least one of each",
                       adapter.rank, adapter.targets.size(), adapter.modules.size());
  require<ConfigError>(adapter.alphas.empty(), "write_peft: {} modules have alphas of their own, expected none",
                       adapter.alphas.size());
  std::vector<NamedTensor> tensors;
  for (const auto& [module, pair] : adapter.modules) {
    const auto check = [&, &module = module](const char* factor, const Shape& shape,
                                             int axis) {  // for Clang 15 and older
      require<ShapeError>(shape.rank() == 2 && shape[axis] == adapter.rank,
                          "write_peft: {} of {} has shape {}, expected {} rows or columns of rank {}", factor, module,
                          to_string(shape), adapter.rank, adapter.rank);
    };
    check("a", pair.a.shape(), 0);
    check("b", pair.b.shape(), 1);
    tensors.emplace_back(fmt::format("{}{}{}", detail::peft_prefix, module, detail::lora_suffix_a), pair.a);
    tensors.emplace_back(fmt::format("{}{}{}", detail::peft_prefix, module, detail::lora_suffix_b), pair.b);
  }
  nlohmann::ordered_json json;
  json["peft_type"] = "LORA";
  json["task_type"] = "CAUSAL_LM";
  json["base_model_name_or_path"] = nullptr;
  if (!base_model.empty()) json["base_model_name_or_path"] = base_model;
  json["r"] = adapter.rank;
  json["lora_alpha"] = adapter.alpha;
  if (adapter.alpha == std::floor(adapter.alpha) && std::abs(adapter.alpha) < 1e9) {
    json["lora_alpha"] = static_cast<Index>(adapter.alpha);  // peft declares an integer and takes both
  }
  json["lora_dropout"] = adapter.dropout;
  json["target_modules"] = adapter.targets;
  if (adapter.targets.empty()) json["target_modules"] = adapter.target_text;
  json["bias"] = "none";
  json["fan_in_fan_out"] = false;
  json["inference_mode"] = true;
  json["init_lora_weights"] = true;
  json["modules_to_save"] = nullptr;
  json["use_dora"] = false;
  json["use_rslora"] = adapter.rslora;
  create_folder(folder);
  std::map<std::string, std::string> metadata{{"format", "pt"}};
  if (!adapter.base_fingerprint.empty()) metadata["base_fingerprint"] = adapter.base_fingerprint;
  write_safetensors(folder / "adapter_model.safetensors", tensors, metadata);
  write_file_atomically(folder / "adapter_config.json", std::string_view(json.dump(2) + "\n"));
}

}  // namespace lolcats
