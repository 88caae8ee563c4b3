// Hugging Face model directories: config.json and one or several safetensors files.
#pragma once

#include <lolcats/io/hf_config.hpp>
#include <lolcats/io/safetensors_writer.hpp>
#include <lolcats/io/tensor_store.hpp>

#include <map>
#include <string>
#include <vector>

namespace lolcats {

/// The tensors of a sharded checkpoint, by its model.safetensors.index.json.
///
/// The index is untrusted: a shard is a plain file name of the same folder, every tensor of `weight_map` must be in the
/// shard it names, and no shard may hold a tensor that the index does not name.  Errors: FileError, FormatError.
inline TensorStore open_sharded_tensors(const std::filesystem::path& index) {
  const std::string file = index.string();
  const nlohmann::json document = parse_json(read_text(index), file);
  require<FormatError>(document.is_object() && document.contains("weight_map") && document["weight_map"].is_object(),
                       "{}: weight_map is missing, expected an object", file);
  std::map<std::string, std::vector<std::string>> shards;  // shard -> its tensors
  for (const auto& [tensor, shard] : document["weight_map"].items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    const bool plain = !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
                       name.find('\\') == std::string::npos && name.find('\0') == std::string::npos;
    require<FormatError>(plain, "{}: weight_map '{}' is {}, expected the name of a file in the same folder", file,
                         shown(tensor), shown(shard));
    shards[name].push_back(tensor);
  }
  TensorStore store(file);
  for (const auto& [name, listed] : shards) {
    const std::filesystem::path path = index.parent_path() / name;
    require<FileError>(path_exists(path), "{}: weight_map names the shard '{}', which does not exist", file,
                       shown(name));
    const Safetensors shard(path);
    for (const std::string& tensor : listed) {
      require<FormatError>(shard.contains(tensor), "{}: tensor '{}' is missing, expected as {} says", shard.name(),
                           shown(tensor), file);
    }
    for (const auto& [tensor, info] : shard.tensors()) {
      const auto& map = document["weight_map"];
      require<FormatError>(map.contains(tensor) && map[tensor] == name, "{}: tensor '{}' is not listed in {}",
                           shard.name(), shown(tensor), file);
    }
    store.add(shard);
  }
  return store;
}

/// The tensors of one safetensors file, of a folder with model.safetensors, or of a folder with
/// model.safetensors.index.json; the single file comes first, as in transformers.  Errors: FileError, FormatError.
inline TensorStore open_tensors(const std::filesystem::path& path) {
  if (!is_folder(path)) return TensorStore(Safetensors(path));
  if (path_exists(path / "model.safetensors")) return TensorStore(Safetensors(path / "model.safetensors"));
  const std::filesystem::path index = path / "model.safetensors.index.json";
  require<FileError>(path_exists(index), "{}: holds neither model.safetensors nor model.safetensors.index.json",
                     path.string());
  return open_sharded_tensors(index);
}

/// Reads the config and opens the tensors of a folder.  Errors: FileError, FormatError, ConfigError.
inline Checkpoint open_huggingface(const std::filesystem::path& folder) {
  return {read_config(folder / "config.json"), open_tensors(folder)};
}

/// Writes a folder that `open_huggingface` and transformers load.
///
/// `tensors` bear Hugging Face's names; with tied embeddings leave "lm_head.weight" out.  Each file is written whole or
/// not at all, the weights first.  Errors: ConfigError, FormatError, FileError.
inline void write_huggingface(const std::filesystem::path& folder, const LlamaConfig& config,
                              const std::vector<NamedTensor>& tensors) {
  const DType stored = tensors.empty() ? DType::F32 : tensors.front().dtype;
  const std::string text = format_config(config, stored);  // before anything is written
  create_folder(folder);
  write_safetensors(folder / "model.safetensors", tensors);
  write_file_atomically(folder / "config.json", std::string_view(text));
}

}  // namespace lolcats
