// A model whose heads the fused attention kernels take: it learns and says what it does on the general path.
#include "end_to_end.hpp"

#include <lolcats/model/cuda.cuh>
#include <lolcats/ops/squared_error/cuda.cuh>
#include <lolcats/ops/weight_cross_entropy/cuda.cuh>
#include <lolcats/testing/gpu.cuh>
#include <lolcats/train/cuda.cuh>

using namespace end_to_end;
using lolcats::testing::have_gpu;

namespace {

using B = Cuda<bf16>;
using Fused = Hybrid<Hedgehog<64>, Terraced<64, 1>>;  // rows of 65 tokens have far keys

template <Backend Device>
using FusedStudent = Llama<Device, Fused, Lora<4, qkvo, 8, Ratio{1, 10}>>;

LlamaConfig wide() {
  LlamaConfig c = config();
  c.head_dim = 64;
  return c;
}

bool have_hopper() { return have_gpu() && cuda::device().capability == 90; }

}  // namespace

TEST_CASE("training by fused attention is training by general attention") {
  if (!have_hopper()) return;
  const Outcome fused = run<B, FusedStudent>(wide());
  const cuda::GeneralAttentionOnly only;
  const Outcome general = run<B, FusedStudent>(wide());
  CHECK(general.transfer != fused.transfer);  // two paths round differently
  compare(general, fused, 3e-2, 0.15);
}

TEST_CASE("prefill and decoding by fused attention are those by general attention") {
  if (!have_hopper()) return;
  const Text hybrid = write<B, Fused>(wide()), softmax = write<B, Softmax<>>(wide());
  const cuda::GeneralAttentionOnly only;
  const Text general = write<B, Fused>(wide());
  CHECK(general.logits != hybrid.logits);
  compare(general, hybrid, 6e-2);
  compare(write<B, Softmax<>>(wide()), softmax, 6e-2);
}
