// y = x W^T + scale (mask(x) A^T) B^T as plain loops in double: what every backend must reproduce.
#pragma once

#include <lolcats/core/index.hpp>

#include <vector>

namespace lolcats::naive {

/// x (M, I), w (O, I), a (R, I), b (O, R), mask (M, I) holding 0 or 1 / (1 - p) -> (M, O).
inline std::vector<double> lora_linear(const std::vector<double>& x, const std::vector<double>& w,
                                       const std::vector<double>& a, const std::vector<double>& b,
                                       const std::vector<double>& mask, double scale, Index rows, Index inputs,
                                       Index outputs, Index rank) {
  const auto at = [](Index row, Index cols, Index col) { return static_cast<std::size_t>(row * cols + col); };
  std::vector<double> y(at(rows, outputs, 0));
  for (Index m = 0; m < rows; ++m) {
    std::vector<double> low(static_cast<std::size_t>(rank));
    for (Index r = 0; r < rank; ++r) {
      for (Index i = 0; i < inputs; ++i) {
        low[at(0, 0, r)] += mask[at(m, inputs, i)] * x[at(m, inputs, i)] * a[at(r, inputs, i)];
      }
    }
    for (Index o = 0; o < outputs; ++o) {
      double base = 0, adapted = 0;
      for (Index i = 0; i < inputs; ++i) base += x[at(m, inputs, i)] * w[at(o, inputs, i)];
      for (Index r = 0; r < rank; ++r) adapted += low[at(0, 0, r)] * b[at(o, rank, r)];
      y[at(m, outputs, o)] = base + scale * adapted;
    }
  }
  return y;
}

}  // namespace lolcats::naive
