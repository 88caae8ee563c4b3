#include <lolcats/policy/feature_map/elu.hpp>
#include <lolcats/testing/feature_map_suite.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE("1 + ELU") {
  check_feature_map<EluPlusOne<dynamic>>();
  CHECK(EluPlusOne<8>::name() == "elu_plus_one<8>");
  CHECK(
      close(std::vector<double>{std::exp(-2.0), 1, 4}, EluPlusOne<3>::features(PlainRow{{-2, 0, 3}})[0].values, 1e-15));
}
