#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/testing/feature_map_suite.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

static_assert(FeatureMap<Hedgehog<64>> && FeatureMap<Hedgehog<dynamic>> && FeatureMap<HedgehogHalf<3>>);
static_assert(feature_count<Hedgehog<64>>(64) == 128 && feature_count<HedgehogHalf<64>>(64) == 64);

TEST_CASE("Hedgehog") {
  check_feature_map<Hedgehog<4>>();
  check_feature_map<Hedgehog<dynamic>>();
  CHECK(Hedgehog<64>::name() == "hedgehog<64>");
  CHECK(Hedgehog<dynamic>::name() == "hedgehog<dynamic>");
}

TEST_CASE("half of Hedgehog") {
  check_feature_map<HedgehogHalf<dynamic>>();
  CHECK(HedgehogHalf<64>::name() == "hedgehog_half<64>");
}

TEST_CASE("each half of Hedgehog sums to one, and the sign of the input swaps them") {
  const PlainRow z{{0.3, -1.2, 2.0}};
  const auto phi = Hedgehog<3>::features(z), mirrored = Hedgehog<3>::features(-z);
  for (const PlainRow& half : phi) CHECK(sum(half).value == doctest::Approx(1).epsilon(1e-15));
  CHECK(close(phi[0].values, mirrored[1].values, 1e-15));
  CHECK(close(phi[1].values, mirrored[0].values, 1e-15));
}
