// What a cached key has decayed by when it leaves is not defined.
// expected: Memory
#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
using Attention = Hybrid<Hedgehog<4>, Sliding<4>, Memory<HeadGate, Cache<8, LearnedScore>>>;
#else
using Attention = Hybrid<Hedgehog<4>, Sliding<4>, Memory<NoGate, Cache<8, LearnedScore>>>;
#endif
