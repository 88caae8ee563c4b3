#include <lolcats/policy/feature_map/relu.hpp>
#include <lolcats/testing/feature_map_suite.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

static_assert(Relu<4>::bias == Bias::none && T2R<4>::bias == Bias::vector && T2R<4, Bias::head>::bias == Bias::head);

TEST_CASE("ReLU and T2R") {
  check_feature_map<Relu<dynamic>>();
  check_feature_map<T2R<4>>();
  check_feature_map<T2R<4, Bias::head>>();
  CHECK(Relu<8>::name() == "relu<8>");
  CHECK(T2R<128>::name() == "t2r<128>");
  CHECK(T2R<128, Bias::head>::name() == "t2r<128, head bias>");
}
