// Both stages, pretraining and evaluation on CUDA: the same procedure as on the CPU, and the same numbers.
#include "end_to_end.hpp"

#include <lolcats/model/cuda.cuh>
#include <lolcats/ops/squared_error/cuda.cuh>
#include <lolcats/ops/weight_cross_entropy/cuda.cuh>
#include <lolcats/testing/gpu.cuh>
#include <lolcats/testing/random.hpp>
#include <lolcats/train/background_upload.cuh>
#include <lolcats/train/cuda.cuh>
#include <lolcats/train/streamed_transfer.hpp>

using namespace end_to_end;
using lolcats::testing::have_gpu;

namespace {

const Outcome& expected() {
  static const Outcome outcome = on_cpu();
  return outcome;
}

}  // namespace

TEST_CASE("training on Cuda<float> is training on Cpu<float>") {
  if (!have_gpu()) return;
  // Round-off through a dozen updates of AdamW, whose first steps have the size of the learning rate whatever the gradient.
  compare(expected(), run<Cuda<float>>(), 1e-3, 1e-2);
}

TEST_CASE("training in bf16 is near training in fp32") {
  if (!have_gpu()) return;
  // 2^-9 per activation; an update that ends elsewhere is worth more than that.
  compare(expected(), run<Cuda<bf16>>(), 3e-2, 0.15);
}

TEST_CASE_TEMPLATE("a run is the same bits every time", B, Cuda<float>, Cuda<bf16>) {
  if (!have_gpu()) return;
  const Outcome a = run<B>(), b = run<B>();
  CHECK(a.transfer == b.transfer);
  CHECK(a.finetune == b.finetune);
  CHECK(a.pretrain == b.pretrain);
  CHECK(a.attention_error == b.attention_error);
}

TEST_CASE("equal updates take no new memory, and an interrupted run goes on with the same bits") {
  if (!have_gpu()) return;
  using B = Cuda<bf16>;
  const DataSet data = tiny::data(16, {64}, 5, 67);
  const tiny::TemporaryFolder folder;
  const auto teacher = random_llama<Llama<B>>(config(), 1, 0.2);
  auto straight = convert<Student<B>>(teacher, 1), broken = convert<Student<B>>(teacher, 1), resumed = convert<Student<B>>(teacher, 1);
  FinetuneRecipe<> recipe{.epochs = 3, .batch = 4, .learning_rate = 1e-2, .evaluate_every = 4};
  std::vector<std::size_t> reserved;
  finetune(straight, data, data, recipe, [&](const Progress&) { reserved.push_back(cuda::Pool::current().reserved_bytes()); });
  CHECK(reserved.back() == reserved[5]);  // after the first evaluation and epoch

  recipe.checkpoint = folder / "state.safetensors";
  recipe.checkpoint_every = 2;
  struct Interruption {};
  CHECK_THROWS_AS(finetune(broken, data, data, recipe,
                           [](const Progress& p) {
                             if (p.update == 5) throw Interruption();
                           }),
                  Interruption);
  finetune(resumed, data, data, recipe);
  for (std::size_t i = 0; i < straight.adapter_parameters().size(); ++i) {
    const auto& p = *straight.adapter_parameters()[i].parameter;
    const auto& q = *resumed.adapter_parameters()[i].parameter;
    CHECK(testing::host(B{}, p.value()) == testing::host(B{}, q.value()));
  }
}

TEST_CASE("transfer block by block, over residuals in a file") {
  if (!have_gpu()) return;
  using B = Cuda<float>;
  const DataSet data = tiny::data(8, {40, 25}, 5, 67);
  const tiny::TemporaryFolder folder;
  const auto teacher = random_llama<Llama<B>>(config(), 1, 0.2);
  auto at_once = convert<Student<B>>(teacher, 1), in_blocks = convert<Student<B>>(teacher, 1);
  TransferRecipe<> recipe{.epochs = 1, .batch = 4, .block = 1};
  const auto want = transfer_attention(at_once, data, data, recipe);
  recipe.residuals = folder / "stream";
  const auto got = transfer_attention(in_blocks, data, data, recipe);
  CHECK(testing::same(want.mse_per_layer, got.mse_per_layer));
}

TEST_CASE("transfer with a block of the weights on the GPU") {
  if (!have_gpu()) return;
  using B = Cuda<float>;
  const DataSet data = tiny::data(8, {40, 25}, 5, 67);
  auto teacher = random_llama<Llama<B>>(config(), 1, 0.2);
  const Parameters<B> base = teacher.base_parameters();
  const WeightSource<float> source = [&](const std::string& name, const Shape& shape) {
    const auto found = std::ranges::find_if(base, [&](const auto& p) { return p.name == name; });
    Tensor<float> host(shape);
    download(B{}, found->parameter->value().data, host.data(), host.size());
    return host;
  };
  auto whole = convert<Student<B>>(teacher, 1), streamed = without_weights<Student<B>>(config(), 1);
  TransferRecipe<> recipe{.epochs = 1, .batch = 4, .block = 1};
  const auto want = transfer_attention(whole, data, data, recipe);
  const auto got = transfer_blocks(streamed, source, data, data, recipe);
  CHECK(testing::same(want.mse_per_layer, got.transfer.mse_per_layer));
  for (const auto& [name, parameter] : streamed.base_parameters()) CHECK_MESSAGE(!*parameter, name);
}
