// Writes safetensors files, whole or not at all.
#pragma once

#include <lolcats/io/file.hpp>
#include <lolcats/io/safetensors.hpp>
#include <lolcats/io/stored_tensor.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace lolcats {

/// A tensor to be written.  `values` is borrowed and must outlive the writing.
struct NamedTensor {
  std::string name;
  std::variant<View<const float>, View<const double>, View<const bf16>, View<const std::int64_t>> values;
  DType dtype;  ///< as stored: F64, F32 or BF16 for floating values (rounding to nearest), I64 for integers

  /// Stored as it is in memory.
  template <class T>
  NamedTensor(std::string label, View<const T> view) : NamedTensor(std::move(label), view, dtype_of<T>) {}
  template <class T>
  NamedTensor(std::string label, View<const T> view, DType stored)
      : name(std::move(label)), values(view), dtype(stored) {}
  template <class T>
  NamedTensor(std::string label, const Tensor<T>& tensor) : NamedTensor(std::move(label), tensor.view()) {}
  template <class T>
  NamedTensor(std::string label, const Tensor<T>& tensor, DType stored)
      : NamedTensor(std::move(label), tensor.view(), stored) {}

  const Shape& shape() const {
    return std::visit([](const auto& view) -> const Shape& { return view.shape; }, values);
  }
};

namespace detail {

/// Writes `view` as elements of `To`, a block at a time.
template <class To, class From>
void write_values(FileWriter& writer, View<const From> view) {
  if constexpr (std::is_same_v<To, From>) {
    writer.write(std::as_bytes(view.span()));
  } else {
    constexpr Index block = 1 << 16;
    std::vector<To> buffer(static_cast<std::size_t>(std::min(block, view.size())));
    for (Index first = 0; first < view.size(); first += block) {
      const Index count = std::min(block, view.size() - first);
      for (Index i = 0; i < count; ++i) buffer[static_cast<std::size_t>(i)] = convert_value<To>(view.data[first + i]);
      writer.write(std::as_bytes(std::span(buffer).first(static_cast<std::size_t>(count))));
    }
  }
}

inline void write_values(FileWriter& writer, const NamedTensor& tensor) {
  std::visit(
      [&]<class From>(View<const From> view) {
        if constexpr (is_real<From>) {
          if (tensor.dtype == DType::F64) return write_values<double>(writer, view);
          if (tensor.dtype == DType::F32) return write_values<float>(writer, view);
          return write_values<bf16>(writer, view);
        } else {
          return write_values<From>(writer, view);
        }
      },
      tensor.values);
}

}  // namespace detail

/// Writes `tensors` and `metadata` to `path`, replacing an older file in one step.
///
/// Wider types come first and the header is padded with spaces to a multiple of 8, so that every tensor can be
/// borrowed from a mapping.  The default metadata is what transformers asks for.
/// Errors: FormatError for equal names or a dtype that the values cannot take; FileError.
inline void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                              const std::map<std::string, std::string>& metadata = {{"format", "pt"}}) {
  const std::string file = path.string();
  std::vector<const NamedTensor*> order;
  for (const NamedTensor& tensor : tensors) {
    const bool integers = std::holds_alternative<View<const std::int64_t>>(tensor.values);
    const bool writable =
        integers ? tensor.dtype == DType::I64 : detail::is_real_type(tensor.dtype) && tensor.dtype != DType::F16;
    require<FormatError>(writable, "{}: tensor '{}' cannot be written as {}, expected {}", file, tensor.name,
                         name_of(tensor.dtype), integers ? "I64" : "F64, F32 or BF16");
    require<FormatError>(tensor.name != "__metadata__", "{}: no tensor can be named '__metadata__'", file);
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    const std::size_t wide_a = size_of(a->dtype), wide_b = size_of(b->dtype);
    return wide_a != wide_b ? wide_a > wide_b : a->name < b->name;
  });

  std::string text = "{";
  const auto add = [&](const std::string& name, const std::string& value) {
    if (text.size() > 1) text += ',';
    (text += detail::json_string(name, file)).append(":").append(value);
  };
  if (!metadata.empty()) {
    std::vector<std::string> fields;
    for (const auto& [key, value] : metadata) {
      fields.push_back(detail::json_string(key, file) + ":" + detail::json_string(value, file));
    }
    add("__metadata__", fmt::format("{{{}}}", fmt::join(fields, ",")));
  }
  std::set<std::string_view> names;
  Index begin = 0;
  for (const NamedTensor* tensor : order) {
    require<FormatError>(names.insert(tensor->name).second, "{}: two tensors are named '{}'", file, tensor->name);
    std::vector<Index> extents;
    for (int i = 0; i < tensor->shape().rank(); ++i) extents.push_back(tensor->shape()[i]);
    const Index end = begin + tensor->shape().size() * static_cast<Index>(size_of(tensor->dtype));
    add(tensor->name, fmt::format(R"({{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", name_of(tensor->dtype),
                                  fmt::join(extents, ","), begin, end));
    begin = end;
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');

  write_file_atomically(path, [&](FileWriter& writer) {
    const std::uint64_t length = text.size();
    writer.write(std::as_bytes(std::span(&length, 1)));
    writer.write(text);
    for (const NamedTensor* tensor : order) detail::write_values(writer, *tensor);
  });
}

}  // namespace lolcats
