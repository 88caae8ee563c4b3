// Where every key is near, a feature map has nothing to read: that attention is Softmax.
// expected: has_far
#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
using Attention = Hybrid<Hedgehog<4>, Everything>;
#else
using Attention = Hybrid<Hedgehog<4>, Sliding<4>>;
#endif
