// An option that nobody reads is an error, not ignored.
// expected: known_options
#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>

using namespace lolcats;

struct SharedMap {};  // the name is SharedMaps

#ifdef MUST_FAIL
using Attention = Hybrid<Hedgehog<4>, Sliding<4>, SharedMap>;
#else
using Attention = Hybrid<Hedgehog<4>, Sliding<4>, SharedMaps>;
#endif
