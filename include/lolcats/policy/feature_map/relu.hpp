// ReLU maps: plain, and T2R with its bias.
#pragma once

#include <lolcats/policy/feature_map/feature_map.hpp>

namespace lolcats {

/// phi(x) = max(xW, 0), F = Rank.
template <Index Rank>
struct Relu : RowMap<Rank> {
  static std::string name() { return "relu<" + detail::size_name(Rank) + ">"; }

  template <class Row>
  static constexpr Features<Row, 1> features(const Row& z) {
    return {maximum(z, 0.0)};
  }
  template <class Row>
  static constexpr Row pullback(const Row& z, const Features<Row, 1>&, const Features<Row, 1>& dphi) {
    return dphi[0] * positive(z);
  }
};
static_assert(FeatureMap<Relu<4>>);

/// phi(x) = max(xW + b, 0), F = Rank: Transformer-to-RNN.
///
/// The bias is a vector per head as in the paper (Table 2); Bias::head is the one number per head of the published
/// code [QUIRKS 18].  Kasai et al. 2021, arXiv:2103.13076, Eq. 6.
template <Index Rank, Bias Form = Bias::vector>
struct T2R : Relu<Rank> {
  static_assert(Form != Bias::none, "T2R without a bias is Relu");
  static constexpr Bias bias = Form;
  static std::string name() {
    return "t2r<" + detail::size_name(Rank) + (Form == Bias::head ? ", head bias>" : ">");
  }
};
static_assert(FeatureMap<T2R<4>>);

}  // namespace lolcats
