// y = x W^T as plain loops in double: what every backend must reproduce.
#pragma once

#include <lolcats/core/index.hpp>

#include <vector>

namespace lolcats::naive {

/// x (M, I), w (O, I) -> (M, O).
inline std::vector<double> linear(const std::vector<double>& x, const std::vector<double>& w, Index rows, Index inputs,
                                  Index outputs) {
  std::vector<double> y(static_cast<std::size_t>(rows * outputs));
  for (Index m = 0; m < rows; ++m) {
    for (Index o = 0; o < outputs; ++o) {
      double sum = 0;
      for (Index i = 0; i < inputs; ++i) {
        sum += x[static_cast<std::size_t>(m * inputs + i)] * w[static_cast<std::size_t>(o * inputs + i)];
      }
      y[static_cast<std::size_t>(m * outputs + o)] = sum;
    }
  }
  return y;
}

/// y (M, O) with row (O) added to each of its rows.
inline std::vector<double> plus_row(std::vector<double> y, const std::vector<double>& row) {
  for (std::size_t i = 0; i < y.size(); ++i) y[i] += row[i % row.size()];
  return y;
}

}  // namespace lolcats::naive
