// The chat template that a model brings with it.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/data/chat.hpp>
#include <lolcats/data/text_encoder.hpp>
#include <lolcats/io/file.hpp>
#include <lolcats/io/gguf.hpp>
#include <lolcats/io/json.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace lolcats {

/// The Jinja text of a model: a folder's chat_template.jinja or what its tokenizer_config.json says, a .gguf file's own;
/// for another file, that of its folder.  Empty if there is none.  Throws FileError and FormatError for files that are
/// there and cannot be read.
inline std::string chat_template_text(const std::filesystem::path& model) {
  if (model.extension() == ".gguf") return Gguf(model).text("tokenizer.chat_template", "");
  const std::filesystem::path folder = is_folder(model) ? model : model.parent_path();
  if (path_exists(folder / "chat_template.jinja")) return read_text(folder / "chat_template.jinja");
  const std::filesystem::path path = folder / "tokenizer_config.json";
  if (!path_exists(path)) return {};
  const nlohmann::json config = parse_json(read_text(path), path.string());
  require<FormatError>(config.is_object(), "{}: is {}, expected an object", path.string(), config.type_name());
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return {};
  if (found->is_string()) return found->get<std::string>();
  // several by name: [{"name": "default", "template": "..."}, ...]
  for (const auto& item : *found)
    if (item.is_object() && item.value("name", nlohmann::json()) == "default" && item.contains("template") &&
        item["template"].is_string())
      return item["template"].get<std::string>();
  fail<FormatError>("{}: 'chat_template' is {}, expected a text, or a list with one of the name 'default'",
                    path.string(), found->type_name());
}

/// The template of a model, told by its own text, else by its tokenizer's special tokens; none if neither tells.
inline std::optional<ChatTemplate> chat_template_of_model(const std::filesystem::path& model,
                                                          const Tokenizer& tokenizer) {
  const std::string jinja = chat_template_text(model);
  return jinja.empty() ? recognise_chat_template(tokenizer) : recognise_chat_template(jinja);
}

}  // namespace lolcats
