// Beside a memory that corrects, far keys weigh 1 - gamma already.
// expected: corrects
#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
using Attention = Hybrid<Hedgehog<4>, Sliding<4>, Affine, DeltaRule<>>;
#else
using Attention = Hybrid<Hedgehog<4>, Sliding<4>, Affine, Decay<HeadGate>>;
#endif
