// The rotary frequencies that a config asks for.
#pragma once

#include <lolcats/io/llama_config.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace lolcats {

/// D / 2 angular frequencies in radians per token: theta^(-2i / D), stretched as `rope.kind` says.
///
/// Linear divides all by factor.  Llama3 keeps wavelengths shorter than original / high, divides those longer than
/// original / low by factor, and blends between them, linearly in original / wavelength.
inline std::vector<double> rope_frequencies(const RopeConfig& rope, Index head_dim) {
  std::vector<double> frequencies;
  for (Index i = 0; i < head_dim / 2; ++i) {
    double frequency = std::pow(rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    if (rope.kind == RopeKind::Linear) frequency /= rope.factor;
    if (rope.kind == RopeKind::Llama3) {
      const double turns = static_cast<double>(rope.original_max_position) * frequency / (2 * std::numbers::pi);
      const double keep =
          std::clamp((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
      frequency *= keep + (1 - keep) / rope.factor;
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

}  // namespace lolcats
