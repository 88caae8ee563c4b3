// Columns side by side as plain loops in double: what every backend must reproduce.
#pragma once

#include <cstddef>
#include <vector>

namespace lolcats::naive {

/// [a, b] of rows of `left` and `right` numbers.
inline std::vector<double> concat(const std::vector<double>& a, const std::vector<double>& b, std::size_t left, std::size_t right) {
  std::vector<double> y;
  for (std::size_t m = 0; m < a.size() / left; ++m) {
    for (std::size_t c = 0; c < left; ++c) y.push_back(a[m * left + c]);
    for (std::size_t c = 0; c < right; ++c) y.push_back(b[m * right + c]);
  }
  return y;
}

}  // namespace lolcats::naive
