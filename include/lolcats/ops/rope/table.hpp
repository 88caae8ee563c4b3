// Cosines and sines of the rotary angles.
#pragma once

#include <lolcats/backend/backend.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

namespace lolcats {

/// cos and sin of position * frequency for positions 0 ... P - 1, in Real, from angles in double.
///
/// Angles in float32, as Hugging Face forms them, are off by about position * 6e-8 radians.
template <Backend B>
class RopeTable {
 public:
  RopeTable() = default;

  /// `frequencies` (D / 2) in radians per token, one per rotary plane; the first table holds `positions` positions.
  explicit RopeTable(std::vector<double> frequencies, Index positions = 0, B backend = {})
      : backend_(backend), frequencies_(std::move(frequencies)) {
    require<ConfigError>(!frequencies_.empty(), "RopeTable: no frequencies");
    for (const double f : frequencies_) {
      require<ConfigError>(std::isfinite(f), "RopeTable: frequency {}, expected a finite number", f);
    }
    reserve(positions);
  }

  /// Makes room for positions 0 ... positions - 1; grows at least twofold, so that decoding pays rarely.
  /// Views of cos() and sin() taken before are invalid afterwards.
  void reserve(Index positions) {
    if (positions <= positions_) return;
    positions = std::max(positions, 2 * positions_);
    const auto planes = static_cast<Index>(frequencies_.size());
    std::vector<double> cosines, sines;
    cosines.reserve(static_cast<std::size_t>(positions * planes));
    sines.reserve(static_cast<std::size_t>(positions * planes));
    for (Index position = 0; position < positions; ++position) {
      for (const double frequency : frequencies_) {
        cosines.push_back(std::cos(static_cast<double>(position) * frequency));
        sines.push_back(std::sin(static_cast<double>(position) * frequency));
      }
    }
    Array<B, Real<B>> cos(Shape{positions, planes}), sin(Shape{positions, planes});
    backend_.from_host(cosines.data(), cos.data(), cos.size());
    backend_.from_host(sines.data(), sin.data(), sin.size());
    cos_ = std::move(cos);
    sin_ = std::move(sin);
    positions_ = positions;
  }

  Index positions() const { return positions_; }
  /// D.
  Index head_dim() const { return 2 * static_cast<Index>(frequencies_.size()); }
  const std::vector<double>& frequencies() const { return frequencies_; }
  /// (P, D / 2).
  View<const Real<B>> cos() const { return cos_.view(); }
  View<const Real<B>> sin() const { return sin_.view(); }

 private:
  B backend_;
  std::vector<double> frequencies_;
  Index positions_ = 0;
  Array<B, Real<B>> cos_, sin_;
};

}  // namespace lolcats
