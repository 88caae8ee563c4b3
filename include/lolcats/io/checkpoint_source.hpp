// Which file of a folder is the model, before anything is read.
#pragma once

#include <lolcats/io/file.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
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

/// Is the file a GGUF file, by its name or its content?  Errors: FileError.
inline bool is_gguf_file(const std::filesystem::path& path) {
  return path.extension() == ".gguf" || detail::begins_with(path, "GGUF");
}

}  // namespace lolcats
