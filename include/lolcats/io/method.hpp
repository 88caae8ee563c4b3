// What linearizing adds to a base model, on disk: feature maps, window factors and the name of their method.
#pragma once

#include <lolcats/io/json.hpp>
#include <lolcats/io/safetensors_writer.hpp>
#include <lolcats/io/tensor_store.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace lolcats {

/// A linearized checkpoint's own part.  The base model and the adapter lie in their own formats.
struct MethodCheckpoint {
  std::string method;     ///< the readable name of the model's type
  std::vector<Index> attention_of_layer;  ///< where layers differ (PerLayer), the index of each one's attention
  nlohmann::json recipe;  ///< how it was made; free-form, not interpreted
  std::string base;       ///< fingerprint of the base it was made over; empty: the file does not say
  TensorStore maps;
};

namespace detail {

inline constexpr const char* method_config = "lolcats.json";
inline constexpr const char* method_tensors = "lolcats.safetensors";
inline constexpr Index method_version = 1;
inline constexpr const char* base_fingerprint = "base_fingerprint";  // in lolcats.json and in metadata of tensors
inline constexpr const char* method_layers = "attention_of_layer";

/// "0 1 1".
inline std::string list_text(const std::vector<Index>& list) { return fmt::format("{}", fmt::join(list, " ")); }

/// Reads lolcats.json and checks its format and version.
inline nlohmann::json read_method_json(const std::filesystem::path& folder) {
  const std::string file = (folder / method_config).string();
  nlohmann::json document = parse_json(read_text(folder / method_config), file);
  JsonObject object(document, file);
  if (const auto format = object.text("format"); format != "lolcats") object.wrong("format", format, "'lolcats'");
  if (const Index version = object.integer("version"); version != method_version) {
    object.wrong("version", version, fmt::format("{}", Index{method_version}));
  }
  object.text("method");
  if (document.contains(base_fingerprint)) object.text(base_fingerprint);
  if (object.has(method_layers)) {
    const auto& list = object.at(method_layers, "a list of integers");
    const bool integers = list.is_array() && !list.empty() && std::ranges::all_of(list, [](const auto& x) { return x.is_number_unsigned() && x.template get<std::uint64_t>() < 256; });
    if (!integers) object.wrong(method_layers, list, "a list of small integers, one per layer");
  }
  return document;
}

}  // namespace detail

/// The method that a folder was made with, so that a program can choose the type.
/// Errors: FileError, FormatError, ConfigError.
inline std::string stored_method(const std::filesystem::path& folder) {
  return detail::read_method_json(folder)["method"].get<std::string>();
}

/// Everything lolcats.json says: the method, and the recipe it was written with.
/// Errors: FileError, FormatError, ConfigError.
inline nlohmann::json stored_recipe(const std::filesystem::path& folder) { return detail::read_method_json(folder); }

/// Opens a folder that `write_method` wrote.
///
/// Errors: ConfigError "checkpoint of another method" unless its method is `method`; FileError, FormatError.  The
/// caller reads every tensor with its shape and ends with `maps.require_all_read()`.
inline MethodCheckpoint read_method(const std::filesystem::path& folder, std::string_view method) {
  const std::string file = (folder / detail::method_config).string();
  nlohmann::json recipe = detail::read_method_json(folder);
  const std::string stored = recipe["method"].get<std::string>();
  require<ConfigError>(stored == method, "{}: checkpoint of another method: 'method' is '{}', expected '{}'", file,
                       shown(stored), method);
  const Safetensors tensors(folder / detail::method_tensors);
  // The tensors repeat the method: two interrupted writes could leave one's json beside the other's tensors.
  const auto repeated = tensors.metadata().find("method");
  const std::string inside = repeated == tensors.metadata().end() ? "missing" : repeated->second;
  require<ConfigError>(inside == method,
                       "{}: checkpoint of another method: __metadata__ 'method' is '{}', expected '{}'", tensors.name(),
                       shown(inside), method);
  const std::string base = recipe.value(detail::base_fingerprint, "");
  const auto made_over = tensors.metadata().find(detail::base_fingerprint);
  const std::string repeated_base = made_over == tensors.metadata().end() ? "" : made_over->second;
  require<ConfigError>(base == repeated_base,
                       "{}: checkpoint of two writes: '{}' is '{}', but in {} it is '{}'; write it again", file,
                       detail::base_fingerprint, shown(base), tensors.name(), shown(repeated_base));
  std::vector<Index> layers;
  if (const auto found = recipe.find(detail::method_layers); found != recipe.end() && !found->is_null()) layers = found->get<std::vector<Index>>();
  const auto again = tensors.metadata().find(detail::method_layers);
  const std::string there = again == tensors.metadata().end() ? "" : again->second;
  require<ConfigError>(there == detail::list_text(layers), "{}: __metadata__ '{}' is '{}', expected '{}' as {} has it", tensors.name(),
                       detail::method_layers, shown(there), detail::list_text(layers), file);
  for (const char* key : {"format", "version", "method", detail::method_layers, detail::base_fingerprint}) recipe.erase(key);
  return {stored, std::move(layers), std::move(recipe), base, TensorStore(tensors)};
}

/// Writes lolcats.safetensors, then lolcats.json: {"format": "lolcats", "version": 1, "method": method,
/// "base_fingerprint": base, ...recipe}; an empty base is left out.
///
/// `recipe` is an object without these four keys and "attention_of_layer", which is written where the list is not empty.
/// Errors: ConfigError, FormatError, FileError.
inline void write_method(const std::filesystem::path& folder, const std::string& method,
                         const std::vector<NamedTensor>& tensors,
                         const nlohmann::json& recipe = nlohmann::json::object(),
                         const std::vector<Index>& attention_of_layer = {}, const std::string& base = "") {
  require<ConfigError>(recipe.is_object(), "write_method: the recipe is {}, expected an object", shown(recipe));
  nlohmann::ordered_json json = {{"format", "lolcats"}, {"version", Index{detail::method_version}}, {"method", method}};
  std::map<std::string, std::string> metadata{{"format", "pt"}, {"method", method}};
  if (!attention_of_layer.empty()) {
    json[detail::method_layers] = attention_of_layer;
    metadata[detail::method_layers] = detail::list_text(attention_of_layer);
  }
  if (!base.empty()) json[detail::base_fingerprint] = metadata[detail::base_fingerprint] = base;
  for (const auto& [key, value] : recipe.items()) {
    const bool reserved = json.contains(key) || key == detail::method_layers || key == detail::base_fingerprint;
    require<ConfigError>(!reserved, "write_method: the recipe holds the reserved key '{}'", key);
    json[key] = value;
  }
  create_folder(folder);
  write_safetensors(folder / detail::method_tensors, tensors, metadata);
  write_file_atomically(folder / detail::method_config, std::string_view(json.dump(2) + "\n"));
}

}  // namespace lolcats
