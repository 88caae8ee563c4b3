// Linear attention reads no key raw, cached ones neither.
// expected: caches
#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
using Attention = Linear<Hedgehog<4>, Kept<8, RecallError>>;
#else
using Attention = Hybrid<Hedgehog<4>, Sliding<4>, Kept<8, RecallError>>;
#endif
