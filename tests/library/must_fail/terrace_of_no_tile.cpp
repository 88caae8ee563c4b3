// A terrace holds at least the query's own tile.
// expected: the query's own tile
#include <lolcats/policy/window.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
constexpr auto span = Terraced<4, 0>{}.span();
#else
constexpr auto span = Terraced<4, 1>{}.span();
#endif
static_assert(span == 4);
