// One plus ELU.
#pragma once

#include <lolcats/policy/feature_map/feature_map.hpp>

namespace lolcats {

/// phi(x) = 1 + ELU(xW): 1 + z above zero, exp(z) below; F = Rank.
/// Katharopoulos et al. 2020, arXiv:2006.16236, Eq. 7 (there without W).
template <Index Rank>
struct EluPlusOne : RowMap<Rank> {
  static std::string name() { return "elu_plus_one<" + detail::size_name(Rank) + ">"; }

  template <class Row>
  static constexpr Features<Row, 1> features(const Row& z) {
    return {maximum(z, 0.0) + exp(minimum(z, 0.0))};
  }
  template <class Row>
  static constexpr Row pullback(const Row& z, const Features<Row, 1>&, const Features<Row, 1>& dphi) {
    return dphi[0] * exp(minimum(z, 0.0));
  }
};
static_assert(FeatureMap<EluPlusOne<4>>);

}  // namespace lolcats
