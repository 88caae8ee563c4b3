// Counter-based random numbers: a value is a pure function of (seed, stream, counter).
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace lolcats {

/// Mixes 64 bits; the finalizer of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195).
constexpr std::uint64_t mix_bits(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// A stream of random numbers that is reproducible on every platform and resumable from its two integers.
///
/// Streams with different (seed, stream) are independent for all practical purposes.
class Rng {
 public:
  explicit constexpr Rng(std::uint64_t seed, std::uint64_t stream = 0)
      : key_(mix_bits(seed + 0x9e3779b97f4a7c15ULL) ^ mix_bits(mix_bits(stream + 0x632be59bd9b4e019ULL))) {}

  /// The next 64 uniform bits.
  constexpr std::uint64_t bits() { return bits_at(counter_++); }

  /// The 64 bits at a given counter; does not move the stream.
  constexpr std::uint64_t bits_at(std::uint64_t counter) const {
    return mix_bits(key_ + (counter + 1) * 0x9e3779b97f4a7c15ULL);
  }

  /// Uniform in [0, 1).
  constexpr double uniform() { return to_unit(bits()); }
  constexpr double uniform(double low, double high) { return low + (high - low) * uniform(); }
  constexpr double uniform_at(std::uint64_t counter) const { return to_unit(bits_at(counter)); }

  /// Uniform in 0 ... count - 1; the bias is below count / 2^64.
  constexpr std::uint64_t below(std::uint64_t count) {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(bits()) * count) >> 64);
  }

  /// Standard normal (Box-Muller; uses two uniforms per value).
  double normal() {
    const double u = 1.0 - uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * uniform());
  }

  constexpr std::uint64_t counter() const { return counter_; }
  constexpr void seek(std::uint64_t counter) { counter_ = counter; }

 private:
  static constexpr double to_unit(std::uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

  std::uint64_t key_;
  std::uint64_t counter_ = 0;
};

}  // namespace lolcats
