#include <lolcats/core/progress.hpp>

#include <doctest/doctest.h>

#include <limits>

using namespace lolcats;

TEST_CASE("clock_time writes minutes and hours, and rounds to whole seconds") {
  CHECK(clock_time(0) == "0:00");
  CHECK(clock_time(7.4) == "0:07");
  CHECK(clock_time(59.6) == "1:00");
  CHECK(clock_time(750) == "12:30");
  CHECK(clock_time(3600 + 62) == "1:01:02");
  CHECK(clock_time(3 * 3600 + 4 * 60 + 5) == "3:04:05");
  CHECK(clock_time(std::numeric_limits<double>::infinity()) == "?");
  CHECK(clock_time(std::numeric_limits<double>::quiet_NaN()) == "?");
  CHECK(clock_time(-1) == "?");
}

TEST_CASE("a progress line aligns its updates and shows a validation loss only where there is one") {
  Progress p{.stage = "transfer",
             .update = 120,
             .total = 2300,
             .loss = 0.01234567,
             .validation = {},
             .tokens_per_second = 31415,
             .seconds_remaining = 125};
  CHECK(to_string(p) == "transfer   120/2300  loss 0.01235  31.4K tokens/s  2:05 left");
  p.validation = 0.0119;
  p.tokens_per_second = 435;
  CHECK(to_string(p) == "transfer   120/2300  loss 0.01235  valid 0.0119  435 tokens/s  2:05 left");
}
