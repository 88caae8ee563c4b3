// Caches by received attention on CUDA: N x N loops in double, and decoding states that agree with one pass.
#include <lolcats/ops/attention/cuda.cuh>
#include <lolcats/ops/attention/cuda_state.cuh>
#include <lolcats/testing/attention_suite.hpp>
#include <lolcats/testing/gpu.cuh>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

using ReceivedBeside = Hybrid<EluPlusOne<3>, Sinks<2, Sliding<>>, KeyMapsPerGroup, Kept<9, ReceivedAttention>>;

}  // namespace

TEST_CASE("a cache by received attention") {  // in float: rounded scores choose other keys
  if (!have_gpu()) return;
  check_attention_against_reference<ReceivedBeside, Cuda<float>>(Sinks<2, Sliding<>>(10), {.lengths = {3, 65, 150}, .sizes = {8}}, 1e-5, 1e-4);
  check_attention_against_reference<ReceivedBeside, Cuda<float>>(Sinks<2, Sliding<>>(70), {.lengths = {170}, .sizes = {8}}, 1e-5, 1e-4);
}

TEST_CASE("a cache by received attention: one pass = prefill in pieces = token by token") {
  if (!have_gpu()) return;
  const AttentionSuite some{.lengths = {1, 65, 150}}, one{.lengths = {170}};
  check_attention_steps<ReceivedBeside, Cuda<float>>(Sinks<2, Sliding<>>(10), some, 1e-5);
  check_attention_steps<ReceivedBeside, Cuda<bf16>>(Sinks<2, Sliding<>>(10), some, 1e-2);
  check_attention_steps<ReceivedBeside, Cuda<float>>(Sinks<2, Sliding<>>(70), one, 1e-5);
}
