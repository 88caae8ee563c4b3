// The identity, a test device.
#pragma once

#include <lolcats/policy/feature_map/feature_map.hpp>

namespace lolcats {

/// phi(x) = xW, neither positive nor clamped: attention weights may vanish or change sign.  For tests.
template <Index Rank>
struct Identity : RowMap<Rank> {
  static constexpr bool clamped = false;
  static std::string name() { return "identity<" + detail::size_name(Rank) + ">"; }

  template <class Row>
  static constexpr Features<Row, 1> features(const Row& z) {
    return {z};
  }
  template <class Row>
  static constexpr Row pullback(const Row&, const Features<Row, 1>&, const Features<Row, 1>& dphi) {
    return dphi[0];
  }
};
static_assert(FeatureMap<Identity<4>>);

}  // namespace lolcats
