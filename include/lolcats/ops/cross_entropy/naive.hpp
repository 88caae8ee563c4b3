// Next-token loss over a vocabulary as plain loops in double: what every backend must reproduce.
#pragma once

#include <lolcats/core/index.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

namespace lolcats::naive {

/// hidden (M, C), head (V, C), labels (M) -> the loss of each row (M), 0 where the label is -100.
inline std::vector<double> token_losses(const std::vector<double>& hidden, const std::vector<double>& head,
                                        const std::vector<Index>& labels, Index vocabulary, Index cols) {
  std::vector<double> losses;
  for (std::size_t m = 0; m < labels.size(); ++m) {
    std::vector<double> logits;
    for (Index v = 0; v < vocabulary; ++v) {
      double logit = 0;
      for (Index c = 0; c < cols; ++c) {
        logit += hidden[m * static_cast<std::size_t>(cols) + static_cast<std::size_t>(c)] *
                 head[static_cast<std::size_t>(v * cols + c)];
      }
      logits.push_back(logit);
    }
    const double top = *std::max_element(logits.begin(), logits.end());
    double total = 0;
    for (const double logit : logits) total += std::exp(logit - top);
    losses.push_back(labels[m] == -100 ? 0.0 : top + std::log(total) - logits[static_cast<std::size_t>(labels[m])]);
  }
  return losses;
}

/// scale * the sum of the losses.
inline double cross_entropy(const std::vector<double>& hidden, const std::vector<double>& head,
                            const std::vector<Index>& labels, Index vocabulary, Index cols, double scale) {
  double total = 0;
  for (const double loss : token_losses(hidden, head, labels, vocabulary, cols)) total += loss;
  return scale * total;
}

}  // namespace lolcats::naive
