// The types of metadata and of plain tensors in GGUF files.
#pragma once

#include <lolcats/tensor/dtype.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string_view>

namespace lolcats {

/// The types of metadata, by their numbers in the file.
enum class GgufType : std::uint32_t { U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64 };

constexpr std::string_view name_of(GgufType type) {
  constexpr std::string_view names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "bool", "string", "array", "u64", "i64", "f64"};
  const auto at = static_cast<std::size_t>(type);
  return at < std::size(names) ? names[at] : "?";
}

/// Bytes of a value; 0 for those of no fixed size.
constexpr std::size_t size_of(GgufType type) {
  constexpr std::size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  const auto at = static_cast<std::size_t>(type);
  return at < std::size(sizes) ? sizes[at] : 0;
}

/// The types of tensors whose elements stand alone, by their numbers in the file.
constexpr std::optional<DType> plain_gguf_type(std::uint32_t type) {
  switch (type) {
    case 0: return DType::F32;
    case 1: return DType::F16;
    case 24: return DType::I8;
    case 25: return DType::I16;
    case 26: return DType::I32;
    case 27: return DType::I64;
    case 28: return DType::F64;
    case 30: return DType::BF16;
    default: return std::nullopt;
  }
}

}  // namespace lolcats
