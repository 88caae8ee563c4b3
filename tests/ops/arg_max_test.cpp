#include "checks.hpp"

#include <lolcats/ops/arg_max/eigen.hpp>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("arg_max finds the first of the largest, and refuses what is not finite", B, Cpu<float>, Cpu<double>) {
  check_arg_max<B>();
}
