// bf16 and f16: every value, every rounding.
#include <lolcats/tensor/bf16.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace lolcats;

TEST_CASE("every bf16 survives the way to float and back") {
  int wrong = 0;
  for (std::uint32_t word = 0; word < 0x10000; ++word) {
    bf16 x;
    x.bits = static_cast<std::uint16_t>(word);
    const float value = x;
    const bf16 back(value);
    wrong += std::isnan(value) ? !std::isnan(static_cast<float>(back)) : back.bits != x.bits;
  }
  CHECK(wrong == 0);
}

TEST_CASE("bf16 rounds to nearest, ties to even") {
  int wrong = 0;
  for (std::uint32_t word = 0; word < 0x7f7f; ++word) {  // up to the neighbours of the largest finite value
    bf16 low, high;
    low.bits = static_cast<std::uint16_t>(word);
    high.bits = static_cast<std::uint16_t>(word + 1);
    const double a = static_cast<float>(low), b = static_cast<float>(high), middle = (a + b) / 2;
    const auto even = (word & 1) ? high : low;
    wrong += bf16(static_cast<float>(middle)).bits != even.bits;
    wrong += bf16(std::nextafter(static_cast<float>(middle), 0.0F)).bits != low.bits;
    wrong += bf16(std::nextafter(static_cast<float>(middle), 1e38F * 10)).bits != high.bits;
  }
  CHECK(wrong == 0);
}

TEST_CASE("bf16 keeps infinities, signs and NaN, and overflows to infinity") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(static_cast<float>(bf16(infinity)) == infinity);
  CHECK(static_cast<float>(bf16(-infinity)) == -infinity);
  CHECK(static_cast<float>(bf16(std::numeric_limits<float>::max())) == infinity);
  CHECK(std::signbit(static_cast<float>(bf16(-0.0F))));
  CHECK(std::isnan(static_cast<float>(bf16(std::bit_cast<float>(0x7f800001U)))));  // a NaN whose kept bits are zero
  CHECK(static_cast<float>(bf16(1.0F)) == 1.0F);
}

TEST_CASE("f16 loads every value") {
  int wrong = 0;
  for (std::uint32_t word = 0; word < 0x10000; ++word) {
    f16 x;
    x.bits = static_cast<std::uint16_t>(word);
    const float value = x;
    const int exponent = (word >> 10) & 31, fraction = word & 1023;
    const double sign = word & 0x8000 ? -1 : 1;
    if (exponent == 31) {
      wrong += fraction ? !std::isnan(value) : value != sign * std::numeric_limits<double>::infinity();
    } else {
      const double want =
          exponent ? sign * std::ldexp(1024 + fraction, exponent - 25) : sign * std::ldexp(fraction, -24);
      wrong += value != want || std::signbit(value) != (sign < 0);
    }
  }
  CHECK(wrong == 0);
}
