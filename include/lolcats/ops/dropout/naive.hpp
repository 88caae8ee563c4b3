// Dropout as plain loops in double: what every backend must reproduce.
#pragma once

#include <cstddef>
#include <vector>

namespace lolcats::naive {

/// x with the elements of a given mask (true: kept) multiplied by 1 / (1 - p) and the others zero.
inline std::vector<double> dropout(const std::vector<double>& x, const std::vector<bool>& kept, double p) {
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = kept[i] ? x[i] / (1.0 - p) : 0.0;
  return y;
}

}  // namespace lolcats::naive
