// A tensor as it lies in a file, and its conversion into a Tensor.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/parallel.hpp>
#include <lolcats/io/ggml_blocks.hpp>
#include <lolcats/tensor/dtype.hpp>
#include <lolcats/tensor/tensor.hpp>

#include <bit>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace lolcats {

static_assert(std::endian::native == std::endian::little, "the file formats read here are little-endian");

/// Where and what a stored tensor is.  `bytes` points into the mapped file, at any alignment.
struct TensorInfo {
  std::string name;
  DType dtype = DType::F32;
  std::vector<Index> shape;
  std::span<const std::byte> bytes;
  /// The bytes are blocks of this type instead of elements of `dtype`; a block lies within one row.
  std::optional<GgmlType> quantized = std::nullopt;
  /// Not 0: the rows (first axis) are those of so many heads, and within a head 2i and 2i + 1 rotate together.  Reading
  /// returns them in Hugging Face's order, where i and i + D/2 do.
  Index interleaved_heads = 0;
};

/// The type as messages name it.
inline std::string stored_type(const TensorInfo& info) {
  return info.quantized ? name_of(*info.quantized) : std::string(name_of(info.dtype));
}

/// "(2, 3)"; "()" for a scalar.
inline std::string to_string(const std::vector<Index>& shape) { return fmt::format("({})", fmt::join(shape, ", ")); }

namespace detail {

template <class T>
inline constexpr bool is_real = std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, bf16>;

inline bool is_real_type(DType type) {
  return type == DType::F64 || type == DType::F32 || type == DType::F16 || type == DType::BF16;
}

/// What may be read as T: any floating type as float, double or bf16; integers only without loss.
template <class T>
bool converts_to(DType type) {
  if constexpr (is_real<T>) return is_real_type(type);
  if constexpr (std::is_same_v<T, std::int64_t>) return type == DType::I64 || type == DType::I32;
  return type == dtype_of<T>;
}

template <class T>
const char* sources_of() {
  if constexpr (is_real<T>) return "F64, F32, F16 or BF16";
  if constexpr (std::is_same_v<T, std::int64_t>) return "I64 or I32";
  return name_of(dtype_of<T>).data();
}

template <class To, class From>
To convert_value(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<From, f16> || std::is_same_v<From, bf16>) {
    return static_cast<To>(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, bf16>) {
    return bf16(static_cast<float>(value));
  } else {
    return static_cast<To>(value);
  }
}

/// Converts `count` elements of type From, at any alignment.
template <class To, class From>
void convert_values(const std::byte* from, To* to, Index count) {
  for (Index i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, from + static_cast<std::size_t>(i) * sizeof(From), sizeof(From));
    to[i] = convert_value<To>(value);
  }
}

/// The same of whole blocks.  Numbers are computed in float and rounded once where T is narrower.
template <class To>
void decode_values(const GgmlFormat& format, const std::byte* from, To* to, Index count) {
  float numbers[256];
  for (Index i = 0; i < count; i += format.numbers, from += format.bytes) {
    if constexpr (std::is_same_v<To, float>) {
      format.decode(from, to + i);
    } else {
      format.decode(from, numbers);
      for (Index j = 0; j < format.numbers; ++j) to[i + j] = convert_value<To>(numbers[j]);
    }
  }
}

/// Elements [first, first + count) of a tensor whose type `check_type<T>` let pass.
template <class T>
void convert_run(const TensorInfo& info, Index first, Index count, T* to) {
  if constexpr (is_real<T>) {
    if (info.quantized) {
      const GgmlFormat& format = *ggml_format(*info.quantized);
      return decode_values(format, info.bytes.data() + first / format.numbers * format.bytes, to, count);
    }
  }
  const std::byte* from = info.bytes.data() + first * static_cast<Index>(size_of(info.dtype));
  if constexpr (is_real<T>) {
    switch (info.dtype) {
      case DType::F64: return convert_values<T, double>(from, to, count);
      case DType::F32: return convert_values<T, float>(from, to, count);
      case DType::F16: return convert_values<T, f16>(from, to, count);
      default: return convert_values<T, bf16>(from, to, count);
    }
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    if (info.dtype == DType::I32) return convert_values<T, std::int32_t>(from, to, count);
    return convert_values<T, std::int64_t>(from, to, count);
  } else {
    return convert_values<T, T>(from, to, count);
  }
}

/// Throws FormatError unless the tensor can be read as T.
template <class T>
void check_type(const TensorInfo& info, const std::string& file) {
  if (!info.quantized) {
    require<FormatError>(converts_to<T>(info.dtype), "{}: tensor '{}' is {}, expected {}", file, info.name,
                         name_of(info.dtype), sources_of<T>());
    return;
  }
  const GgmlFormat* format = ggml_format(*info.quantized);
  const std::string expected = is_real<T> ? "F64, F32, F16, BF16, " + decoded_ggml_types() : sources_of<T>();
  require<FormatError>(is_real<T> && format && format->decode, "{}: tensor '{}' is {}, expected {}", file, info.name,
                       name_of(*info.quantized), expected);
  const Index cols = info.shape.empty() ? 1 : info.shape.back();
  require<FormatError>(cols % format->numbers == 0 && (info.shape.size() > 1 || info.interleaved_heads == 0),
                       "{}: tensor '{}' of shape {} is {}, expected rows of whole blocks of {}", file, info.name,
                       to_string(info.shape), format->name, format->numbers);
}

