// Cross-entropy between two N x N matrices of attention weights as plain loops in double: what every backend must
// reproduce.
#pragma once

#include <lolcats/core/index.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

namespace lolcats::naive {

/// Weights of one sequence of T tokens and H heads, teacher t and student a, both (H, T, T) and zero for later keys:
///
///   sum over heads and queries of  -sum_k t_k log(max(a_k, floor) / sum_i max(a_i, floor))
///
/// Future keys count `floor` in the denominator, as they do where log-weights are fed to a cross-entropy on logits
/// [QUIRKS 22].
inline double weight_cross_entropy(Index heads, Index tokens, const std::vector<double>& teacher,
                                   const std::vector<double>& student, double floor) {
  double loss = 0;
  for (Index row = 0; row < heads * tokens; ++row) {
    double sum = 0;
    for (Index k = 0; k < tokens; ++k) sum += std::max(student[static_cast<std::size_t>(row * tokens + k)], floor);
    for (Index k = 0; k < tokens; ++k) {
      const auto at = static_cast<std::size_t>(row * tokens + k);
      loss -= teacher[at] * std::log(std::max(student[at], floor) / sum);
    }
  }
  return loss;
}

/// Its gradient with respect to `student` (H, T, T), of which only keys in the past are weights.
inline std::vector<double> weight_cross_entropy_gradient(Index heads, Index tokens, const std::vector<double>& teacher,
                                                         const std::vector<double>& student, double floor) {
  std::vector<double> gradient(student.size());
  for (Index row = 0; row < heads * tokens; ++row) {
    double sum = 0, teacher_sum = 0;
    for (Index k = 0; k < tokens; ++k) {
      const auto at = static_cast<std::size_t>(row * tokens + k);
      sum += std::max(student[at], floor);
      teacher_sum += teacher[at];
    }
    for (Index k = 0; k <= row % tokens; ++k) {
      const auto at = static_cast<std::size_t>(row * tokens + k);
      if (student[at] > floor) gradient[at] = teacher_sum / sum - teacher[at] / student[at];
    }
  }
  return gradient;
}

}  // namespace lolcats::naive
