// Opens a tokenizer of any kind.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/io/checkpoint_source.hpp>
#include <lolcats/io/file.hpp>
#include <lolcats/io/gguf.hpp>
#include <lolcats/tokenizer/gguf.hpp>
#include <lolcats/tokenizer/llama2c_file.hpp>
#include <lolcats/tokenizer/notes.hpp>
#include <lolcats/tokenizer/sentencepiece.hpp>
#include <lolcats/tokenizer/tiktoken.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>
#include <lolcats/tokenizer/tokenizer_json.hpp>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace lolcats {

/// Opens the tokenizer that `path` names:
///
///   a folder            its tokenizer.json, else its tokenizer.model
///   tokenizer.json      Hugging Face's; BOS and EOS as the files beside it say (tokenizer_config.json and others)
///   tokenizer.model     tiktoken's ranks (Llama 3) or sentencepiece's (Llama 2), told apart by what is in it
///   NAME.gguf           the one inside of it
///   NAME.bin            llama2.c's
///
/// Throws FileError, FormatError, and ConfigError for what is not supported, naming file and part.
inline std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& path) {
  if (is_folder(path)) {
    for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
      if (path_exists(path / name)) return open_tokenizer(path / name);
    }
    fail<ConfigError>("{}: holds neither tokenizer.json nor tokenizer.model", path.string());
  }
  const auto file = std::make_shared<const MappedFile>(path);
  const std::string_view text = file->text();
  const std::string& name = file->name();
  require<FormatError>(!text.starts_with("version https://git-lfs"),
                       "{}: is a Git LFS pointer instead of the file; 'git lfs pull' fetches it", name);
  if (Gguf::recognizes(file->bytes())) return gguf_tokenizer(Gguf(file->bytes(), name, file));
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (path.extension() == ".json" || (first != std::string_view::npos && text[first] == '{')) {
    const bool has_company = path.filename() == "tokenizer.json";
    const std::filesystem::path folder = path.parent_path().empty() ? "." : path.parent_path();
    return parse_tokenizer_json(text, name, has_company ? read_tokenizer_notes(folder) : TokenizerNotes{});
  }
  if (looks_like_tiktoken(text)) return parse_tiktoken(text, name);
  if (path.extension() == ".bin")
    return std::make_unique<Llama2cTokenizer>(parse_llama2c_tokenizer(file->bytes(), 0, name));
  if (text.starts_with('\n')) return make_sentencepiece(text, name);
  fail<FormatError>(
      "{}: is no tokenizer of a kind that is known: tokenizer.json, ranks of tiktoken, a sentencepiece "
      "model, GGUF, llama2.c's .bin",
      name);
}

/// Where a model keeps its tokenizer: a folder and a GGUF file themselves, a .safetensors in its folder, a folder without a
/// tokenizer of its own in its only .gguf file.  Throws ConfigError for a model that has none, as llama2.c's .bin.
inline std::filesystem::path tokenizer_of_model(const std::filesystem::path& model) {
  if (is_folder(model)) {
    const bool own = path_exists(model / "tokenizer.json") || path_exists(model / "tokenizer.model");
    return own ? model : checkpoint_source(model);
  }
  if (model.extension() == ".safetensors" || model.filename().string().ends_with(".safetensors.index.json"))
    return model.parent_path().empty() ? "." : model.parent_path();
  if (is_gguf_file(model)) return model;
  fail<ConfigError>("{}: a model of this kind has no tokenizer; name one", model.string());
}

/// Throws ConfigError if the tokenizer has tokens that the model does not know.  It may have fewer: models round their
/// vocabulary up.
inline void check_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& tokenizer_file, Index vocab_size,
                            const std::filesystem::path& model_file) {
  require<ConfigError>(tokenizer.vocab_size() <= vocab_size,
                       "the tokenizer {} has {} tokens, but the model {} knows {}: it is another model's",
                       tokenizer_file.string(), tokenizer.vocab_size(), model_file.string(), vocab_size);
}

}  // namespace lolcats
