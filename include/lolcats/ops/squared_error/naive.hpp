// The squared distance to a fixed target as plain loops in double: what every backend must reproduce.
#pragma once

#include <cstddef>
#include <vector>

namespace lolcats::naive {

/// scale * sum (a - target)^2.
inline double squared_error(const std::vector<double>& a, const std::vector<double>& target, double scale) {
  double total = 0;
  for (std::size_t i = 0; i < a.size(); ++i) total += (a[i] - target[i]) * (a[i] - target[i]);
  return scale * total;
}

}  // namespace lolcats::naive
