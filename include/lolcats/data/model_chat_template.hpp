// The chat template that a model brings with it.
#pragma once

#include <lolcats/data/chat.hpp>
#include <lolcats/io/file.hpp>
#include <lolcats/io/gguf.hpp>
#include <lolcats/io/json.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace lolcats {

/// What the files of a model say about chats: chat_template.jinja or tokenizer_config.json of a folder (also beside a
/// .safetensors), tokenizer.chat_template of a .gguf.  None where they say nothing; then the tokenizer's special tokens
/// may tell (text_encoder.hpp).
///
/// Templates are recognised by their text, not run.  Errors: ConfigError naming the file for a template that is not
/// among those known; FileError, FormatError.
inline std::optional<ChatTemplate> chat_template_of_model(const std::filesystem::path& model) {
  std::string jinja, file;
  if (!is_folder(model) && model.extension() == ".gguf") {
    const Gguf gguf(model);
    if (gguf.has("tokenizer.chat_template")) jinja = gguf.text("tokenizer.chat_template");
    file = gguf.name();
  } else {
    const std::filesystem::path folder = is_folder(model) ? model : model.parent_path();
    const std::filesystem::path own = folder / "chat_template.jinja", config = folder / "tokenizer_config.json";
    if (path_exists(own)) {
      file = own.string();
      jinja = read_text(own);
    } else if (model.extension() != ".bin" && path_exists(config)) {
      file = config.string();
      const nlohmann::json document = parse_json(read_text(config), file);
      const auto found = document.is_object() ? document.find("chat_template") : document.end();
      if (found != document.end() && found->is_string()) jinja = found->get<std::string>();
    }
  }
  if (jinja.empty()) return {};
  const auto known = recognise_chat_template(jinja);
  require<ConfigError>(known.has_value(), "{}: its chat template is not among those known; name one", file);
  return known;
}

}  // namespace lolcats
