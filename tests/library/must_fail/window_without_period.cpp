// A type without all that Window asks for is no window, and the missing name is told.
// expected: period
#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>

using namespace lolcats;

struct Latest {
  static constexpr bool has_near = true;
  static constexpr bool has_far = true;
  static constexpr Index begin(Index n) { return n; }
  static constexpr Index span() { return 1; }
#ifndef MUST_FAIL
  static constexpr Index period() { return 1; }
#endif
  static std::string name() { return "latest"; }
};

using Attention = Hybrid<Hedgehog<4>, Latest>;
