// phi(x) = max(f(xW + b), floor) as plain loops in double: what every backend must reproduce.
#pragma once

#include <lolcats/core/index.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace lolcats::naive {

using Values = std::vector<double>;

/// What a map does to one row z = xW + b, before the clamp.
using Activation = std::function<Values(const Values&)>;

/// exp(sign z_i) / sum_j exp(sign z_j).
inline Values softmax_of(const Values& z, double sign) {
  double largest = sign * z[0], sum = 0;
  for (const double zi : z) largest = std::max(largest, sign * zi);
  Values p(z.size());
  for (std::size_t i = 0; i < z.size(); ++i) sum += p[i] = std::exp(sign * z[i] - largest);
  for (double& pi : p) pi /= sum;
  return p;
}

/// [softmax(z), softmax(-z)].
inline Values hedgehog(const Values& z) {
  Values phi = softmax_of(z, 1);
  for (const double p : softmax_of(z, -1)) phi.push_back(p);
  return phi;
}
inline Values hedgehog_half(const Values& z) { return softmax_of(z, 1); }

/// exp(z - max z).
inline Values hedgehog_exp_half(const Values& z) {
  Values phi;
  for (const double zi : z) phi.push_back(std::exp(zi - *std::max_element(z.begin(), z.end())));
  return phi;
}
/// [exp(z - max z), exp(min z - z)].
inline Values hedgehog_exp(const Values& z) {
  Values phi = hedgehog_exp_half(z);
  for (const double zi : z) phi.push_back(std::exp(*std::min_element(z.begin(), z.end()) - zi));
  return phi;
}

/// 1 + z above zero, exp(z) below.
inline Values elu_plus_one(const Values& z) {
  Values phi;
  for (const double zi : z) phi.push_back(zi > 0 ? 1 + zi : std::exp(zi));
  return phi;
}
inline Values relu(const Values& z) {
  Values phi;
  for (const double zi : z) phi.push_back(zi > 0 ? zi : 0);
  return phi;
}
inline Values identity(const Values& z) { return z; }

/// The numbers around an activation.
struct FeatureMapSizes {
  Index rows = 0;        // M
  Index heads = 0;       // H
  Index size = 0;        // D
  Index projected = 0;   // f
  Index bias_width = 0;  // 0: no bias, 1: one per head, f: a vector per head
  bool skip = false;     // x + xW
};

/// z = xW + b of one row and head.
inline Values project(const FeatureMapSizes& n, const Values& x, const Values& map, const Values& bias, Index row,
                      Index head) {
  Values z;
  for (Index j = 0; j < n.projected; ++j) {
    double sum = 0;
    for (Index i = 0; i < n.size; ++i) {
      sum += x[static_cast<std::size_t>((row * n.heads + head) * n.size + i)] *
             map[static_cast<std::size_t>((head * n.size + i) * n.projected + j)];
    }
    if (n.skip) sum += x[static_cast<std::size_t>((row * n.heads + head) * n.size + j)];
    if (n.bias_width > 0) {
      sum += bias[static_cast<std::size_t>(head * n.bias_width + (n.bias_width == 1 ? 0 : j))];
    }
    z.push_back(sum);
  }
  return z;
}

/// x (M, H * D), map (H, D, f), bias (H, bias_width) -> (M, H * F); `floor` clamps below, -infinity does not.
inline Values feature_map(const FeatureMapSizes& n, const Values& x, const Values& map, const Values& bias,
                          const Activation& activation, double floor) {
  Values phi;
  for (Index row = 0; row < n.rows; ++row) {
    for (Index head = 0; head < n.heads; ++head) {
      for (const double value : activation(project(n, x, map, bias, row, head))) phi.push_back(std::max(value, floor));
    }
  }
  return phi;
}

}  // namespace lolcats::naive
