// Softmax has no features that a memory could be written by.
// expected: corrects
#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
using Attention = Softmax<Sliding<4>, DeltaRule<>>;
#else
using Attention = Hybrid<Hedgehog<4>, Sliding<4>, DeltaRule<>>;
#endif
