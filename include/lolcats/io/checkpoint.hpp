// Opens a base model from whatever its path leads to.
#pragma once

#include <lolcats/io/gguf_model.hpp>
#include <lolcats/io/huggingface.hpp>
#include <lolcats/io/llama2c.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace lolcats {

namespace detail {

inline constexpr std::string_view known_checkpoints =
    "a Hugging Face folder, a .gguf file, a .safetensors file beside its config.json or a llama2.c .bin file";

/// The .gguf files of a folder, in ascending order.
inline std::vector<std::filesystem::path> gguf_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  std::error_code failure;
  for (std::filesystem::directory_iterator entry(folder, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    if (entry->path().extension() == ".gguf") files.push_back(entry->path());
  }
  require<FileError>(!failure, "{}: cannot list the folder: {}", folder.string(), failure.message());
  std::sort(files.begin(), files.end());
  return files;
}

/// The only .gguf file of a folder.
inline std::filesystem::path only_gguf(const std::filesystem::path& folder) {
  const std::vector<std::filesystem::path> files = gguf_files(folder);
  if (files.size() == 1) return files[0];
  for (const auto& [file, what] : {std::pair("adapter_config.json", "a PEFT adapter"),
                                   std::pair("lolcats.json", "what linearizing added to a base model")}) {
    require<ConfigError>(!path_exists(folder / file), "{}: holds {}, expected {}", folder.string(), what,
                         known_checkpoints);
  }
  std::string names;
  for (std::size_t i = 0; i < std::min<std::size_t>(files.size(), 8); ++i) {
    names += (i ? ", " : "") + files[i].filename().string();
  }
  require<FormatError>(files.size() < 2, "{}: holds {} .gguf files, expected the path of one: {}{}", folder.string(),
                       files.size(), names, files.size() > 8 ? ", ..." : "");
  fail<FormatError>("{}: holds no model.safetensors, no model.safetensors.index.json and no .gguf file, expected {}",
                    folder.string(), known_checkpoints);
}

/// Does the file begin with these bytes?
inline bool begins_with(const std::filesystem::path& path, std::string_view bytes) {
  return MappedFile(path).text().starts_with(bytes);
}

}  // namespace detail

/// The file that `open_checkpoint` reads: the only .gguf file of a folder without safetensors, otherwise the path.
///
/// Errors: FileError if there is nothing at the path, FormatError for a folder with no model or with several.
inline std::filesystem::path checkpoint_source(const std::filesystem::path& path) {
  require<FileError>(path_exists(path), "{}: does not exist, expected {}", path.string(), detail::known_checkpoints);
  const bool stored = path_exists(path / "model.safetensors") || path_exists(path / "model.safetensors.index.json");
  return is_folder(path) && !stored ? detail::only_gguf(path) : path;
}

/// Opens a Hugging Face folder, a .gguf file (by its content, under any name) or a folder with one, a .safetensors file
/// beside its config.json, or a llama2.c .bin file.  Errors: FileError, FormatError, ConfigError.
inline Checkpoint open_checkpoint(const std::filesystem::path& path) {
  const std::filesystem::path source = checkpoint_source(path);
  if (is_folder(source)) return open_huggingface(source);
  const std::string name = source.string(), extension = source.extension().string();
  if (extension == ".gguf" || detail::begins_with(source, "GGUF")) return open_gguf(source);
  const std::filesystem::path folder = source.parent_path();
  if (extension == ".bin") {
    require<FormatError>(!detail::begins_with(source, "PK"),
                         "{}: is a PyTorch checkpoint, expected {}; transformers' save_pretrained writes a folder",
                         name, detail::known_checkpoints);
    return open_llama2c(source);
  }
  require<FormatError>(extension == ".safetensors", "{}: is not a checkpoint, expected {}", name,
                       detail::known_checkpoints);
  require<FormatError>(name.find("-of-") == std::string::npos || !path_exists(folder / "model.safetensors.index.json"),
                       "{}: is one shard of a model, expected the folder {}", name, folder.string());
  require<FileError>(path_exists(folder / "config.json"), "{}: there is no config.json beside it", name);
  return {read_config(folder / "config.json"), open_tensors(source)};
}

}  // namespace lolcats
