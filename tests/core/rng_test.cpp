// Rng: fixed numbers, statistics, counters.
#include <lolcats/core/rng.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>

using namespace lolcats;

TEST_CASE("the mixer is the published one") {
  // SplitMix64 from state 0 adds 0x9e3779b97f4a7c15 and mixes: its first three outputs.
  constexpr std::uint64_t step = 0x9e3779b97f4a7c15ULL;
  CHECK(mix_bits(step) == 0xe220a8397b1dcdafULL);
  CHECK(mix_bits(2 * step) == 0x6e789e6aa1b965f4ULL);
  CHECK(mix_bits(3 * step) == 0x06c45d188009454fULL);
}

TEST_CASE("a stream is a function of seed, stream and counter") {
  Rng a(1, 2), b(1, 2), other_stream(1, 3), other_seed(2, 2);
  for (std::uint64_t i = 0; i < 100; ++i) {
    const auto bits = a.bits();
    CHECK(bits == b.bits_at(i));
    CHECK(bits != other_stream.bits());
    CHECK(bits != other_seed.bits());
  }
  CHECK(a.counter() == 100);
  a.seek(7);
  CHECK(a.bits() == b.bits_at(7));
  CHECK(b.counter() == 0);
}

TEST_CASE("uniform, below and normal have the right moments") {
  Rng rng(3);
  constexpr int count = 200000;
  double mean = 0, squares = 0, normal = 0, normal_squares = 0, normal_fourth = 0;
  std::array<int, 5> buckets{};
  int outside = 0;
  for (int i = 0; i < count; ++i) {
    const double u = rng.uniform(), n = rng.normal();
    outside += u < 0 || u >= 1;
    mean += u / count;
    squares += u * u / count;
    normal += n / count;
    normal_squares += n * n / count;
    normal_fourth += n * n * n * n / count;
    ++buckets[rng.below(5)];
  }
  CHECK(outside == 0);
  // Five standard deviations of each mean.
  CHECK(std::abs(mean - 0.5) < 5 * 0.2887 / std::sqrt(count));
  CHECK(std::abs(squares - 1.0 / 3) < 5 * 0.2981 / std::sqrt(count));
  CHECK(std::abs(normal) < 5 / std::sqrt(count));
  CHECK(std::abs(normal_squares - 1) < 5 * std::sqrt(2.0 / count));
  CHECK(std::abs(normal_fourth - 3) < 5 * std::sqrt(96.0 / count));
  for (const int bucket : buckets) CHECK(std::abs(bucket - count / 5) < 5 * std::sqrt(count * 0.16));
}

TEST_CASE("streams are uncorrelated bit by bit") {
  Rng a(1, 0), b(1, 1);
  int equal = 0;
  constexpr int count = 10000;
  for (int i = 0; i < count; ++i) equal += 64 - std::popcount(a.bits() ^ b.bits());
  CHECK(std::abs(equal - 32 * count) < 5 * std::sqrt(16.0 * count));
}

TEST_CASE("Rng: streams are the same numbers in every version, since seeds stand in recipes") {
  CHECK(Rng(1, 0).bits_at(0) == 0x2bbf5120b8e963a6ULL);
  CHECK(Rng(1, 0).bits_at(1) == 0x1896ed7e4f3e04adULL);
  CHECK(Rng(7, 3).bits_at(0) == 0x7f303292b47d96f3ULL);
}

TEST_CASE("Rng: uniform numbers fill their interval") {
  Rng rng(3);
  double least = 5, most = 2;
  for (int i = 0; i < 1000; ++i) {
    const double x = rng.uniform(2, 5);
    least = std::min(least, x);
    most = std::max(most, x);
  }
  CHECK(least >= 2);
  CHECK(least < 2.1);
  CHECK(most < 5);
  CHECK(most > 4.9);
}
