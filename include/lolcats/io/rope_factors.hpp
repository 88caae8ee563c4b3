// What rotary scaling a list of factors stands for.
#pragma once

#include <lolcats/io/llama_config.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <span>
#include <vector>

namespace lolcats {

namespace detail {

/// What Llama 3's rule leaves of a frequency: 1 where it is kept, 1 / factor where it is stretched in full.
inline double llama3_share(const RopeConfig& rope, double frequency) {
  const double turns = static_cast<double>(rope.original_max_position) * frequency / (2 * std::numbers::pi);
  const double keep =
      std::clamp((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
  return keep + (1 - keep) / rope.factor;
}

/// The ramp through the factors between 1 and the largest: a straight line in the frequency, by least squares.  One of
/// the rule's three numbers is free; without an `original` length low_freq_factor is 1.
inline std::optional<RopeConfig> fit_llama3(RopeConfig rope, std::span<const double> frequencies,
                                            std::span<const double> factors, Index original) {
  double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double keep = (1 / factors[i] - 1 / rope.factor) / (1 - 1 / rope.factor);
    if (keep < 1e-3 || keep > 1 - 1e-3) continue;
    const double x = frequencies[i] / frequencies[0];
    n += 1, sx += x, sy += keep, sxx += x * x, sxy += x * keep;
  }
  const double spread = n * sxx - sx * sx;
  if (n < 2 || spread <= 0) return std::nullopt;
  const double slope = (n * sxy - sx * sy) / spread / frequencies[0];
  const double start = (sy - slope * sx * frequencies[0]) / n;  // below 0: -low / (high - low)
  if (!(slope > 0 && start < 0)) return std::nullopt;
  const double reach = 2 * std::numbers::pi * slope;  // original / (high - low)
  const double width = original > 0 ? static_cast<double>(original) / reach : -1 / start;
  if (!(reach * width >= 1 && reach * width < 1e12)) return std::nullopt;
  rope.low_freq_factor = -start * width;
  rope.high_freq_factor = rope.low_freq_factor + width;
  rope.original_max_position = static_cast<Index>(std::llround(reach * width));
  return rope;
}

}  // namespace detail

/// The config whose frequencies are theta^(-2i / D) / factors[i] for all D / 2 of them, or nothing if there is none.
///
/// GGUF files keep Llama 3's scaling as these factors.  The usual numbers (1, 4, 8192 or `original`) are tried first, so
/// that the config is the one which the factors were made from.  The match is to 1e-5 of the frequency, the precision of
/// tables made in float32.  `original` 0: unknown.
inline std::optional<RopeConfig> rope_of_factors(double theta, std::span<const double> factors, Index original = 0) {
  RopeConfig rope;
  rope.theta = theta;
  if (factors.empty()) return std::nullopt;
  std::vector<double> frequencies;
  for (std::size_t i = 0; i < factors.size(); ++i) {
    if (!(std::isfinite(factors[i]) && factors[i] > 0)) return std::nullopt;
    frequencies.push_back(std::pow(theta, -static_cast<double>(i) / static_cast<double>(factors.size())));
  }
  const auto [least, most] = std::minmax_element(factors.begin(), factors.end());
  if (*most - *least <= 1e-6 * *most) {
    if (std::abs(*most - 1) > 1e-6) rope.kind = RopeKind::Linear, rope.factor = *most;
    return rope;
  }
  const auto fits = [&](const RopeConfig& candidate) {
    for (std::size_t i = 0; i < factors.size(); ++i) {
      const double difference = 1 / factors[i] - detail::llama3_share(candidate, frequencies[i]);
      if (!(std::abs(difference) <= 1e-5)) return false;
    }
    return true;
  };
  rope.kind = RopeKind::Llama3;
  rope.factor = *most;
  rope.low_freq_factor = 1;
  rope.high_freq_factor = 4;
  rope.original_max_position = original > 0 ? original : 8192;
  if (fits(rope)) return rope;
  const auto fitted = detail::fit_llama3(rope, frequencies, factors, original);
  if (fitted && fits(*fitted)) return fitted;
  return std::nullopt;
}

}  // namespace lolcats
