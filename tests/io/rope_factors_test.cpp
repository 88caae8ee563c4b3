#include <lolcats/io/rope_factors.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>
#include <vector>

using namespace lolcats;

namespace {

/// The factors as llama.cpp's converter makes them from a Llama 3 config: in wavelengths, in float32.
std::vector<double> converted(double theta, int head_dim, double factor, double low, double high, double original) {
  std::vector<double> factors;
  for (int i = 0; i < head_dim; i += 2) {
    const float frequency =
        1 / std::pow(static_cast<float>(theta), static_cast<float>(i) / static_cast<float>(head_dim));
    const double wavelength = 2 * std::numbers::pi / static_cast<double>(frequency);
    double value = 0;
    if (wavelength < original / high) {
      value = 1;
    } else if (wavelength > original / low) {
      value = factor;
    } else {
      const double smooth = (original / wavelength - low) / (high - low);
      value = 1 / ((1 - smooth) / factor + smooth);
    }
    factors.push_back(static_cast<double>(static_cast<float>(value)));
  }
  return factors;
}

}  // namespace

TEST_CASE("the factors of Llama 3.1 and 3.2 are the configs they were made from") {
  for (const auto& [head_dim, factor] : {std::pair(128, 8.0), {128, 32.0}, {64, 32.0}}) {
    CAPTURE(head_dim);
    CAPTURE(factor);
    const auto rope = rope_of_factors(500000, converted(500000, head_dim, factor, 1, 4, 8192));
    REQUIRE(rope.has_value());
    CHECK(*rope == RopeConfig{RopeKind::Llama3, 500000, factor, 1, 4, 8192});
  }
  const auto known = rope_of_factors(10000, converted(10000, 64, 4, 1, 4, 1000), 1000);
  REQUIRE(known.has_value());
  CHECK(*known == RopeConfig{RopeKind::Llama3, 10000, 4, 1, 4, 1000});
}

TEST_CASE("other numbers of the rule are found, up to the one that is free") {
  const std::vector<double> factors = converted(100000, 64, 16, 1, 3, 2048);
  for (const Index original : {Index{0}, Index{2048}}) {
    const auto rope = rope_of_factors(100000, factors, original);
    REQUIRE(rope.has_value());
    CHECK(rope->kind == RopeKind::Llama3);
    CHECK(rope->factor == 16);
    CHECK(rope->low_freq_factor == doctest::Approx(1).epsilon(1e-4));
    CHECK(rope->high_freq_factor == doctest::Approx(3).epsilon(1e-3));
    CHECK(rope->original_max_position == doctest::Approx(2048).epsilon(1e-3));
  }
  // low 2, high 8, 4096 is the same function as 1, 4, 2048.
  const auto twice = rope_of_factors(100000, converted(100000, 64, 16, 2, 8, 4096));
  REQUIRE(twice.has_value());
  CHECK(twice->low_freq_factor == 1);
  CHECK(twice->high_freq_factor == doctest::Approx(4).epsilon(1e-3));
  CHECK(twice->original_max_position == doctest::Approx(2048).epsilon(1e-3));
  // With the length known they are these.
  const auto known = rope_of_factors(100000, converted(100000, 64, 16, 2, 8, 4096), 4096);
  REQUIRE(known.has_value());
  CHECK(known->low_freq_factor == doctest::Approx(2).epsilon(1e-3));
  CHECK(known->high_freq_factor == doctest::Approx(8).epsilon(1e-3));
  CHECK(known->original_max_position == 4096);
}

TEST_CASE("equal factors are linear scaling, or none") {
  const auto none = rope_of_factors(10000, std::vector<double>(8, 1.0));
  REQUIRE(none.has_value());
  CHECK(*none == RopeConfig{});
  const auto linear = rope_of_factors(10000, std::vector<double>(8, 2.5));
  REQUIRE(linear.has_value());
  CHECK(*linear == RopeConfig{RopeKind::Linear, 10000, 2.5});
}

TEST_CASE("factors of another rule are none") {
  CHECK_FALSE(rope_of_factors(10000, std::vector<double>{}).has_value());
  CHECK_FALSE(rope_of_factors(10000, std::vector<double>{1, 0, 2}).has_value());
  CHECK_FALSE(rope_of_factors(10000, std::vector<double>{1, -1, 2}).has_value());
  CHECK_FALSE(rope_of_factors(10000, std::vector<double>{1, NAN, 2}).has_value());
  CHECK_FALSE(rope_of_factors(10000, std::vector<double>{1, INFINITY}).has_value());
  CHECK_FALSE(rope_of_factors(10000, std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8}).has_value());
  CHECK_FALSE(rope_of_factors(10000, std::vector<double>{8, 4, 2, 1}).has_value());
  std::vector<double> factors = converted(500000, 64, 8, 1, 4, 8192);
  for (std::size_t i = 0; i < factors.size(); ++i) {  // one of them is off
    CAPTURE(i);
    std::vector<double> other = factors;
    other[i] *= 1.001;
    CHECK_FALSE(rope_of_factors(500000, other).has_value());
  }
}
