// Cross-entropy of attention weights on CUDA against N x N loops.
#include "check.hpp"

#include <lolcats/ops/attention/cuda.cuh>
#include <lolcats/ops/weight_cross_entropy/cuda.cuh>
#include <lolcats/testing/gpu.cuh>

using namespace lolcats;

TEST_CASE_TEMPLATE("value and gradients", B, Cuda<float>, Cuda<bf16>) {
  if (!lolcats::testing::have_gpu()) return;
  constexpr bool exact = std::is_same_v<B, Cuda<float>>;
  const double tolerance = exact ? 1e-5 : 2e-3, gradient = exact ? 2e-4 : 2e-2;
  const Sequences ragged(83, {{2, 70, 0}, {75, 7, 0}});
  using A = Hybrid<Hedgehog<dynamic>, Sliding<>, Affine>;
  weight_entropy::check<A, B>(Sliding<>(9), {4, 2, 6}, ragged, unlimited, tolerance, gradient);
  weight_entropy::check<A, B>(Sliding<>(9), {2, 2, 72}, ragged, 20, tolerance, gradient);
  using PerGroup = Hybrid<Biased<HedgehogHalf<70>>, Terraced<8>, KeyMapsPerGroup>;
  weight_entropy::check<PerGroup, B>({}, {4, 2, 8}, ragged, unlimited, tolerance, gradient);
  weight_entropy::check<Linear<EluPlusOne<3>>, B>({}, {2, 1, 8}, ragged, unlimited, tolerance, gradient);
}
