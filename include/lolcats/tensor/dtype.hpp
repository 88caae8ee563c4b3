// Element types as they are named in files.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/tensor/bf16.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

namespace lolcats {

/// Element types; the names are those of safetensors.  Those from Bool on may lie in files, but no tensor here holds them.
enum class DType { F64, F32, F16, BF16, I64, I32, U8, Bool, I8, I16, U16, U32, U64, F8_E4M3, F8_E5M2, F8_E8M0, C64 };

namespace detail {
struct DTypeEntry {
  std::string_view name;
  std::size_t size;
};
/// In the order of DType.
inline constexpr DTypeEntry dtypes[] = {{"F64", 8},     {"F32", 4}, {"F16", 2},  {"BF16", 2},    {"I64", 8},
                                        {"I32", 4},     {"U8", 1},  {"BOOL", 1}, {"I8", 1},      {"I16", 2},
                                        {"U16", 2},     {"U32", 4}, {"U64", 8},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
                                        {"F8_E8M0", 1}, {"C64", 8}};
static_assert(std::size(dtypes) == static_cast<std::size_t>(DType::C64) + 1);
}  // namespace detail

/// All types, in order.
inline constexpr std::size_t dtype_count = std::size(detail::dtypes);

/// Bytes of an element.
constexpr std::size_t size_of(DType type) { return detail::dtypes[static_cast<std::size_t>(type)].size; }
constexpr std::string_view name_of(DType type) { return detail::dtypes[static_cast<std::size_t>(type)].name; }

namespace detail {
template <class T>
struct DTypeOf;
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::F64;
};
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::F32;
};
template <>
struct DTypeOf<f16> {
  static constexpr DType value = DType::F16;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::BF16;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::I64;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::I32;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::U8;
};
}  // namespace detail

/// The DType of a C++ element type.
template <class T>
inline constexpr DType dtype_of = detail::DTypeOf<T>::value;

}  // namespace lolcats
