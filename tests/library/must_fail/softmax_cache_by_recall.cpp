// Without feature maps there are no sums to recall values from.
// expected: recalls_values
#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
using Attention = Softmax<Sliding<4>, Kept<8, RecallError>>;
#else
using Attention = Softmax<Sliding<4>, Kept<8, LearnedScore>>;
#endif
