// Without a window no query gives a key attention, and there is nothing near to read cached keys beside.
// expected: has_near
#include <lolcats/policy/attention.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
using Attention = Softmax<Nothing, Kept<8, ReceivedAttention>>;
#else
using Attention = Softmax<Sliding<4>, Kept<8, ReceivedAttention>>;
#endif
