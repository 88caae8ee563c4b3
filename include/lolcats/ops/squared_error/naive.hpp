// The squared distance to a fixed target as plain loops in double: what every backend must reproduce.
#pragma once

#include <cstddef>
#include <vector>

namespace lolcats::naive {

/// scale * sum (a - target)^2.
inline double squared_error(const std::vector<double>& a, const std::vector<double>& target, double scale) {
  long double total = 0;  // so that differences of two such sums mean something
  for (std::size_t i = 0; i < a.size(); ++i) total += (a[i] - target[i]) * (a[i] - target[i]);
  return static_cast<double>(scale * total);
}

}  // namespace lolcats::naive
