// Opens a base model from whatever its path leads to.
#pragma once

#include <lolcats/io/checkpoint_source.hpp>
#include <lolcats/io/gguf_model.hpp>
#include <lolcats/io/huggingface.hpp>
#include <lolcats/io/llama2c.hpp>

#include <string>

namespace lolcats {

/// Opens a Hugging Face folder, a .gguf file (by its content, under any name) or a folder with one, a .safetensors file
/// beside its config.json, or a llama2.c .bin file.  Errors: FileError, FormatError, ConfigError.
inline Checkpoint open_checkpoint(const std::filesystem::path& path) {
  const std::filesystem::path source = checkpoint_source(path);
  if (is_folder(source)) return open_huggingface(source);
  const std::string name = source.string(), extension = source.extension().string();
  if (is_gguf_file(source)) return open_gguf(source);
  const std::filesystem::path folder = source.parent_path();
  if (extension == ".bin") {
    require<FormatError>(!detail::begins_with(source, "PK"),
                         "{}: is a PyTorch checkpoint, expected {}; transformers' save_pretrained writes a folder",
                         name, detail::known_checkpoints);
    return open_llama2c(source);
  }
  require<FormatError>(extension == ".safetensors", "{}: is not a checkpoint, expected {}", name,
                       detail::known_checkpoints);
  const bool sharded = path_exists(folder / "model.safetensors.index.json");
  require<FormatError>(!sharded || source.filename().string().find("-of-") == std::string::npos,
                       "{}: is one shard of a model, expected its folder {}", name,
                       folder.empty() ? "." : folder.string());
  require<FileError>(path_exists(folder / "config.json"), "{}: there is no config.json beside it", name);
  return {read_config(folder / "config.json"), open_tensors(source)};
}

}  // namespace lolcats
