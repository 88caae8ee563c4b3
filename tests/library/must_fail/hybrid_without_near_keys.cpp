// Where no key is near, there is nothing to mix: that attention is Linear.
// expected: has_near
#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
using Attention = Hybrid<Hedgehog<4>, Nothing>;
#else
using Attention = Linear<Hedgehog<4>>;
#endif
