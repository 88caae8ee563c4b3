#include <lolcats/model/linearized.hpp>
#include <lolcats/model/merge_adapter.hpp>

#include "../io/published_names.hpp"
#include "models.hpp"

#include <lolcats/testing/close.hpp>

#include <doctest/doctest.h>

#include <filesystem>

#include <unistd.h>

using namespace models;
using lolcats::testing::close;
using lolcats::testing::same;

namespace {

struct CheckpointFolder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / fmt::format("lolcats_linearized_test_{}", ::getpid());
  CheckpointFolder() { std::filesystem::remove_all(path); }
  ~CheckpointFolder() { std::filesystem::remove_all(path); }
};

}  // namespace

TEST_CASE_TEMPLATE("save and load over the same base, bit for bit", Model, Terraces, Grouped, SharedLinear,
                   Control<double>) {
  const CheckpointFolder folder;
  auto model = vivid<Model>(tiny_config());  // adapters and maps hold float32 numbers
  auto base = convert<Teacher<double>>(model);
  save_linearized(model, folder.path, {{"steps", 7}});
  auto loaded = load_linearized<Model>(base, folder.path);
  CHECK(numbers_of(loaded) == numbers_of(model));
  const TinyBatch batch = tiny_batch();
  CHECK(same(logits_of(model, batch.tokens, batch.sequences), logits_of(loaded, batch.tokens, batch.sequences)));
  CHECK(stored_method(folder.path) == Model::Attention::name());
  CHECK(read_method(folder.path, Model::Attention::name()).recipe["steps"] == 7);
  const auto shared = base.base_parameters(), mine = loaded.base_parameters();
  for (std::size_t i = 0; i < mine.size(); ++i) CHECK(mine[i].parameter->shares_storage_with(*shared[i].parameter));
}

TEST_CASE("tensors have the published names and shapes") {
  const CheckpointFolder folder;
  auto model = vivid<Grouped>(tiny_config());
  save_linearized(model, folder.path);
  const auto maps = read_method(folder.path, Grouped::Attention::name()).maps;
  CHECK(maps.names().size() == 10);
  CHECK(maps.info(feature_map_name(1, 'q')).shape == std::vector<Index>{4, 6, 6});
  CHECK(maps.info(feature_map_name(1, 'k')).shape == std::vector<Index>{2, 6, 6});
  CHECK(maps.info(feature_map_bias_name(0, 'q')).shape == std::vector<Index>{1, 4, 1, 6});
  CHECK(maps.info(window_factors_name(0)).shape == std::vector<Index>{1, 4, 1, 1});
  const PeftAdapter adapter = read_peft(folder.path / "adapter");
  CHECK(adapter.rank == 2);
  CHECK(adapter.alpha == 3);
  CHECK(adapter.targets == std::vector<std::string>{"v_proj", "o_proj"});
  CHECK(adapter.modules.size() == 4);
  CHECK(adapter.modules.at("model.layers.1.self_attn.v_proj").b.shape() == Shape{12, 2});
}

TEST_CASE("a checkpoint of another method is refused") {
  const CheckpointFolder folder;
  auto model = vivid<Grouped>(tiny_config());
  auto base = convert<Teacher<double>>(model);
  save_linearized(model, folder.path);
  CHECK_THROWS_WITH_AS(load_linearized<Terraces>(base, folder.path), doctest::Contains("another method"), ConfigError);
  // The same maps under another adapter.
  using OtherAdapter = Llama<Cpu<double>, Grouped::Attention, Lora<4>>;
  CHECK_THROWS_WITH_AS(load_linearized<OtherAdapter>(base, folder.path), doctest::Contains("'r' is 2, expected 4"),
                       ConfigError);
  using OtherAlpha = Llama<Cpu<double>, Grouped::Attention, Lora<2, Targets{Projections::v, Projections::o}>>;
  CHECK_THROWS_WITH_AS(load_linearized<OtherAlpha>(base, folder.path), doctest::Contains("lora_alpha"), ConfigError);
  using Fewer = Llama<Cpu<double>, Grouped::Attention, Lora<2, Targets{Projections::v}, 3>>;
  CHECK_THROWS_WITH_AS(load_linearized<Fewer>(base, folder.path), doctest::Contains("holds 4 modules, expected the 2"),
                       FormatError);
  using More = Llama<Cpu<double>, Grouped::Attention, Lora<2, qkvo, 3>>;
  CHECK_THROWS_WITH_AS(load_linearized<More>(base, folder.path),
                       doctest::Contains("no tensors for 'model.layers.0.self_attn.q_proj'"), FormatError);
}

