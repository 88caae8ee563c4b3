// The JSON header of safetensors files.  lolcats::kernels holds it, so that units that link that do not read JSON's headers.
#pragma once

#include <lolcats/io/json.hpp>
#include <lolcats/io/safetensors.hpp>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace lolcats::detail {

inline std::map<std::string, std::string> parse_metadata(const nlohmann::json& value, const std::string& name) {
  std::map<std::string, std::string> metadata;
  if (value.is_null()) return metadata;  // the reference implementation takes null for none
  require<FormatError>(value.is_object(), "{}: __metadata__ is {}, expected an object", name, shown(value));
  for (const auto& [key, text] : value.items()) {
    require<FormatError>(text.is_string(), "{}: __metadata__ '{}' is {}, expected a string", name, shown(key),
                         shown(text));
    metadata.emplace(key, text.get<std::string>());
  }
  return metadata;
}

inline std::string dtype_names() {
  std::string names;
  for (std::size_t i = 0; i < dtype_count; ++i) names.append(i ? ", " : "").append(name_of(DType(i)));
  return names;
}

inline DType parse_dtype(const std::string& where, const nlohmann::json& value) {
  if (value.is_string()) {
    for (std::size_t i = 0; i < dtype_count; ++i) {
      if (value.get_ref<const std::string&>() == name_of(DType(i))) return DType(i);
    }
  }
  fail<FormatError>("{}: dtype is {}, expected one of {}", where, shown(value), dtype_names());
}

inline std::vector<Index> parse_integers(const std::string& where, const char* field, const nlohmann::json& value) {
  require<FormatError>(value.is_array(), "{}: {} is {}, expected a list of integers", where, field, shown(value));
  std::vector<Index> numbers;
  for (const auto& number : value) {
    require<FormatError>(number.is_number_unsigned() && number.get<std::uint64_t>() <= std::uint64_t{INT64_MAX},
                         "{}: {} holds {}, expected an integer from 0 to 2^63 - 1", where, field, shown(number));
    numbers.push_back(number.get<Index>());
  }
  return numbers;
}

inline TensorInfo parse_tensor(const std::string& tensor, const nlohmann::json& value, std::span<const std::byte> data, const std::string& name) {
  const std::string where = fmt::format("{}: tensor '{}'", name, shown(tensor));
  require<FormatError>(value.is_object(), "{} is {}, expected an object", where, shown(value));
  for (const auto& [key, unused] : value.items()) {
    require<FormatError>(key == "dtype" || key == "shape" || key == "data_offsets", "{} has the unknown field '{}'",
                         where, shown(key));
  }
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    require<FormatError>(value.contains(key), "{}: {} is missing", where, key);
  }
  TensorInfo info;
  info.name = tensor;
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

/// Each tensor must begin where its predecessor ends, and the last must end with the file.
inline void check_layout(const std::map<std::string, TensorInfo, std::less<>>& tensors, std::span<const std::byte> data, const std::string& file) {
  std::vector<const TensorInfo*> order;
  for (const auto& [name, info] : tensors) order.push_back(&info);
  const auto begin = [&](const TensorInfo* t) { return t->bytes.data() - data.data(); };
  const auto end = [&](const TensorInfo* t) { return begin(t) + std::ssize(t->bytes); };
  std::sort(order.begin(), order.end(), [&](const TensorInfo* a, const TensorInfo* b) {
    return std::pair(begin(a), end(a)) < std::pair(begin(b), end(b));
  });
  std::ptrdiff_t covered = 0;
  const TensorInfo* last = nullptr;
  for (const TensorInfo* tensor : order) {
    if (begin(tensor) < covered) {
      fail<FormatError>("{}: tensor '{}' at [{}, {}] overlaps tensor '{}' at [{}, {}]", file, shown(tensor->name),
                        begin(tensor), end(tensor), shown(last->name), begin(last), covered);
    }
    require<FormatError>(begin(tensor) == covered, "{}: bytes [{}, {}] before tensor '{}' belong to no tensor", file,
                         covered, begin(tensor), shown(tensor->name));
    covered = end(tensor);
    last = tensor;
  }
  require<FormatError>(covered == std::ssize(data), "{}: bytes [{}, {}] at the end belong to no tensor", file,
                       covered, data.size());
}

LOLCATS_ONCE SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& name) {
  SafetensorsHeader parsed;
  require<FormatError>(file.size() >= 8, "{}: holds {} bytes, expected at least the 8 of the header length", name,
                       file.size());
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  require<FormatError>(length <= Safetensors::longest_header, "{}: header length is {}, expected at most {}", name, length,
                       std::uint64_t{Safetensors::longest_header});
  require<FormatError>(length <= file.size() - 8, "{}: header length is {}, but only {} bytes follow", name, length,
                       file.size() - 8);
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, static_cast<std::size_t>(length));
  const nlohmann::json header = parse_json(text, name, 4);
  require<FormatError>(header.is_object(), "{}: the header is {}, expected an object", name, shown(header));
  const auto data = file.subspan(8 + static_cast<std::size_t>(length));
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__") {
      parsed.metadata = parse_metadata(value, name);
    } else {
      parsed.tensors.emplace(key, parse_tensor(key, value, data, name));
    }
  }
  check_layout(parsed.tensors, data, name);
  return parsed;
}

LOLCATS_ONCE std::string json_string(const std::string& text, const std::string& file) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail<FormatError>("{}: a name or a metadata text is not valid UTF-8", file);
  }
}

}  // namespace lolcats::detail
