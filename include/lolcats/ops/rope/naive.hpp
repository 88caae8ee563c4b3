// Rotary position embedding as plain loops in double: what every backend must reproduce.
#pragma once

#include <lolcats/core/index.hpp>

#include <cmath>
#include <vector>

namespace lolcats::naive {

/// x (M, H * D), a position for each row, D / 2 frequencies -> (M, H * D).
inline std::vector<double> rope(const std::vector<double>& x, const std::vector<Index>& positions,
                                const std::vector<double>& frequencies, Index heads) {
  const std::size_t half = frequencies.size();
  std::vector<double> y(x.size());
  std::size_t at = 0;
  for (const Index position : positions) {
    for (Index h = 0; h < heads; ++h, at += 2 * half) {
      for (std::size_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(position) * frequencies[i];
        const double a = x[at + i], b = x[at + half + i];
        y[at + i] = a * std::cos(angle) - b * std::sin(angle);
        y[at + half + i] = a * std::sin(angle) + b * std::cos(angle);
      }
    }
  }
  return y;
}

}  // namespace lolcats::naive
