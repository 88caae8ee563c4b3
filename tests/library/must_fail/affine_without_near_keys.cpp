// Far keys that weigh 1 - gamma need near ones that weigh gamma.
// expected: has_near
#include <lolcats/nn/feature_map.hpp>

using namespace lolcats;

struct Own {
  static std::string name() { return "own"; }
};

#ifdef MUST_FAIL
using Attention = Composed<Own, Nothing, Affine>;
#else
using Attention = Composed<Own, Nothing, SharedMaps>;
#endif
