// y = x / sqrt(mean(x^2) + eps) * w as plain loops in double: what every backend must reproduce.
#pragma once

#include <lolcats/core/index.hpp>

#include <cmath>
#include <vector>

namespace lolcats::naive {

/// x (M, C), w (C) -> (M, C).
inline std::vector<double> rms_norm(const std::vector<double>& x, const std::vector<double>& w, Index rows, Index cols,
                                    double eps) {
  std::vector<double> y(x.size());
  for (Index m = 0; m < rows; ++m) {
    double squares = 0;
    for (Index c = 0; c < cols; ++c) {
      const double value = x[static_cast<std::size_t>(m * cols + c)];
      squares += value * value;
    }
    const double norm = std::sqrt(squares / static_cast<double>(cols) + eps);
    for (Index c = 0; c < cols; ++c) {
      const auto i = static_cast<std::size_t>(m * cols + c);
      y[i] = x[i] / norm * w[static_cast<std::size_t>(c)];
    }
  }
  return y;
}

}  // namespace lolcats::naive
