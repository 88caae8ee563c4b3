// Reads safetensors files: 8 bytes of header length, a JSON header, then the tensors' bytes.
#pragma once

#include <lolcats/core/once.hpp>
#include <lolcats/io/file.hpp>
#include <lolcats/io/stored_tensor.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

namespace detail {

/// What stands in the header of a safetensors file.
struct SafetensorsHeader {
  std::map<std::string, TensorInfo, std::less<>> tensors;
  std::map<std::string, std::string> metadata;
};

/// The header of `file`, checked in full; `name` stands in messages.  Errors: FormatError.
LOLCATS_ONCE SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& name);

/// `text` as JSON writes it; `file` stands in messages.  Errors: FormatError for what is not UTF-8.
LOLCATS_ONCE std::string json_string(const std::string& text, const std::string& file);

}  // namespace detail

/// The tensors of one safetensors file.  The file is mapped, not loaded; a copy shares the mapping.
///
/// The header is untrusted.  It is checked in full when the file is opened: length, JSON, dtypes, shapes, and that
/// the tensors cover the data exactly, without overlaps or holes.  What a tensor's dtype can be read as is checked when
/// it is read.
/// Format: https://github.com/huggingface/safetensors#format.  Errors: FileError, FormatError.
class Safetensors : public StoredTensors {
 public:
  /// The limit of the format's reference implementation.
  static constexpr std::uint64_t longest_header = 100'000'000;

  explicit Safetensors(const std::filesystem::path& path) : Safetensors(std::make_shared<const MappedFile>(path)) {}

  /// Reads from memory, which `owner` keeps alive (without an owner: the caller).  `name` stands in messages.
  Safetensors(std::span<const std::byte> bytes, std::string name, std::shared_ptr<const void> owner = nullptr)
      : StoredTensors(std::move(name), std::move(owner)) {
    detail::SafetensorsHeader header = detail::parse_safetensors(bytes, name_);
    tensors_ = std::move(header.tensors);
    metadata_ = std::move(header.metadata);
  }

  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  std::vector<std::string> names() const {
    std::vector<std::string> list;
    for (const auto& [name, info] : tensors_) list.push_back(name);
    return list;
  }

 private:
  explicit Safetensors(std::shared_ptr<const MappedFile> file) : Safetensors(file->bytes(), file->name(), file) {}

  std::map<std::string, std::string> metadata_;
};

}  // namespace lolcats

#ifndef LOLCATS_COMPILED_KERNELS
#include <lolcats/io/safetensors_json.hpp>
#endif
