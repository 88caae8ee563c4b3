// Conformance of a window: call `check_window(MyWindow{})` in a doctest TEST_CASE.
#pragma once

#include <lolcats/policy/window.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

namespace lolcats::testing {

/// begin(n) lies in [0, n + 1], never decreases and repeats after a period; no query has more near keys than span();
/// has_near and has_far tell the truth, sinks included; no key of the future is far.
template <Window W>
void check_window(const W& window, Index until = 500) {
  INFO(W::name());
  CHECK(!std::string(W::name()).empty());
  CHECK(window.span() >= 0);
  REQUIRE(window.period() >= 1);
  Index previous = 0;
  bool any_near = false;
  for (Index n = 0; n < until; ++n) {
    const Index begin = window.begin(n);
    INFO("begin(", n, ") is ", begin);
    REQUIRE(begin >= 0);
    REQUIRE(begin <= n + 1);
    REQUIRE(begin >= previous);
    REQUIRE(n + 1 - begin <= window.span());
    previous = begin;

    Index near = 0, far = 0, ahead = 0;
    for (Index key = 0; key < until; ++key) {
      if (key > n) {
        ahead += key < begin;
        continue;
      }
      near += is_near(window, n, key);
      far += !is_near(window, n, key);
    }
    REQUIRE(ahead == 0);
    REQUIRE(near + far == n + 1);
    if (near > 0) any_near = true;
    if (far > 0) REQUIRE(W::has_far);
    if (near > 0) REQUIRE(W::has_near);
    // A window with near keys always holds the query's own: the denominator of a hybrid has no other floor.
    if (W::has_near) REQUIRE(near > 0);
    // Once the window has left the start, its pattern repeats.
    if (begin > 0 && n + window.period() < until) REQUIRE(window.begin(n + window.period()) == begin + window.period());
  }
  CHECK(any_near == W::has_near);
}

}  // namespace lolcats::testing
