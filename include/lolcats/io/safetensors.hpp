// Reads safetensors files: 8 bytes of header length, a JSON header, then the tensors' bytes.
#pragma once

#include <lolcats/io/file.hpp>
#include <lolcats/io/json.hpp>
#include <lolcats/io/stored_tensor.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lolcats {

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
    parse(bytes);
  }

  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  std::vector<std::string> names() const {
    std::vector<std::string> list;
    for (const auto& [name, info] : tensors_) list.push_back(name);
    return list;
  }

 private:
  explicit Safetensors(std::shared_ptr<const MappedFile> file) : Safetensors(file->bytes(), file->name(), file) {}

  void parse(std::span<const std::byte> file) {
    require<FormatError>(file.size() >= 8, "{}: holds {} bytes, expected at least the 8 of the header length", name_,
                         file.size());
    std::uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof length);
    require<FormatError>(length <= longest_header, "{}: header length is {}, expected at most {}", name_, length,
                         std::uint64_t{longest_header});
    require<FormatError>(length <= file.size() - 8, "{}: header length is {}, but only {} bytes follow", name_, length,
                         file.size() - 8);
    const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, static_cast<std::size_t>(length));
    const nlohmann::json header = parse_json(text, name_, 4);
    require<FormatError>(header.is_object(), "{}: the header is {}, expected an object", name_, shown(header));
    const auto data = file.subspan(8 + static_cast<std::size_t>(length));
    for (const auto& [key, value] : header.items()) {
      if (key == "__metadata__") {
        parse_metadata(value);
      } else {
        tensors_.emplace(key, parse_tensor(key, value, data));
      }
    }
    check_layout(data);
  }

  void parse_metadata(const nlohmann::json& value) {
    if (value.is_null()) return;  // the reference implementation takes null for none
    require<FormatError>(value.is_object(), "{}: __metadata__ is {}, expected an object", name_, shown(value));
    for (const auto& [key, text] : value.items()) {
      require<FormatError>(text.is_string(), "{}: __metadata__ '{}' is {}, expected a string", name_, shown(key),
                           shown(text));
      metadata_.emplace(key, text.get<std::string>());
    }
  }

  TensorInfo parse_tensor(const std::string& name, const nlohmann::json& value, std::span<const std::byte> data) const {
    const std::string where = fmt::format("{}: tensor '{}'", name_, shown(name));
    require<FormatError>(value.is_object(), "{} is {}, expected an object", where, shown(value));
    for (const auto& [key, unused] : value.items()) {
      require<FormatError>(key == "dtype" || key == "shape" || key == "data_offsets", "{} has the unknown field '{}'",
                           where, shown(key));
    }
    for (const char* key : {"dtype", "shape", "data_offsets"}) {
      require<FormatError>(value.contains(key), "{}: {} is missing", where, key);
    }
    TensorInfo info;
    info.name = name;
    info.dtype = parse_dtype(where, value["dtype"]);
    info.shape = parse_integers(where, "shape", value["shape"]);
    Index bytes = static_cast<Index>(size_of(info.dtype));
    for (const Index extent : info.shape) {
      require<FormatError>(!__builtin_mul_overflow(bytes, extent, &bytes), "{}: shape {} is too large to count", where,
                           shown(value["shape"]));
    }
    const std::vector<Index> offsets = parse_integers(where, "data_offsets", value["data_offsets"]);
    require<FormatError>(offsets.size() == 2, "{}: data_offsets {} are {} numbers, expected 2", where,
                         shown(value["data_offsets"]), offsets.size());
    const Index begin = offsets[0], end = offsets[1];
    require<FormatError>(begin <= end, "{}: data_offsets [{}, {}] runs backwards", where, begin, end);
    require<FormatError>(end <= static_cast<Index>(data.size()),
                         "{}: data_offsets [{}, {}] runs past the {} bytes of data", where, begin, end, data.size());
    require<FormatError>(end - begin == bytes,
                         "{}: data_offsets [{}, {}] spans {} bytes, expected {} for {} of shape {}", where, begin, end,
                         end - begin, bytes, name_of(info.dtype), shown(value["shape"]));
    info.bytes = data.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(bytes));
    return info;
  }

  static DType parse_dtype(const std::string& where, const nlohmann::json& value) {
    if (value.is_string()) {
      for (std::size_t i = 0; i < dtype_count; ++i) {
        if (value.get_ref<const std::string&>() == name_of(DType(i))) return DType(i);
      }
    }
    fail<FormatError>("{}: dtype is {}, expected one of {}", where, shown(value), dtype_names());
  }

  static std::string dtype_names() {
    std::string names;
    for (std::size_t i = 0; i < dtype_count; ++i) names.append(i ? ", " : "").append(name_of(DType(i)));
    return names;
  }

  static std::vector<Index> parse_integers(const std::string& where, const char* field, const nlohmann::json& value) {
    require<FormatError>(value.is_array(), "{}: {} is {}, expected a list of integers", where, field, shown(value));
    std::vector<Index> numbers;
    for (const auto& number : value) {
      require<FormatError>(number.is_number_unsigned() && number.get<std::uint64_t>() <= std::uint64_t{INT64_MAX},
                           "{}: {} holds {}, expected an integer from 0 to 2^63 - 1", where, field, shown(number));
      numbers.push_back(number.get<Index>());
    }
    return numbers;
  }

  /// Each tensor must begin where its predecessor ends, and the last must end with the file.
  void check_layout(std::span<const std::byte> data) const {
    std::vector<const TensorInfo*> order;
    for (const auto& [name, info] : tensors_) order.push_back(&info);
    const auto begin = [&](const TensorInfo* t) { return t->bytes.data() - data.data(); };
    const auto end = [&](const TensorInfo* t) { return begin(t) + std::ssize(t->bytes); };
    std::sort(order.begin(), order.end(), [&](const TensorInfo* a, const TensorInfo* b) {
      return std::pair(begin(a), end(a)) < std::pair(begin(b), end(b));
    });
    std::ptrdiff_t covered = 0;
    const TensorInfo* last = nullptr;
    for (const TensorInfo* tensor : order) {
      if (begin(tensor) < covered) {
        fail<FormatError>("{}: tensor '{}' at [{}, {}] overlaps tensor '{}' at [{}, {}]", name_, shown(tensor->name),
                          begin(tensor), end(tensor), shown(last->name), begin(last), covered);
      }
      require<FormatError>(begin(tensor) == covered, "{}: bytes [{}, {}] before tensor '{}' belong to no tensor", name_,
                           covered, begin(tensor), shown(tensor->name));
      covered = end(tensor);
      last = tensor;
    }
    require<FormatError>(covered == std::ssize(data), "{}: bytes [{}, {}] at the end belong to no tensor", name_,
                         covered, data.size());
  }

  std::map<std::string, std::string> metadata_;
};

}  // namespace lolcats
