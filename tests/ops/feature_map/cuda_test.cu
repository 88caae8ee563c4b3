// Feature maps on CUDA against plain loops, forward and backward.
#include <lolcats/ops/feature_map/cuda.cuh>
#include <lolcats/testing/feature_map_suite.hpp>
#include <lolcats/testing/gpu.cuh>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

template <FeatureMap M>
void check_on_gpu(const std::vector<Index>& sizes) {
  if (!have_gpu()) return;
  for (const Index rows : {1, 63, 64, 65, 129}) {
    for (const Index size : sizes) {
      lolcats::testing::detail::check_feature_map_against_reference<M, Cuda<float>>(rows, size, 3, 1e-5, 1e-4);
      lolcats::testing::detail::check_feature_map_against_reference<M, Cuda<bf16>>(rows, size, 3, 1e-2, 2e-2);
    }
  }
}

}  // namespace

TEST_CASE("maps of a width in the type") {
  check_on_gpu<Hedgehog<4>>({3, 128});
  check_on_gpu<T2R<100>>({16});
  check_on_gpu<Biased<EluPlusOne<5>, Bias::head>>({8});
}

TEST_CASE("maps of a width at run time, skip connections") {
  check_on_gpu<HedgehogExp<dynamic>>({1, 72});
  check_on_gpu<Skip<HedgehogHalf<dynamic>>>({6, 130});
}
