// Sixteen-bit floating point as storage: loads and stores, no arithmetic.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace lolcats {

/// The upper half of an IEEE float32: 8 exponent and 7 fraction bits.
struct bf16 {
  std::uint16_t bits = 0;

  constexpr bf16() = default;
  /// Rounds to nearest, ties to even; NaN stays NaN.
  explicit constexpr bf16(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    if ((word & 0x7fffffffU) > 0x7f800000U) {
      bits = static_cast<std::uint16_t>((word >> 16) | 0x0040U);
    } else {
      bits = static_cast<std::uint16_t>((word + 0x7fffU + ((word >> 16) & 1U)) >> 16);
    }
  }
  constexpr operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

/// IEEE binary16, for reading checkpoints.
struct f16 {
  std::uint16_t bits = 0;

  constexpr operator float() const {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
    const std::uint32_t exponent = (bits >> 10) & 0x1fU;
    const std::uint32_t fraction = bits & 0x3ffU;
    if (exponent == 0) {  // zero and subnormals: fraction * 2^-24, exact in float32
      const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
      return sign ? -magnitude : magnitude;
    }
    if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000U | (fraction << 13));
    return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (fraction << 13));
  }
};

}  // namespace lolcats
