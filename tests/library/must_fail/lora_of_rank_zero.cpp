// An adapter of rank 0 is NoAdapter.
// expected: Lora needs a rank of at least 1
#include <lolcats/policy/lora.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
static_assert(Lora<0>::dropout == 0);
#else
static_assert(Lora<1>::dropout == 0);
#endif
