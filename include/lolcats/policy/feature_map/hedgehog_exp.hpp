// The exponential form of Hedgehog.
#pragma once

#include <lolcats/policy/feature_map/feature_map.hpp>

namespace lolcats {

/// phi(x) = [exp(z - max z), exp(min z - z)], z = xW, F = 2 Rank.
///
/// The shifts are per token, so for keys they reweight tokens and do not cancel: they are part of the map [QUIRKS 11],
/// and the gradient flows through them to the extreme entries.  Zhang et al. 2024, arXiv:2402.04347, Eq. 6.
template <Index Rank>
struct HedgehogExp : RowMap<Rank, 2> {
  static std::string name() { return "hedgehog_exp<" + detail::size_name(Rank) + ">"; }

  template <class Row>
  static constexpr Features<Row, 2> features(const Row& z) {
    return {exp(z - max(z)), exp(-z + min(z))};
  }
  template <class Row>
  static constexpr Row pullback(const Row& z, const Features<Row, 2>& phi, const Features<Row, 2>& dphi) {
    const Row up = phi[0] * dphi[0];
    const Row down = phi[1] * dphi[1];
    return up - is_max(z) * sum(up) - down + is_max(-z) * sum(down);
  }
};
static_assert(FeatureMap<HedgehogExp<4>>);

/// phi(x) = exp(z - max z), z = xW, F = Rank.
template <Index Rank>
struct HedgehogExpHalf : RowMap<Rank> {
  static std::string name() { return "hedgehog_exp_half<" + detail::size_name(Rank) + ">"; }

  template <class Row>
  static constexpr Features<Row, 1> features(const Row& z) {
    return {exp(z - max(z))};
  }
  template <class Row>
  static constexpr Row pullback(const Row& z, const Features<Row, 1>& phi, const Features<Row, 1>& dphi) {
    const Row up = phi[0] * dphi[0];
    return up - is_max(z) * sum(up);
  }
};
static_assert(FeatureMap<HedgehogExpHalf<4>>);

}  // namespace lolcats