TEST_CASE("another base, a missing map, a surplus map") {
  const CheckpointFolder folder;
  auto model = vivid<Terraces>(tiny_config());
  save_linearized(model, folder.path);
  LlamaConfig config = tiny_config();
  config.heads = 2;
  auto other = vivid<Teacher<double>>(config);
  CHECK_THROWS_WITH_AS(load_linearized<Terraces>(other, folder.path),
                       doctest::Contains("has shape (4, 6, 4), expected (2, 6, 4)"), ShapeError);
  config = tiny_config();
  config.layers = 3;
  auto deeper = vivid<Teacher<double>>(config);
  CHECK_THROWS_WITH_AS(load_linearized<Terraces>(deeper, folder.path), doctest::Contains("model.layers.2.self_attn"),
                       FormatError);
  config.layers = 1;
  auto flatter = vivid<Teacher<double>>(config);
  CHECK_THROWS_WITH_AS(load_linearized<Terraces>(flatter, folder.path),
                       doctest::Contains("3 tensors are in the file but not in the model"), FormatError);
}

TEST_CASE("over a base with one other number, checkpoint and adapter are refused unless any base will do") {
  const CheckpointFolder folder;
  auto model = vivid<Grouped>(tiny_config());
  const auto number = [&](Teacher<double>& base, std::string_view name, Index at) -> double& {
    for (const auto& [found, parameter] : base.base_parameters()) {
      if (found != name) continue;
      parameter->own(base.backend());
      return parameter->mutable_value().data[at];
    }
    FAIL("no such weight");
    throw 0;
  };
  model.merge_adapters();  // which is no other base
  save_linearized(model, folder.path);
  model.unmerge_adapters();
  auto base = convert<Teacher<double>>(model);
  auto loaded = load_linearized<Grouped>(base, folder.path);
  CHECK(numbers_of(loaded) == numbers_of(model));

  auto other = convert<Teacher<double>>(model);
  number(other, "model.layers.1.mlp.down_proj.weight", 17) += 0.25;
  CHECK_THROWS_WITH_AS(load_linearized<Grouped>(other, folder.path),
                       doctest::Contains("lolcats.json: was made over a base model with fingerprint"), ConfigError);
  auto student = convert<Grouped>(other);
  const auto before = numbers_of(student);
  CHECK_THROWS_WITH_AS(load_adapter(student, folder.path / "adapter"),
                       doctest::Contains("adapter: was made over a base model with fingerprint"), ConfigError);
  CHECK(numbers_of(student) == before);
  CHECK_THROWS_AS(merge_adapter(other, folder.path / "adapter"), ConfigError);
  CHECK_NOTHROW(load_linearized<Grouped>(other, folder.path, {}, BaseCheck::any));

  // Halves of two writes; and files that do not name a base, as others write them.
  const auto adapter = folder.path / "adapter";
  PeftAdapter stranger = read_peft(adapter);
  stranger.base_fingerprint = "0123456789abcdef";
  write_peft(adapter, stranger);
  CHECK_THROWS_WITH_AS(load_linearized<Grouped>(base, folder.path), doctest::Contains("but the maps beside it over"),
                       ConfigError);
  stranger.base_fingerprint.clear();
  write_peft(adapter, stranger);
  CHECK_NOTHROW(load_linearized<Grouped>(base, folder.path));
  CHECK_NOTHROW(load_adapter(student, adapter));
}

TEST_CASE("adapters alone, and a failed load changes nothing") {
  const CheckpointFolder folder;
  auto model = vivid<Control<double>>(tiny_config());
  save_adapter(model, folder.path);
  auto base = convert<Teacher<double>>(model);
  auto fresh = convert<Control<double>>(base, 3);
  load_adapter(fresh, folder.path);
  CHECK(numbers_of(fresh) == numbers_of(model));

  auto wrong = convert<Terraces>(base, 3);
  const auto before = numbers_of(wrong);
  CHECK_THROWS_AS(load_adapter(wrong, folder.path), ConfigError);
  CHECK(numbers_of(wrong) == before);
  fresh.merge_adapters();
  CHECK_THROWS_WITH_AS(load_adapter(fresh, folder.path), doctest::Contains("merged"), Error);
}
