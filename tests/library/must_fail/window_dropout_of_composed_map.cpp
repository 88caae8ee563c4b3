// Training drops the window of a Hybrid only; an option that nobody reads is an error.
// expected: window_dropouts_among
#include <lolcats/nn/feature_map.hpp>

using namespace lolcats;

struct Own {
  static std::string name() { return "own"; }
};

#ifdef MUST_FAIL
using Attention = Composed<Own, Sliding<4>, WindowDropout<Ratio{1, 10}>>;
#else
using Attention = Composed<Own, Sliding<4>, SharedMaps>;
#endif
