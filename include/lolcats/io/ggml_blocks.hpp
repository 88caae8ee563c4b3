// The quantized number formats of ggml: blocks of numbers that share scales.
#pragma once

#include <lolcats/core/index.hpp>
#include <lolcats/tensor/bf16.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace lolcats {

/// The number that GGUF gives to a quantized type.  Any value can stand in a file; `ggml_format` knows some.
enum class GgmlType : std::uint32_t {};

/// One quantized type: so many numbers lie in a block of so many bytes.
struct GgmlFormat {
  GgmlType type;
  std::string_view name;
  Index numbers;
  Index bytes;
  /// Writes a block's numbers; null for types that are not read here.  `block` has any alignment.
  void (*decode)(const std::byte* block, float* to) = nullptr;
};

namespace detail {

/// Reads the fields of a block.
struct GgmlBlock {
  const std::byte* at;

  float half(int offset) const {
    f16 value;
    std::memcpy(&value.bits, at + offset, sizeof value.bits);
    return value;
  }
  int byte(int offset) const { return std::to_integer<int>(at[offset]); }
  int signed_byte(int offset) const { return static_cast<std::int8_t>(byte(offset)); }
  std::uint32_t word(int offset) const {
    std::uint32_t value = 0;
    std::memcpy(&value, at + offset, sizeof value);
    return value;
  }
  /// Number i of 32, four bits each in 16 bytes from `offset`: the low halves come first.
  int nibble(int offset, int i) const { return (byte(offset + i % 16) >> (i / 16 * 4)) & 15; }
};

// Products of a scale with a whole number have at most 24 significant bits, so they are exact in float, and only the
// one sum of some formats rounds.  The results are therefore those of every other float program, fused or not.

/// x = d (q - 8)
inline void decode_q4_0(const std::byte* bytes, float* to) {
  const GgmlBlock block{bytes};
  const float d = block.half(0);
  for (int i = 0; i < 32; ++i) to[i] = d * static_cast<float>(block.nibble(2, i) - 8);
}

/// x = d q + m
inline void decode_q4_1(const std::byte* bytes, float* to) {
  const GgmlBlock block{bytes};
  const float d = block.half(0), m = block.half(2);
  for (int i = 0; i < 32; ++i) to[i] = d * static_cast<float>(block.nibble(4, i)) + m;
}

/// x = d (q - 16); the fifth bits of all q are one word.
inline void decode_q5_0(const std::byte* bytes, float* to) {
  const GgmlBlock block{bytes};
  const float d = block.half(0);
  const std::uint32_t high = block.word(2);
  for (int i = 0; i < 32; ++i) {
    to[i] = d * static_cast<float>((block.nibble(6, i) | static_cast<int>((high >> i) & 1) << 4) - 16);
  }
}

/// x = d q + m
inline void decode_q5_1(const std::byte* bytes, float* to) {
  const GgmlBlock block{bytes};
  const float d = block.half(0), m = block.half(2);
  const std::uint32_t high = block.word(4);
  for (int i = 0; i < 32; ++i) {
    to[i] = d * static_cast<float>(block.nibble(8, i) | static_cast<int>((high >> i) & 1) << 4) + m;
  }
}

/// x = d q
inline void decode_q8_0(const std::byte* bytes, float* to) {
  const GgmlBlock block{bytes};
  const float d = block.half(0);
  for (int i = 0; i < 32; ++i) to[i] = d * static_cast<float>(block.signed_byte(2 + i));
}

/// Scale and minimum of sub-block j of 8, six bits each in 12 bytes from `offset`: the first four of each lie whole in
/// a byte, of the others four bits lie in the last four bytes and two above the first eight.
struct SixBits {
  int scale, minimum;
};
inline SixBits six_bits(const GgmlBlock& block, int offset, int j) {
  if (j < 4) return {block.byte(offset + j) & 63, block.byte(offset + j + 4) & 63};
  const int low = block.byte(offset + j + 4);
  return {(low & 15) | block.byte(offset + j - 4) >> 6 << 4, low >> 4 | block.byte(offset + j) >> 6 << 4};
}

/// x = (d scale) q - (dmin minimum), 8 sub-blocks of 32; Q5_K has a fifth bit of q in the 32 bytes before the others.
template <int Bits>
void decode_q45_k(const std::byte* bytes, float* to) {
  const GgmlBlock block{bytes};
  const float d = block.half(0), dmin = block.half(2);
  constexpr int high = 16, low = Bits == 5 ? 48 : 16;
  for (int j = 0; j < 8; ++j) {
    const auto [scale, minimum] = six_bits(block, 4, j);
    const float step = d * static_cast<float>(scale), base = dmin * static_cast<float>(minimum);
    for (int i = 0; i < 32; ++i) {
      int q = block.byte(low + j / 2 * 32 + i) >> (j % 2 * 4) & 15;
      if constexpr (Bits == 5) q |= (block.byte(high + i) >> j & 1) << 4;
      to[32 * j + i] = step * static_cast<float>(q) - base;
    }
  }
}

/// x = (d scale) (q - 32), 16 sub-blocks of 16: 128 bytes of low halves, 64 of pairs of bits, 16 scales, d.
inline void decode_q6_k(const std::byte* bytes, float* to) {
  const GgmlBlock block{bytes};
  const float d = block.half(208);
  for (int j = 0; j < 8; ++j) {  // four runs of 32 in each half of the block
    const int half = j / 4, run = j % 4;
    for (int i = 0; i < 32; ++i) {
      const int low = block.byte(half * 64 + run % 2 * 32 + i) >> (run / 2 * 4) & 15;
      const int high = block.byte(128 + half * 32 + i) >> (2 * run) & 3;
      const float step = d * static_cast<float>(block.signed_byte(192 + j * 2 + i / 16));
      to[32 * j + i] = step * static_cast<float>((low | high << 4) - 32);
    }
  }
}

}  // namespace detail

