// Conformance of a gate, or a delta rule's rate: call `check_gate<MyGate>()` in a doctest TEST_CASE.
#pragma once

#include <lolcats/policy/gate.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <string>

namespace lolcats::testing {

/// log_decay is finite and never positive, so that nothing grows, and slope is its derivative by central differences: at all biases that
/// gates start with and, unless z is such a bias for ever, from -`until` to `until`.
template <GatePolicy G>
void check_gate(double until = 30) {
  INFO(G::name());
  CHECK(!std::string(G::name()).empty());
  const auto check = [](double z) {
    INFO("z is ", z);
    REQUIRE(std::isfinite(z));
    REQUIRE(std::isfinite(G::log_decay(z)));
    REQUIRE(G::log_decay(z) <= 0);
    constexpr double step = 1e-5;
    const double difference = (G::log_decay(z + step) - G::log_decay(z - step)) / (2 * step);
    REQUIRE(G::slope(z) == doctest::Approx(difference).epsilon(1e-4).scale(1e-2));
  };
  for (const Index heads : {1, 3, 8, 32}) {
    for (Index h = 0; h < heads; ++h) check(G::start(h, heads));
  }
  if (!G::learned && G::input == GateInput::none) return;
  for (double z = -until; z <= until; z += 0.37) check(z);
}

}  // namespace lolcats::testing
