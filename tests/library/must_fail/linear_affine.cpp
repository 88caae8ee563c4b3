// Linear has no gamma, so it cannot be Affine.
// expected: Affine
#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
using Attention = Linear<Hedgehog<4>, Affine>;
#else
using Attention = Linear<Hedgehog<4>, SharedMaps>;
#endif
