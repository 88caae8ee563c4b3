// A model with biases and norms of heads on CUDA: what the CPU finds, and what the general attention finds by the fused.
#include "end_to_end.hpp"

#include <lolcats/model/cuda.cuh>
#include <lolcats/ops/squared_error/cuda.cuh>
#include <lolcats/ops/weight_cross_entropy/cuda.cuh>
#include <lolcats/testing/gpu.cuh>
#include <lolcats/testing/random.hpp>
#include <lolcats/train/cuda.cuh>

using namespace end_to_end;
using lolcats::testing::have_gpu;

namespace {

const Outcome& expected_of_qwen() {
  static const Outcome outcome = qwen_on_cpu();
  return outcome;
}

bool qwen_on_hopper() { return have_gpu() && cuda::device().capability == 90; }

// Rows of 65 tokens have far keys.
template <Backend Device>
using Student64 = Llama<Device, Hybrid<Hedgehog<64>, Terraced<64, 1>>, Lora<4, qkvo, 8, Ratio{1, 10}>>;

}  // namespace

TEST_CASE("a Qwen on Cuda<float> learns what it learns on Cpu<float>, and in bf16 nearly") {
  if (!have_gpu()) return;
  compare(expected_of_qwen(), run<Cuda<float>>(qwen_config()), 1e-3, 1e-2);
  compare(expected_of_qwen(), run<Cuda<bf16>>(qwen_config()), 3e-2, 0.15);
}

TEST_CASE("a Qwen says on CUDA what it says on the CPU") {
  if (!have_gpu()) return;
  const Text here = write<Cuda<float>, WindowsAndMaps>(qwen_config()), want = qwen_text_on_cpu();
  CHECK(want.tokens == here.tokens);
  compare(want, here, 1e-4);
  compare(want, write<Cuda<bf16>, WindowsAndMaps>(qwen_config()), 6e-2);
  const Text other = write<Cuda<float>, WindowsAndMaps>();  // without them
  CHECK_FALSE(testing::close(other.logits[0], here.logits[0], 1e-2));
}

TEST_CASE("merged or not, a Qwen's adapter says the same") {
  if (!have_gpu()) return;
  using B = Cuda<float>;
  auto model = convert<Student<B>>(random_teacher<B>(qwen_config()), 1);
  for (const auto& [name, parameter] : model.adapter_parameters()) {
    Rng rng(8, name.size());
    std::vector<double> values(static_cast<std::size_t>(parameter->size()));
    for (double& value : values) value = 0.1 * rng.normal();
    *parameter = lolcats::detail::make_parameter(model.backend(), parameter->shape(), values);
  }
  const auto logits = [&] {
    Tape<B> tape;
    const DataSet rows = tiny::data(1, {50}, 9, 67);
    const Sequences sequences = Sequences::rectangular(1, 50);
    return testing::host(B{}, model.logits(tape, rows[0].tokens, sequences).value());
  };
  const auto want = logits();
  model.merge_adapters();
  CHECK(testing::close(want, logits(), 1e-4));
}

TEST_CASE("the fused kernels take a Qwen's queries and keys as the general ones do") {
  if (!qwen_on_hopper()) return;
  for (const Index size : {64, 128}) {
    CAPTURE(size);
    using Maps = Hybrid<Hedgehog<64>, Terraced<64, 1>>;
    const Text hybrid = write<Cuda<bf16>, Maps>(qwen_config(size));
    const Text softmax = write<Cuda<bf16>, Softmax<>>(qwen_config(size));
    const cuda::GeneralAttentionOnly only;
    const Text general = write<Cuda<bf16>, Maps>(qwen_config(size));
    CHECK(general.logits != hybrid.logits);  // two paths round differently
    compare(general, hybrid, 6e-2);
    compare(write<Cuda<bf16>, Softmax<>>(qwen_config(size)), softmax, 6e-2);
  }
}

TEST_CASE("a Qwen trained by fused attention is one trained by general attention") {
  if (!qwen_on_hopper()) return;
  for (const Index size : {64, 128}) {
    CAPTURE(size);
    const Outcome fused = run<Cuda<bf16>, Student64>(qwen_config(size));
    const cuda::GeneralAttentionOnly only;
    const Outcome general = run<Cuda<bf16>, Student64>(qwen_config(size));
    CHECK(general.transfer != fused.transfer);
    compare(general, fused, 3e-2, 0.15);
  }
}
