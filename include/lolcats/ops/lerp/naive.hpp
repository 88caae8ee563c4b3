// Linear interpolation as plain loops in double: what every backend must reproduce.
#pragma once

#include <cstddef>
#include <vector>

namespace lolcats::naive {

/// start + w (end - start) of rows of `cols` numbers; the weights belong to equal blocks of columns.
inline std::vector<double> lerp(const std::vector<double>& start, const std::vector<double>& end, const std::vector<double>& weights,
                                std::size_t cols) {
  std::vector<double> y(start.size());
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double w = weights[i % cols * weights.size() / cols];
    y[i] = (1 - w) * start[i] + w * end[i];
  }
  return y;
}

}  // namespace lolcats::naive
