// Hedgehog: two softmaxes, one for each sign.
#pragma once

#include <lolcats/policy/feature_map/feature_map.hpp>

namespace lolcats {

/// phi(x) = [softmax(xW), softmax(-xW)], F = 2 Rank.
///
/// The two softmaxes are separate.  Some libraries use one softmax over [xW, -xW]; that is another map.
/// Zhang et al. 2024, arXiv:2402.04347; LoLCATs, arXiv:2410.10254, Table 2.
template <Index Rank>
struct Hedgehog : RowMap<Rank, 2> {
  static std::string name() { return "hedgehog<" + detail::size_name(Rank) + ">"; }

  template <class Row>
  static constexpr Features<Row, 2> features(const Row& z) {
    return {softmax(z), softmax(-z)};
  }
  template <class Row>
  static constexpr Row pullback(const Row&, const Features<Row, 2>& phi, const Features<Row, 2>& dphi) {
    return softmax_pullback(phi[0], dphi[0]) - softmax_pullback(phi[1], dphi[1]);
  }
};
static_assert(FeatureMap<Hedgehog<4>>);

/// phi(x) = softmax(xW), F = Rank: one half of Hedgehog.
template <Index Rank>
struct HedgehogHalf : RowMap<Rank> {
  static std::string name() { return "hedgehog_half<" + detail::size_name(Rank) + ">"; }

  template <class Row>
  static constexpr Features<Row, 1> features(const Row& z) {
    return {softmax(z)};
  }
  template <class Row>
  static constexpr Row pullback(const Row&, const Features<Row, 1>& phi, const Features<Row, 1>& dphi) {
    return softmax_pullback(phi[0], dphi[0]);
  }
};
static_assert(FeatureMap<HedgehogHalf<4>>);

}  // namespace lolcats
