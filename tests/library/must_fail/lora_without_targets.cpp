// An adapter on nothing is NoAdapter.
// expected: Lora needs at least one target
#include <lolcats/policy/lora.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
static_assert(Lora<8, Targets{}>::rank == 8);
#else
static_assert(Lora<8, Targets{Projections::q}>::rank == 8);
#endif
