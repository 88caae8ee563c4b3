#include <lolcats/policy/feature_map/modifiers.hpp>
#include <lolcats/testing/feature_map_suite.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

static_assert(FeatureMap<StartedBy<Hedgehog<4>, KaimingStart>> && FeatureMap<Skip<Hedgehog<4>>> &&
              FeatureMap<Biased<Hedgehog<4>>>);
static_assert(Skip<Biased<Relu<4>>>::skip && Skip<Biased<Relu<4>>>::bias == Bias::vector);
static_assert(std::is_same_v<StartedBy<Hedgehog<4>, NormalStart>::Initialization, NormalStart>);

TEST_CASE("modified maps") {
  check_feature_map<Skip<Hedgehog<4>>>();
  check_feature_map<Skip<Biased<EluPlusOne<dynamic>>>>();
  check_feature_map<Biased<EluPlusOne<4>, Bias::head>>();  // a softmax does not change by it
}

TEST_CASE("a modified map says so") {
  CHECK(StartedBy<Hedgehog<64>, KaimingStart>::name() == "hedgehog<64> from kaiming");
  CHECK(Skip<Hedgehog<64>>::name() == "skip<hedgehog<64>>");
  CHECK(Biased<Relu<8>>::name() == "biased<relu<8>>");
  CHECK(Biased<Relu<8>, Bias::head>::name() == "head_biased<relu<8>>");
}

TEST_CASE("a biased ReLU is T2R") {
  const PlainRow z{{-1, 0.5, 2}};
  CHECK(Biased<Relu<3>>::features(z)[0].values == T2R<3>::features(z)[0].values);
  CHECK(Biased<Relu<3>>::bias == T2R<3>::bias);
}
