// A feature map of this project's own: one struct.
#pragma once

#include <lolcats/policy/feature_map/feature_map.hpp>

#include <string>

namespace downstream {

/// phi(x) = [z^2, exp(min(z, 0))] with z = xW + b: F = 2 Rank.
template <lolcats::Index Rank>
struct SquareAndDecay : lolcats::RowMap<Rank, 2> {
  static constexpr lolcats::Bias bias = lolcats::Bias::vector;
  static std::string name() { return "square_and_decay<" + std::to_string(Rank) + ">"; }

  template <class Row>
  static constexpr lolcats::Features<Row, 2> features(const Row& z) {
    return {z * z, exp(minimum(z, 0.0))};
  }
  template <class Row>
  static constexpr Row pullback(const Row& z, const lolcats::Features<Row, 2>& phi, const lolcats::Features<Row, 2>& dphi) {
    return dphi[0] * z * 2.0 + dphi[1] * phi[1] * positive(-z);
  }
};
static_assert(lolcats::FeatureMap<SquareAndDecay<4>>);

}  // namespace downstream
