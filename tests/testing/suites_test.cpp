// The suites find planted errors.  (What these cases print is expected.)
#include <lolcats/testing/feature_map_suite.hpp>
#include <lolcats/testing/gate_suite.hpp>
#include <lolcats/testing/window_suite.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

/// The softmax of a row whose pullback forgets the mean.
struct WrongPullback : RowMap<4> {
  static std::string name() { return "wrong_pullback"; }
  template <class Row>
  static Features<Row, 1> features(const Row& z) {
    return {softmax(z)};
  }
  template <class Row>
  static Row pullback(const Row&, const Features<Row, 1>& phi, const Features<Row, 1>& dphi) {
    return phi[0] * dphi[0];
  }
};
/// Overflows where nothing is subtracted before exp.
struct Overflowing : RowMap<4> {
  static std::string name() { return "overflowing"; }
  template <class Row>
  static Features<Row, 1> features(const Row& z) {
    return {exp(z)};
  }
  template <class Row>
  static Row pullback(const Row&, const Features<Row, 1>& phi, const Features<Row, 1>& dphi) {
    return phi[0] * dphi[0];
  }
};
/// Some features are negative.
struct Negative : RowMap<4> {
  static constexpr bool clamped = false;
  static std::string name() { return "negative"; }
  template <class Row>
  static Features<Row, 1> features(const Row& z) {
    return {z};
  }
  template <class Row>
  static Row pullback(const Row&, const Features<Row, 1>&, const Features<Row, 1>& dphi) {
    return dphi[0];
  }
};

/// Six near keys, where the span says four.
struct Wide : Sliding<4> {
  Index begin(Index n) const { return std::max<Index>(0, n - 5); }
};
struct Backwards : Sliding<4> {
  Index begin(Index n) const { return n % 4 == 3 ? n - 3 : n; }
};
struct FutureBegin : Sliding<4> {
  Index begin(Index n) const { return n + 2; }
};
struct WrongPeriod : Terraced<4> {
  static Index period() { return 3; }
};
struct HiddenFar : Sliding<4> {
  static constexpr bool has_far = false;
};

struct WrongSlope : HeadGate {
  static double slope(double z) { return 1.01 * HeadGate::slope(z); }
};
/// Forgets nothing and more than that, far from where it starts.
struct Growing : HeadGate {
  static double log_decay(double z) { return HeadGate::log_decay(z) + std::max(0.0, z - 20) / 100; }
  static double slope(double z) { return HeadGate::slope(z) + (z > 20 ? 0.01 : 0); }
};
struct StartsNowhere : HeadGate {
  static double start(Index h, Index) { return std::log(static_cast<double>(h)); }
};

}  // namespace

TEST_CASE("a wrong pullback is found" * doctest::should_fail()) { check_feature_map<WrongPullback>(); }
TEST_CASE("a map that overflows is found" * doctest::should_fail()) { check_feature_map<Overflowing>(); }
TEST_CASE("a map with negative features is found" * doctest::should_fail()) { check_feature_map<Negative>(); }
TEST_CASE("a window wider than its span is found" * doctest::should_fail()) { check_window(Wide{}); }
TEST_CASE("a window that moves back is found" * doctest::should_fail()) { check_window(Backwards{}); }
TEST_CASE("a window that begins in the future is found" * doctest::should_fail()) { check_window(FutureBegin{}); }
TEST_CASE("a wrong period is found" * doctest::should_fail()) { check_window(WrongPeriod{}); }
TEST_CASE("far keys that has_far denies are found" * doctest::should_fail()) { check_window(HiddenFar{}); }
TEST_CASE("a wrong slope is found" * doctest::should_fail()) { check_gate<WrongSlope>(); }
TEST_CASE("a gate that lets sums grow is found" * doctest::should_fail()) { check_gate<Growing>(); }
TEST_CASE("a gate that starts at no number is found" * doctest::should_fail()) { check_gate<StartsNowhere>(); }
