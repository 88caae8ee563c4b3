// close: the comparison that all other tests rely on.
#include <lolcats/testing/close.hpp>

#include <doctest/doctest.h>

#include <limits>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE("close is relative to the largest entry, and exact at its tolerance") {
  const std::vector<double> want = {1.0, -4.0, 0.0};
  CHECK(close(want, std::vector{1.0, -4.0, 0.0}, 0.0));
  CHECK(close(want, std::vector{1.0, -4.0, 0.25}, 0.0625));
  CHECK_FALSE(close(want, std::vector{1.0, -4.0, 0.2501}, 0.0625));
  CHECK_FALSE(close(want, std::vector{1.0, 4.0, 0.0}, 1.0));
  CHECK(same(want, std::vector<float>{1.0F, -4.0F, 0.0F}));
}

TEST_CASE("close reports the largest error, its index and the RMS ratio") {
  const Verdict verdict = close(std::vector{3.0, 4.0}, std::vector{3.0, 4.5}, 0.1);
  CHECK(verdict.text ==
        "close: largest error 0.125 of the largest entry 4 (tolerance 0.1) at 1: got 4.5, expected 4; RMS ratio 0.1");
}

TEST_CASE("different sizes, NaN and infinity fail") {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  CHECK_FALSE(close(std::vector{1.0}, std::vector{1.0, 1.0}, 1.0));
  CHECK_FALSE(close(std::vector{1.0}, std::vector{nan}, 1.0));
  CHECK_FALSE(close(std::vector{nan}, std::vector{nan}, 1.0));
  CHECK_FALSE(close(std::vector{infinity}, std::vector{infinity}, 1.0));
  CHECK_FALSE(close(std::vector{1.0}, std::vector{-infinity}, 1.0));
}

TEST_CASE("zeros are compared absolutely, and nothing is close to nothing where a test asks for it") {
  CHECK(close(std::vector{0.0, 0.0}, std::vector{0.0, 1e-9}, 1e-8));
  CHECK_FALSE(close(std::vector{0.0, 0.0}, std::vector{0.0, 1e-7}, 1e-8));
  const std::vector<double> none;
  CHECK_FALSE(close(none, none, 1.0));
  CHECK_FALSE(close_in_norm(none, none, 1.0));
  CHECK_FALSE(same(none, none));
  CHECK(close(none, none, 0.0, OfNothing::passes));
  CHECK_FALSE(close(none, std::vector{1.0}, 1.0, OfNothing::passes));
}
