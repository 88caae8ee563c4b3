// A size is given as a template argument or to the constructor, not both.
// expected: Width == (lolcats::)?dynamic
#include <lolcats/policy/window.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
const Sliding<4> window(4);
#else
const Sliding<> window(4);
#endif
