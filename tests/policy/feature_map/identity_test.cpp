#include <lolcats/policy/feature_map/identity.hpp>
#include <lolcats/testing/feature_map_suite.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE("identity is not clamped") {
  check_feature_map<Identity<4>>({.nonnegative = false});
  CHECK(Identity<4>::name() == "identity<4>");
  static_assert(!Identity<4>::clamped);
}
