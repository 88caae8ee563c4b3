// An attention has one memory.
// expected: known_options
#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
using Attention = Hybrid<Hedgehog<4>, Sliding<4>, Decay<HeadGate>, Kept<8, LearnedScore>>;
#else
using Attention = Hybrid<Hedgehog<4>, Sliding<4>, Decay<HeadGate>>;
#endif
