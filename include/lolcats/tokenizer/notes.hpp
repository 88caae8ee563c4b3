// What the files beside a tokenizer.json say about its special tokens.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/io/file.hpp>
#include <lolcats/io/json.hpp>
#include <lolcats/tokenizer/tokenizer_json.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace lolcats {

namespace detail {

/// "<s>", or {"content": "<s>", ...}; nothing for null.
inline std::optional<std::string> token_name(JsonObject& object, const char* key) {
  if (!object.has(key)) return std::nullopt;
  const nlohmann::json& value = object.at(key, "a token");
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_object() || !value.contains("content") || !value["content"].is_string())
    object.wrong(key, value, "a token");
  return value["content"].get<std::string>();
}

/// An id, or the first of several; nothing for null.
inline std::optional<Index> token_id(JsonObject& object, const char* key) {
  if (!object.has(key)) return std::nullopt;
  const nlohmann::json* value = &object.at(key, "an id");
  if (value->is_array() && !value->empty()) value = &(*value)[0];
  if (!value->is_number_unsigned()) object.wrong(key, *value, "an id or a list of ids");
  return value->get<Index>();
}

}  // namespace detail

/// Reads tokenizer_config.json, special_tokens_map.json, config.json and generation_config.json, those that are there; an
/// earlier one has the last word.  Throws FormatError, and ConfigError for `add_eos_token`, which is not supported.
inline TokenizerNotes read_tokenizer_notes(const std::filesystem::path& folder) {
  TokenizerNotes notes;
  const auto read = [&](const char* name, auto&& f) {
    const std::filesystem::path path = folder / name;
    if (!path_exists(path)) return;
    const nlohmann::json document = parse_json(MappedFile(path).text(), path.string());
    JsonObject object(document, path.string());
    f(object, document);
  };
  const auto names = [&](JsonObject& object, const nlohmann::json& document) {
    if (!notes.names_bos && document.contains("bos_token")) {
      notes.names_bos = true;
      notes.bos = detail::token_name(object, "bos_token");
      notes.file = object.file();
    }
    if (!notes.eos) {
      notes.eos = detail::token_name(object, "eos_token");
      if (notes.eos) notes.file = object.file();
    }
  };
  read("tokenizer_config.json", [&](JsonObject& object, const nlohmann::json& document) {
    names(object, document);
    if (object.has("add_bos_token")) notes.adds_bos = object.boolean("add_bos_token");
    require<ConfigError>(!object.boolean("add_eos_token", false), "{}: 'add_eos_token' is true, which is not supported",
                         object.file());
  });
  read("special_tokens_map.json", names);
  for (const char* name : {"config.json", "generation_config.json"}) {
    read(name, [&](JsonObject& object, const nlohmann::json&) {
      if (!notes.bos_id) notes.bos_id = detail::token_id(object, "bos_token_id");
      if (!notes.eos_id) notes.eos_id = detail::token_id(object, "eos_token_id");
    });
  }
  return notes;
}

}  // namespace lolcats
