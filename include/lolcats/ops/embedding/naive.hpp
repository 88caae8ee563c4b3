// Rows of a table as plain loops in double: what every backend must reproduce.
#pragma once

#include <lolcats/core/index.hpp>

#include <vector>

namespace lolcats::naive {

/// table (V, C) -> (M, C).
inline std::vector<double> embedding(const std::vector<Index>& tokens, const std::vector<double>& table, Index cols) {
  std::vector<double> y;
  for (const Index token : tokens) {
    for (Index c = 0; c < cols; ++c) y.push_back(table[static_cast<std::size_t>(token * cols + c)]);
  }
  return y;
}

}  // namespace lolcats::naive
