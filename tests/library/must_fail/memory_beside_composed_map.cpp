// A key that leaves a cache is mapped again, which a composed map cannot do.
// expected: memories_among
#include <lolcats/nn/feature_map.hpp>

using namespace lolcats;

struct Own {
  static std::string name() { return "own"; }
};

#ifdef MUST_FAIL
using Attention = Composed<Own, Sliding<4>, Kept<8, LearnedScore>>;
#else
using Attention = Composed<Own, Sliding<4>, Affine>;
#endif
