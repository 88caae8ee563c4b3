// The query's own key is always read.
// expected: a window holds at least one key
#include <lolcats/policy/window.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
constexpr auto span = Sliding<0>{}.span();
#else
constexpr auto span = Sliding<1>{}.span();
#endif
static_assert(span == 1);
