#include <lolcats/policy/window.hpp>
#include <lolcats/testing/archetypes.hpp>
#include <lolcats/testing/window_suite.hpp>

#include <doctest/doctest.h>

#include <vector>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

/// Lacks one thing each.
struct NoBegin {
  static constexpr bool has_near = true, has_far = true;
  static Index span() { return 1; }
  static Index period() { return 1; }
  static std::string name() { return "no_begin"; }
};
struct NoSpan {
  static constexpr bool has_near = true, has_far = true;
  static Index begin(Index n) { return n; }
  static Index period() { return 1; }
  static std::string name() { return "no_span"; }
};
struct NoPeriod {
  static constexpr bool has_near = true, has_far = true;
  static Index begin(Index n) { return n; }
  static Index span() { return 1; }
  static std::string name() { return "no_period"; }
};
struct NoWindowName {
  static constexpr bool has_near = true, has_far = true;
  static Index begin(Index n) { return n; }
  static Index span() { return 1; }
  static Index period() { return 1; }
};
struct NoFar {
  static constexpr bool has_near = true;
  static Index begin(Index n) { return n; }
  static Index span() { return 1; }
  static Index period() { return 1; }
  static std::string name() { return "no_far"; }
};
struct FloatingBegin : NoBegin {
  static double begin(Index n) { return static_cast<double>(n); }
};
struct ChangingBegin : NoBegin {
  Index begin(Index n) { return n; }  // not const
};
struct CompleteWindow : NoBegin {
  static Index begin(Index n) { return n; }
};

static_assert(Window<CompleteWindow> && Window<ArchetypeWindow>);
static_assert(!Window<NoBegin>);
static_assert(!Window<NoSpan>);
static_assert(!Window<NoPeriod>);
static_assert(!Window<NoWindowName>);
static_assert(!Window<NoFar>);
static_assert(!Window<FloatingBegin>);
static_assert(!Window<ChangingBegin>);
static_assert(!Window<int>);

// What the windows are, known at compile time.
static_assert(Everything::begin(1000) == 0);
static_assert(Nothing::begin(0) == 1 && Nothing::begin(7) == 8);
static_assert(Sliding<4>{}.begin(2) == 0 && Sliding<4>{}.begin(3) == 0 && Sliding<4>{}.begin(4) == 1 &&
              Sliding<4>{}.begin(9) == 6);
static_assert(Sliding<1>{}.begin(5) == 5);
static_assert(Terraced<4>{}.begin(7) == 0 && Terraced<4>{}.begin(8) == 4 && Terraced<4>{}.begin(11) == 4 &&
              Terraced<4>{}.begin(12) == 8);
static_assert(Terraced<4, 1>{}.begin(3) == 0 && Terraced<4, 1>{}.begin(4) == 4 && Terraced<4, 1>{}.begin(7) == 4);
static_assert(std::is_empty_v<Sliding<4>> && std::is_empty_v<Terraced<4>>);
static_assert(!std::is_constructible_v<Sliding<4>, Index>);  // the type says the width already

}  // namespace

TEST_CASE("every window keeps the promises of a window") {
  check_window(Everything{});
  check_window(Nothing{});
  check_window(Sliding<1>{});
  check_window(Sliding<4>{});
  check_window(Sliding<64>{});
  check_window(Sliding<>{7});
  check_window(Terraced<1>{});
  check_window(Terraced<4>{});
  check_window(Terraced<64>{});
  check_window(Terraced<4, 1>{});
  check_window(Terraced<5, 3>{});
  check_window(Terraced<>{6});
  check_window(ArchetypeWindow::make());
}

TEST_CASE("windows of the specification") {
  for (Index n = 0; n < 300; ++n) {
    for (const Index w : {1, 4, 8, 64}) {
      CHECK(Sliding<>(w).begin(n) == (n - w + 1 > 0 ? n - w + 1 : 0));
      const Index before = (n / w - 1) * w;
      CHECK(Terraced<>(w).begin(n) == (before > 0 ? before : 0));
      CHECK(Terraced<dynamic, 1>(w).begin(n) == n / w * w);
    }
  }
}

TEST_CASE("an unlimited sliding window is Everything") {
  const Sliding<> window(unlimited);
  for (const Index n : {Index{0}, Index{1}, Index{1} << 40}) CHECK(window.begin(n) == 0);
  CHECK(window.span() == unlimited);
}

TEST_CASE("windows of run-time width refuse widths below one") {
  CHECK_THROWS_WITH_AS(Sliding<>(0), "Sliding: width is 0, expected at least 1", ConfigError);
  CHECK_THROWS_WITH_AS(Terraced<>(-3), "Terraced: width is -3, expected at least 1", ConfigError);
}

TEST_CASE("window names say what the type says") {
  CHECK(Everything::name() == "everything");
  CHECK(Nothing::name() == "nothing");
  CHECK(Sliding<64>::name() == "sliding<64>");
  CHECK(Sliding<>::name() == "sliding<dynamic>");
  CHECK(Terraced<64>::name() == "terraced<64>");
  CHECK(Terraced<64, 1>::name() == "terraced<64, 1>");
}
