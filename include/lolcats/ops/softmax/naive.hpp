// Softmax of rows as plain loops in double: what every backend must reproduce.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace lolcats::naive {

/// softmax of every `width` numbers of x.
inline std::vector<double> softmax(const std::vector<double>& x, std::size_t width) {
  std::vector<double> y(x.size());
  for (std::size_t first = 0; first < x.size(); first += width) {
    double largest = x[first], total = 0;
    for (std::size_t i = first; i < first + width; ++i) largest = std::max(largest, x[i]);
    for (std::size_t i = first; i < first + width; ++i) total += y[i] = std::exp(x[i] - largest);
    for (std::size_t i = first; i < first + width; ++i) y[i] /= total;
  }
  return y;
}

}  // namespace lolcats::naive