/// Where row `row` of Hugging Face's rotary order lies in the interleaved one; heads have D rows.
constexpr Index interleaved_row(Index row, Index D) {
  const Index i = row % D;
  return row - i + (i < D / 2 ? 2 * i : 2 * (i - D / 2) + 1);
}

}  // namespace detail

/// The tensor as elements of T: float, double or bf16 from any floating type (F64 to narrower rounds) and from the
/// quantized types that are decoded here, int64 from I64 and I32, other integers from their own type.
///
/// Where the file holds T itself at T's alignment and in this order the result BORROWS the file's memory, kept alive by
/// `owner`, and must never be written: the pages are read-only.  Otherwise it is a copy. Errors: FormatError for
/// another type or more than four axes, ShapeError for rows that are not those of `interleaved_heads` even heads;
/// `file` names the file.
template <class T>
Tensor<T> load_stored(const TensorInfo& info, const std::string& file, const std::shared_ptr<const void>& owner) {
  detail::check_type<T>(info, file);
  require<FormatError>(info.shape.size() <= Shape::max_rank, "{}: tensor '{}' has shape {}, expected at most {} axes",
                       file, info.name, to_string(info.shape), int{Shape::max_rank});
  Shape shape;
  for (const Index extent : info.shape) shape.append(extent);

  const std::byte* from = info.bytes.data();
  if (info.dtype == dtype_of<T> && !info.quantized && info.interleaved_heads == 0 && shape.size() > 0 &&
      reinterpret_cast<std::uintptr_t>(from) % alignof(T) == 0) {
    // Tensor has no read-only form; the promise not to write is the caller's.
    T* borrowed = reinterpret_cast<T*>(const_cast<std::byte*>(from));
    return Tensor<T>(View<T>(borrowed, shape), std::const_pointer_cast<void>(owner));
  }
  constexpr Index grain = Index{1} << 16;  // a multiple of every block
  Tensor<T> copy(shape);
  if (info.interleaved_heads == 0) {
    parallel_ranges(copy.size(), grain, [&](Index first, Index last) {
      detail::convert_run(info, first, last - first, copy.data() + first);
    });
    return copy;
  }
  const Index rows = shape.rank() > 0 ? shape[0] : 1, heads = info.interleaved_heads;
  require<ShapeError>(rows % (2 * heads) == 0, "{}: tensor '{}' has shape {}, expected rows of {} heads of even size",
                      file, info.name, to_string(info.shape), heads);
  if (copy.size() == 0) return copy;  // there may be many empty rows
  const Index cols = copy.size() / rows;
  parallel_ranges(rows, grain / cols, [&](Index first, Index last) {
    for (Index row = first; row < last; ++row) {
      detail::convert_run(info, detail::interleaved_row(row, rows / heads) * cols, cols, copy.data() + row * cols);
    }
  });
  return copy;
}

/// The same, and ShapeError "file: tensor 'name' has shape got, expected want" for another shape.
template <class T>
Tensor<T> load_stored(const TensorInfo& info, const std::string& file, const std::shared_ptr<const void>& owner,
                      const Shape& want) {
  const std::vector<Index> expected = [&] {
    std::vector<Index> extents;
    for (int i = 0; i < want.rank(); ++i) extents.push_back(want[i]);
    return extents;
  }();
  require<ShapeError>(info.shape == expected, "{}: tensor '{}' has shape {}, expected {}", file, info.name,
                      to_string(info.shape), to_string(want));
  return load_stored<T>(info, file, owner);
}

/// The tensors of one file by name, in ascending order, and what keeps their bytes alive; a copy shares these.
class StoredTensors {
 public:
  /// The file as messages name it.
  const std::string& name() const { return name_; }
  const std::shared_ptr<const void>& owner() const { return owner_; }

  const std::map<std::string, TensorInfo, std::less<>>& tensors() const { return tensors_; }
  bool contains(std::string_view name) const { return tensors_.contains(name); }
  /// Errors: FormatError if there is no such tensor.
  const TensorInfo& info(std::string_view name) const {
    const auto found = tensors_.find(name);
    require<FormatError>(found != tensors_.end(), "{}: tensor '{}' is missing", name_, name);
    return found->second;
  }
  /// The tensor as T; see `load_stored` for what converts and what is borrowed.
  template <class T>
  Tensor<T> read(std::string_view name) const {
    return load_stored<T>(info(name), name_, owner_);
  }
  /// The same, with the shape it must have.
  template <class T>
  Tensor<T> read(std::string_view name, const Shape& shape) const {
    return load_stored<T>(info(name), name_, owner_, shape);
  }

 protected:
  StoredTensors(std::string name, std::shared_ptr<const void> owner) : name_(std::move(name)), owner_(std::move(owner)) {}

  std::string name_;
  std::shared_ptr<const void> owner_;
  std::map<std::string, TensorInfo, std::less<>> tensors_;
};

}  // namespace lolcats
