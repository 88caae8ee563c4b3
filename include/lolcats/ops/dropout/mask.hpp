// Which elements dropout keeps: a pure function of (seed, stream, element).
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/core/rng.hpp>

namespace lolcats {

/// Zeroes an element with probability p and multiplies the others by 1 / (1 - p).
///
/// Nothing is stored: forward and backward ask the same question twice and get the same answer, on every device and for
/// any order of evaluation.
class DropoutMask {
 public:
  /// `function` names the operation in the error text.  p must lie in [0, 1).
  DropoutMask(const char* function, double p, std::uint64_t seed, std::uint64_t stream) : rng_(seed, stream) {
    require<ConfigError>(p >= 0 && p < 1, "{}: dropout is {}, expected 0 <= p < 1", function, p);
    active_ = p > 0;
    threshold_ = static_cast<std::uint64_t>(p * 0x1p64);
    factor_ = 1.0 / (1.0 - p);
  }

  /// Does the mask change anything?
  constexpr bool active() const { return active_; }
  constexpr bool keeps(Index element) const { return rng_.bits_at(static_cast<std::uint64_t>(element)) >= threshold_; }
  /// 1 / (1 - p).
  constexpr double factor() const { return factor_; }

 private:
  Rng rng_;
  bool active_ = false;
  std::uint64_t threshold_ = 0;
  double factor_ = 1;
};

}  // namespace lolcats
