// A map projects onto something.
// expected: at least one feature
#include <lolcats/policy/feature_map/hedgehog.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
constexpr auto projected = Hedgehog<0>::projected;
#else
constexpr auto projected = Hedgehog<1>::projected;
#endif
static_assert(projected == 1);
