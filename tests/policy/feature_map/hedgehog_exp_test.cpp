#include <lolcats/policy/feature_map/hedgehog_exp.hpp>
#include <lolcats/testing/feature_map_suite.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

static_assert(FeatureMap<HedgehogExp<64>> && FeatureMap<HedgehogExp<dynamic>> && FeatureMap<HedgehogExpHalf<3>>);

TEST_CASE("the exponential form of Hedgehog") {
  check_feature_map<HedgehogExp<dynamic>>();
  check_feature_map<HedgehogExpHalf<4>>();
  CHECK(HedgehogExp<64>::name() == "hedgehog_exp<64>");
  CHECK(HedgehogExpHalf<64>::name() == "hedgehog_exp_half<64>");
}

TEST_CASE("its largest feature is one, and its halves are those of Hedgehog up to a factor per row") {
  const PlainRow z{{0.3, -1.2, 2.0}};
  const auto phi = HedgehogExp<3>::features(z);
  CHECK(max(phi[0]).value == 1);
  CHECK(max(phi[1]).value == 1);
  CHECK(close(naive::softmax_of(z.values, 1), (phi[0] / sum(phi[0])).values, 1e-15));
  CHECK(close(naive::softmax_of(z.values, -1), (phi[1] / sum(phi[1])).values, 1e-15));
}
