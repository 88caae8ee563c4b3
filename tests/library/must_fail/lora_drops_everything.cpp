// Dropout of 1 would leave no input.
// expected: dropout lies in
#include <lolcats/policy/lora.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
static_assert(Lora<8, qkvo, 16, Ratio{1, 1}>::rank == 8);
#else
static_assert(Lora<8, qkvo, 16, Ratio{1, 20}>::rank == 8);
#endif
