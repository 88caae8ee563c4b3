// Log-likelihoods on CUDA: those of the CPU, whether contexts are read once or for each continuation.
#include "language_model.hpp"

#include <lolcats/model/cuda.cuh>
#include <lolcats/testing/gpu.cuh>

using namespace language_model;
using lolcats::testing::close, lolcats::testing::have_gpu;

TEST_CASE("log-likelihoods on Cuda<float> are those on Cpu<float>") {
  if (!have_gpu()) return;
  const auto check = [](const Scores& want, const Scores& got) {
    CHECK(close(want.alone, got.alone, 1e-4));
    CHECK(close(want.alone, got.shared, 1e-4));
    CHECK(want.greedy == got.greedy);
    CHECK(want.greedy == got.greedy_shared);
  };
  check(hybrid_on_cpu(), score<Cuda<float>, end_to_end::WindowsAndMaps>());
  check(softmax_on_cpu(), score<Cuda<float>, Softmax<>>());
}

TEST_CASE("log-likelihoods in bf16 are near those in fp32") {
  if (!have_gpu()) return;
  const auto check = [](const Scores& want, const Scores& got) {
    CHECK(close(want.alone, got.alone, 6e-2));
    CHECK(close(want.alone, got.shared, 6e-2));
  };
  check(hybrid_on_cpu(), score<Cuda<bf16>, end_to_end::WindowsAndMaps>());
  check(softmax_on_cpu(), score<Cuda<bf16>, Softmax<>>());
}
