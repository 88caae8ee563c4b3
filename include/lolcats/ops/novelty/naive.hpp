// Novelty of keys as plain loops in double: what every backend must reproduce.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

namespace lolcats::naive {

/// Of one sequence, keys (tokens, heads * size): 1 - the mean cosine to all earlier keys over the length of their mean direction.
inline std::vector<double> novelty(const std::vector<double>& keys, std::size_t heads, std::size_t size) {
  const std::size_t tokens = keys.size() / (heads * size);
  const auto key = [&](std::size_t t, std::size_t h) { return keys.data() + (t * heads + h) * size; };
  const auto dot = [&](const double* a, const double* b) {
    double sum = 0;
    for (std::size_t i = 0; i < size; ++i) sum += a[i] * b[i];
    return sum;
  };
  std::vector<double> y;
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t h = 0; h < heads; ++h) {
      const double length = std::sqrt(dot(key(t, h), key(t, h)));
      std::vector<double> mean(size, 0.0);
      for (std::size_t j = 0; j < t; ++j) {
        const double other = std::sqrt(dot(key(j, h), key(j, h)));
        for (std::size_t i = 0; other > 0 && i < size; ++i) mean[i] += key(j, h)[i] / other / static_cast<double>(t);
      }
      const double norm = std::sqrt(dot(mean.data(), mean.data()));
      y.push_back(length > 0 && norm > 0 ? 1 - dot(key(t, h), mean.data()) / length / norm : 1);
    }
  }
  return y;
}

}  // namespace lolcats::naive
