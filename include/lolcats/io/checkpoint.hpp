// Opens a base model from whatever its path leads to.
#pragma once

#include <lolcats/io/huggingface.hpp>
#include <lolcats/io/llama2c.hpp>

#include <string>

namespace lolcats {

/// A folder is a Hugging Face checkpoint, a .safetensors file one beside its config.json, and a .bin file a llama2.c
/// checkpoint.  Errors: FileError, FormatError, ConfigError.
inline Checkpoint open_checkpoint(const std::filesystem::path& path) {
  require<FileError>(path_exists(path), "{}: does not exist", path.string());
  if (is_folder(path)) return open_huggingface(path);
  if (path.extension() == ".bin") return open_llama2c(path);
  require<FormatError>(path.extension() == ".safetensors",
                       "{}: is not a checkpoint, expected a folder, a .safetensors file or a llama2.c .bin file",
                       path.string());
  return {read_config(path.parent_path() / "config.json"), open_tensors(path)};
}

}  // namespace lolcats
