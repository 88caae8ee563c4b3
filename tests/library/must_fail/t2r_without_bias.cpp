// T2R is the ReLU map with a bias.
// expected: T2R without a bias is Relu
#include <lolcats/policy/feature_map/relu.hpp>

using namespace lolcats;

#ifdef MUST_FAIL
static_assert(T2R<4, Bias::none>::projected == 4);
#else
static_assert(T2R<4, Bias::head>::projected == 4);
#endif
