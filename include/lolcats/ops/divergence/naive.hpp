// The divergence of one prediction from another as plain loops in double: what every backend must reproduce.
#pragma once

#include <lolcats/core/index.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

namespace lolcats::naive {

/// log softmax(x head^T / temperature) (V) of row m of x (M, C).
inline std::vector<double> log_probabilities(const std::vector<double>& x, std::size_t m, const std::vector<double>& head,
                                             Index vocabulary, Index cols, double temperature) {
  std::vector<double> logits;
  for (Index v = 0; v < vocabulary; ++v) {
    double logit = 0;
    for (Index c = 0; c < cols; ++c) {
      logit += x[m * static_cast<std::size_t>(cols) + static_cast<std::size_t>(c)] * head[static_cast<std::size_t>(v * cols + c)];
    }
    logits.push_back(logit / temperature);
  }
  const double top = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const double logit : logits) total += std::exp(logit - top);
  for (double& logit : logits) logit -= top + std::log(total);
  return logits;
}

/// hidden and teacher (M, C), head (V, C), labels (M) -> KL(teacher || hidden) of each row (M), 0 where the label is -100.
inline std::vector<double> token_divergences(const std::vector<double>& hidden, const std::vector<double>& teacher,
                                             const std::vector<double>& head, const std::vector<Index>& labels,
                                             Index vocabulary, Index cols, double temperature) {
  std::vector<double> divergences;
  for (std::size_t m = 0; m < labels.size(); ++m) {
    const auto q = log_probabilities(hidden, m, head, vocabulary, cols, temperature);
    const auto p = log_probabilities(teacher, m, head, vocabulary, cols, temperature);
    double sum = 0;
    for (std::size_t v = 0; v < p.size(); ++v) sum += std::exp(p[v]) * (p[v] - q[v]);
    divergences.push_back(labels[m] == -100 ? 0.0 : sum);
  }
  return divergences;
}

}  // namespace lolcats::naive
