// A tensor as it lies in a file, and its conversion into a Tensor.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/parallel.hpp>
#include <lolcats/tensor/dtype.hpp>
#include <lolcats/tensor/tensor.hpp>

#include <bit>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace lolcats {

static_assert(std::endian::native == std::endian::little, "the file formats read here are little-endian");

/// Where and what a stored tensor is.  `bytes` points into the mapped file, at any alignment.
struct TensorInfo {
  std::string name;
  DType dtype = DType::F32;
  std::vector<Index> shape;
  std::span<const std::byte> bytes;
};

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
  parallel_ranges(count, Index{1} << 16, [&](Index first, Index last) {
    for (Index i = first; i < last; ++i) {
      From value;
      std::memcpy(&value, from + static_cast<std::size_t>(i) * sizeof(From), sizeof(From));
      to[i] = convert_value<To>(value);
    }
  });
}

}  // namespace detail

/// The tensor as elements of T: float, double or bf16 from any floating type (F64 to narrower rounds), int64 from I64
/// and I32, other integers from their own type.
///
/// Where the file holds T itself at T's alignment the result BORROWS the file's memory, kept alive by `owner`, and must
/// never be written: the pages are read-only.  Otherwise it is a copy. Errors: FormatError for another dtype or more
/// than four axes; `file` names the file.
template <class T>
Tensor<T> load_stored(const TensorInfo& info, const std::string& file, const std::shared_ptr<const void>& owner) {
  require<FormatError>(detail::converts_to<T>(info.dtype), "{}: tensor '{}' is {}, expected {}", file, info.name,
                       name_of(info.dtype), detail::sources_of<T>());
  require<FormatError>(info.shape.size() <= Shape::max_rank, "{}: tensor '{}' has shape {}, expected at most {} axes",
                       file, info.name, to_string(info.shape), int{Shape::max_rank});
  Shape shape;
  for (const Index extent : info.shape) shape.append(extent);

  const std::byte* from = info.bytes.data();
  if (info.dtype == dtype_of<T> && shape.size() > 0 && reinterpret_cast<std::uintptr_t>(from) % alignof(T) == 0) {
    // Tensor has no read-only form; the promise not to write is the caller's.
    T* borrowed = reinterpret_cast<T*>(const_cast<std::byte*>(from));
    return Tensor<T>(View<T>(borrowed, shape), std::const_pointer_cast<void>(owner));
  }
  Tensor<T> copy(shape);
  const auto convert = [&]<class From>(From) { detail::convert_values<T, From>(from, copy.data(), copy.size()); };
  if constexpr (detail::is_real<T>) {
    switch (info.dtype) {
      case DType::F64: convert(double{}); break;
      case DType::F32: convert(float{}); break;
      case DType::F16: convert(f16{}); break;
      default: convert(bf16{}); break;
    }
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    if (info.dtype == DType::I32)
      convert(std::int32_t{});
    else
      convert(std::int64_t{});
  } else {
    convert(T{});
  }
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

}  // namespace lolcats
