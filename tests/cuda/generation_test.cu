// Prefill, chunked prefill and decoding on CUDA: the text and the logits of the CPU.
#include "end_to_end.hpp"

#include <lolcats/model/cuda.cuh>
#include <lolcats/testing/gpu.cuh>

using namespace end_to_end;
using lolcats::testing::have_gpu;

TEST_CASE("a model on Cuda<float> says what it says on Cpu<float>") {
  if (!have_gpu()) return;
  const auto hybrid = hybrid_text_on_cpu(), softmax = softmax_text_on_cpu();
  const auto hybrid_here = write<Cuda<float>, WindowsAndMaps>(), softmax_here = write<Cuda<float>, Softmax<>>();
  CHECK(hybrid.tokens == hybrid_here.tokens);
  CHECK(softmax.tokens == softmax_here.tokens);
  compare(hybrid, hybrid_here, 1e-4);
  compare(softmax, softmax_here, 1e-4);
}

TEST_CASE("the logits in bf16 are near those in fp32") {
  if (!have_gpu()) return;
  compare(hybrid_text_on_cpu(), write<Cuda<bf16>, WindowsAndMaps>(), 6e-2);
  compare(softmax_text_on_cpu(), write<Cuda<bf16>, Softmax<>>(), 6e-2);
}