/// The types whose size is known.  Source: ggml's ggml-common.h (block layouts) and ggml-quants.c.
inline constexpr std::array ggml_formats = {
    GgmlFormat{GgmlType{2}, "Q4_0", 32, 18, detail::decode_q4_0},
    GgmlFormat{GgmlType{3}, "Q4_1", 32, 20, detail::decode_q4_1},
    GgmlFormat{GgmlType{6}, "Q5_0", 32, 22, detail::decode_q5_0},
    GgmlFormat{GgmlType{7}, "Q5_1", 32, 24, detail::decode_q5_1},
    GgmlFormat{GgmlType{8}, "Q8_0", 32, 34, detail::decode_q8_0},
    GgmlFormat{GgmlType{12}, "Q4_K", 256, 144, detail::decode_q45_k<4>},
    GgmlFormat{GgmlType{13}, "Q5_K", 256, 176, detail::decode_q45_k<5>},
    GgmlFormat{GgmlType{14}, "Q6_K", 256, 210, detail::decode_q6_k},
    GgmlFormat{GgmlType{10}, "Q2_K", 256, 84},
    GgmlFormat{GgmlType{11}, "Q3_K", 256, 110},
    GgmlFormat{GgmlType{16}, "IQ2_XXS", 256, 66},
    GgmlFormat{GgmlType{17}, "IQ2_XS", 256, 74},
    GgmlFormat{GgmlType{18}, "IQ3_XXS", 256, 98},
    GgmlFormat{GgmlType{19}, "IQ1_S", 256, 50},
    GgmlFormat{GgmlType{20}, "IQ4_NL", 32, 18},
    GgmlFormat{GgmlType{21}, "IQ3_S", 256, 110},
    GgmlFormat{GgmlType{22}, "IQ2_S", 256, 82},
    GgmlFormat{GgmlType{23}, "IQ4_XS", 256, 136},
    GgmlFormat{GgmlType{29}, "IQ1_M", 256, 56},
    GgmlFormat{GgmlType{34}, "TQ1_0", 256, 54},
    GgmlFormat{GgmlType{35}, "TQ2_0", 256, 66},
    GgmlFormat{GgmlType{39}, "MXFP4", 32, 17},
};

/// The format of a type, or null.
inline const GgmlFormat* ggml_format(GgmlType type) {
  for (const GgmlFormat& format : ggml_formats) {
    if (format.type == type) return &format;
  }
  return nullptr;
}

/// "Q4_K"; "type 77" where the number is unknown.
inline std::string name_of(GgmlType type) {
  if (const GgmlFormat* format = ggml_format(type)) return std::string(format->name);
  return "type " + std::to_string(static_cast<std::uint32_t>(type));
}

/// "Q4_0, Q4_1, ...": the types that can be decoded.
inline std::string decoded_ggml_types() {
  std::string list;
  for (const GgmlFormat& format : ggml_formats) {
    if (format.decode) list.append(list.empty() ? "" : ", ").append(format.name);
  }
  return list;
}

}  // namespace lolcats
