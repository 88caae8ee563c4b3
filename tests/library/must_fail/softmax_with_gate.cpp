// Softmax has no sums over far keys that could forget.
// expected: decays
#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
using Attention = Softmax<Sliding<4>, Decay<HeadGate>>;
#else
using Attention = Linear<Hedgehog<4>, Decay<HeadGate>>;
#endif
