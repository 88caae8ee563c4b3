#include <lolcats/model/rope_frequencies.hpp>

#include <lolcats/testing/close.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using lolcats::testing::close;

TEST_CASE("default: a geometric sequence from 1") {
  const auto f = rope_frequencies({.theta = 10000}, 8);
  CHECK(close(std::vector{1.0, 0.1, 0.01, 0.001}, f, 1e-15));
}

TEST_CASE("linear: every frequency divided by the factor") {
  const auto f = rope_frequencies({.kind = RopeKind::Linear, .theta = 10000, .factor = 4}, 8);
  CHECK(close(std::vector{0.25, 0.025, 0.0025, 0.00025}, f, 1e-15));
}

TEST_CASE("llama3: high frequencies stay, low ones are divided, between them a blend") {
  const RopeConfig rope{.kind = RopeKind::Llama3,
                        .theta = 500000,
                        .factor = 8,
                        .low_freq_factor = 1,
                        .high_freq_factor = 4,
                        .original_max_position = 8192};
  const auto base = rope_frequencies({.theta = 500000}, 128), scaled = rope_frequencies(rope, 128);
  REQUIRE(scaled.size() == 64);
  for (std::size_t i = 0; i < 64; ++i) {
    CAPTURE(i);
    const double wavelength = 6.283185307179586 / base[i];
    if (wavelength < 8192.0 / 4) {
      CHECK(scaled[i] == base[i]);
    } else if (wavelength > 8192.0) {
      CHECK(scaled[i] == doctest::Approx(base[i] / 8).epsilon(1e-14));
    } else {
      const double smooth = (8192.0 / wavelength - 1) / 3;
      CHECK(scaled[i] == doctest::Approx((1 - smooth) * base[i] / 8 + smooth * base[i]).epsilon(1e-14));
    }
  }
  CHECK(scaled[20] == base[20]);
  CHECK(scaled[44] == doctest::Approx(base[44] / 8));
}
