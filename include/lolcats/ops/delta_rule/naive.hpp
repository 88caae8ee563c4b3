// The delta rule as plain loops in double: what every backend must reproduce.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

namespace lolcats::naive {

struct DeltaSizes {
  std::size_t queries = 1, keys = 1, states = 1;  // H, G, N
  std::size_t features = 1, size = 1;             // F, D
};

/// y of one sequence of q (T, H * F), k (T, N * F), v (T, G * D) and rates b (T, N), as the recurrence S <- (I - b k k^T) S + b k v^T of
/// unit rows; `state` (N, F, D) is where S starts and ends.
inline std::vector<double> delta_rule(const std::vector<double>& q, const std::vector<double>& k, const std::vector<double>& v,
                                      const std::vector<double>& b, const DeltaSizes& sizes, std::vector<double>& state) {
  const auto [H, G, N, F, D] = sizes;
  const std::size_t tokens = b.size() / N;
  const auto unit = [F = F](const std::vector<double>& x, std::size_t row) {
    double squares = 0;
    for (std::size_t f = 0; f < F; ++f) squares += x[row * F + f] * x[row * F + f];
    std::vector<double> to(F, 0.0);
    for (std::size_t f = 0; squares > 0 && f < F; ++f) to[f] = x[row * F + f] / std::sqrt(squares);
    return to;
  };
  std::vector<double> y(tokens * H * D, 0.0);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t n = 0; n < N; ++n) {
      const auto key = unit(k, t * N + n);
      const double rate = b[t * N + n];
      for (std::size_t d = 0; d < D; ++d) {
        const double value = v[(t * G + n * G / N) * D + d];
        double recalled = 0;
        for (std::size_t f = 0; f < F; ++f) recalled += key[f] * state[(n * F + f) * D + d];
        for (std::size_t f = 0; f < F; ++f) {
          double& s = state[(n * F + f) * D + d];
          s = s - rate * key[f] * recalled + rate * key[f] * value;
        }
      }
    }
    for (std::size_t h = 0; h < H; ++h) {
      const auto query = unit(q, t * H + h);
      for (std::size_t d = 0; d < D; ++d) {
        for (std::size_t f = 0; f < F; ++f) y[(t * H + h) * D + d] += query[f] * state[(h * N / H * F + f) * D + d];
      }
    }
  }
  return y;
}

}  // namespace lolcats::naive
