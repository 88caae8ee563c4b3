// The feature map, and a memory's gate, a struct, too: everything that lolcats promises about them.
#include "square_and_decay.hpp"

#include <lolcats/testing/attention_suite.hpp>
#include <lolcats/testing/feature_map_suite.hpp>
#include <lolcats/testing/gate_suite.hpp>
#include <lolcats/testing/window_suite.hpp>

#include <doctest/doctest.h>

#include <cmath>

namespace downstream {

using Map = SquareAndDecay<4>;
using Attention = lolcats::Hybrid<Map, lolcats::Sliding<8>>;

/// Far keys fade by a = 1 / (1 + b^2 / 4), one learned number b per head.
struct Fading {
  static constexpr lolcats::GateInput input = lolcats::GateInput::none;
  static constexpr bool learned = true;
  static double start(lolcats::Index, lolcats::Index) { return 0.5; }
  static double log_decay(double b) { return -std::log1p(b * b / 4); }
  static constexpr double slope(double b) { return -2 * b / (4 + b * b); }
  static std::string name() { return "fading"; }
};
static_assert(lolcats::GatePolicy<Fading>);
using Forgetful = lolcats::Hybrid<Map, lolcats::Sliding<8>, lolcats::Decay<Fading>>;

}  // namespace downstream

TEST_CASE("our feature map conforms") { lolcats::testing::check_feature_map<downstream::Map>(); }

TEST_CASE("our window conforms") { lolcats::testing::check_window(lolcats::Sliding<8>{}); }

TEST_CASE("hybrid attention with our feature map conforms") {
  lolcats::testing::check_attention<downstream::Attention>();
}

TEST_CASE("our gate conforms") { lolcats::testing::check_gate<downstream::Fading>(); }

TEST_CASE("a memory with our gate conforms") { lolcats::testing::check_attention<downstream::Forgetful, false>(); }
