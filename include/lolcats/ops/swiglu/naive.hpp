// silu(gate) * up as plain loops in double: what every backend must reproduce.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

namespace lolcats::naive {

/// gate and up of one size.
inline std::vector<double> swiglu(const std::vector<double>& gate, const std::vector<double>& up) {
  std::vector<double> y(gate.size());
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const double e = std::exp(-std::abs(gate[i]));
    const double sigmoid = gate[i] >= 0 ? 1 / (1 + e) : e / (1 + e);
    y[i] = gate[i] * sigmoid * up[i];
  }
  return y;
}

}  // namespace lolcats::naive
