#include "tiny_llama.hpp"

#include <lolcats/model/merge_adapter.hpp>
#include <lolcats/train/finetune.hpp>
#include <lolcats/train/pretrain.hpp>
#include <lolcats/train/sharded_base.hpp>

#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <vector>

using namespace lolcats;

namespace {

using ShardedStudent = Llama<Cpu<double>, Hybrid<Hedgehog<2>, Terraced<3>>, Lora<2>>;

/// The weights of tiny::teacher.
WeightSource<double> weights_of(const tiny::Teacher& teacher) {
  return [&teacher](const std::string& name, const Shape&) {
    for (const auto& [own, parameter] : teacher.base_parameters()) {
      if (own != name) continue;
      Tensor<double> copy(parameter->shape());
      Cpu<double>::copy(parameter->value().data, copy.data(), copy.size());
      return copy;
    }
    fail<FormatError>("no {}", name);
  };
}

/// Two ranks, of which this one is the first, in the memory of something else.
struct Elsewhere final : Communicator {
  Index rank() const override { return 0; }
  Index size() const override { return 2; }
  void sum(std::span<float>) override {}
  void sum(std::span<double>) override {}
  bool in_host_memory() const override { return false; }
  void leave(std::string_view) noexcept override {}
  void exchange(std::span<const std::byte>, std::span<std::byte>) override {}
};

}  // namespace

TEST_CASE("sharded base: alone, finetuning has the bits of a whole base, recomputed or not") {
  const tiny::Teacher teacher = tiny::teacher();
  const DataSet data = tiny::data(7, {11, 6}), valid = tiny::data(3, {8}, 6);
  FinetuneRecipe<> recipe{.epochs = 2, .batch = 3, .micro_batch = 2, .seed = 4, .learning_rate = 3e-2};
  recipe.evaluate_every = 2;
  auto whole = tiny::student<ShardedStudent>();
  const auto want = finetune(whole, data, valid, recipe);
  for (const bool recompute : {false, true}) {
    recipe.recompute = recompute;
    Alone alone;
    auto student = without_weights<ShardedStudent>(tiny::config(), 1);
    const auto base = shard_base(student, weights_of(teacher), alone);
    const auto got = finetune(student, data, valid, recipe);
    CHECK(got.history.back().loss == want.history.back().loss);
    CHECK(got.best_validation == want.best_validation);
    CHECK(tiny::snapshot(student.adapter_parameters()) == tiny::snapshot(whole.adapter_parameters()));
    CHECK(base->gathered_bytes() == 0);
  }
}

TEST_CASE("sharded base: what it cannot be made of") {
  tiny::Teacher teacher = tiny::teacher();
  Alone alone;
  Elsewhere elsewhere;
  auto student = without_weights<ShardedStudent>(tiny::config());
  CHECK_THROWS_WITH_AS(shard_base(teacher, weights_of(teacher), alone),
                       "shard_base: model.embed_tokens.weight is in memory, expected a model made by without_weights", ConfigError);
  auto broken = tiny::teacher();
  broken.base_parameters()[3].parameter->mutable_value().data[5] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH_AS(shard_base(student, weights_of(broken), alone, "model.gguf"), doctest::Contains("model.gguf: tensor 'model.layers.0."), NumericError);
  CHECK_THROWS_WITH_AS(shard_base(student, weights_of(teacher), elsewhere),
                       "shard_base: the communicator gathers GPU memory, expected that of cpu<double>", ConfigError);
  const WeightSource<double> wrong = [](const std::string&, const Shape&) { return Tensor<double>(Shape{2, 3}); };
  CHECK_THROWS_AS(shard_base(student, wrong, alone), ShapeError);
}

TEST_CASE("sharded base: a trained base is refused") {
  const tiny::Teacher teacher = tiny::teacher();
  Alone alone;
  auto trained = without_weights<tiny::Teacher>(tiny::config());
  auto* const norm = trained.base_parameters().back().parameter;
  *norm = *teacher.base_parameters().back().parameter;
  norm->train(trained.backend());
  CHECK_THROWS_WITH_AS(shard_base(trained, weights_of(teacher), alone), doctest::Contains(" is trained, expected a frozen base"), ConfigError);
}

TEST_CASE("sharded base: what needs all weights says so") {
  const tiny::Teacher teacher = tiny::teacher();
  const DataSet data = tiny::data(4);
  Alone alone;
  auto student = without_weights<ShardedStudent>(tiny::config());
  shard_base(student, weights_of(teacher), alone);
  const char* const why = ": the base's layers come and go, expected a model whose weights are all in memory";
  const auto text = [&](const char* who) { return std::string(who) + why; };
  CHECK_THROWS_WITH_AS(pretrain(student, data, data, PretrainRecipe<>{.epochs = 1}), text("pretrain").c_str(), ConfigError);
  CHECK_THROWS_WITH_AS(student.merge_adapters(), text("Llama::merge_adapters").c_str(), ConfigError);
  CHECK_THROWS_WITH_AS(merge_adapter(student, PeftAdapter{}), text("merge_adapter").c_str(), ConfigError);
  CHECK_THROWS_WITH_AS(save_llama(student, "nowhere"), text("save_llama").c_str(), ConfigError);
  CHECK_THROWS_WITH_AS(shard_base(student, weights_of(teacher), alone), text("shard_base").c_str(), ConfigError);
  CHECK_THROWS_AS(LayerWeights(student, weights_of(teacher)), ConfigError);
}
