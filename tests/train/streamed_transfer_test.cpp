#include "tiny_llama.hpp"

#include <lolcats/ops/attention/eigen_weights.hpp>
#include <lolcats/ops/squared_error/eigen.hpp>
#include <lolcats/ops/weight_cross_entropy/eigen.hpp>
#include <lolcats/train/streamed_transfer.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

using namespace lolcats;

namespace {

using StreamedStudent = Llama<Cpu<double>, Hybrid<Hedgehog<2>, Terraced<3>>, Lora<2>>;

/// The weights of a teacher, which counts what is asked for, and the numbers that are held at a time.
struct CountedWeights {
  explicit CountedWeights(Index layers = 3, std::uint64_t seed = 1) : teacher(tiny::teacher(layers, seed)) {
    for (const auto& [name, parameter] : teacher.base_parameters()) values[name] = parameter;
  }
  WeightSource<double> source() {
    return [this](const std::string& name, const Shape& shape) {
      ++asked[name];
      auto copy = std::make_shared<std::vector<double>>(values.at(name)->value().span().begin(), values.at(name)->value().span().end());
      const Index size = shape.size();
      held += size;
      most = std::max(most, held);
      return Tensor<double>(View<double>(copy->data(), shape), std::shared_ptr<void>(copy->data(), [copy, size, this](void*) { held -= size; }));
    };
  }
  Index size_of(const std::string& prefix) const {
    Index size = 0;
    for (const auto& [name, parameter] : values) size += name.starts_with(prefix) ? parameter->size() : 0;
    return size;
  }
  Index times(const std::string& prefix) const {
    Index sum = 0;
    for (const auto& [name, count] : asked) sum += name.starts_with(prefix) ? count : 0;
    return sum;
  }

  tiny::Teacher teacher;
  std::map<std::string, const Parameter<Cpu<double>>*> values;
  std::map<std::string, Index> asked;
  Index held = 0, most = 0;
};

TransferRecipe<> recipe_of_blocks(Index block) {
  TransferRecipe<> recipe{.epochs = 2, .batch = 3, .seed = 4, .learning_rate = 3e-2};
  recipe.evaluate_every = 2;
  recipe.block = block;
  return recipe;
}

struct Streamed {
  DataSet data = tiny::data(7, {11, 6}), validation = tiny::data(3, {8}, 6);

  StreamedStudent fresh(Index layers = 3) const { return without_weights<StreamedStudent>(tiny::config(layers), 1); }
  /// With streams in files, too: a sum of products may have other bits in a batch of other rows.
  tiny::Snapshot unstreamed(TransferRecipe<> recipe, std::vector<double>* mse = nullptr) const {
    const tiny::TemporaryFolder folder;
    recipe.residuals = folder / "stream";
    auto student = tiny::student<StreamedStudent>();
    const auto result = transfer_attention(student, data, validation, recipe);
    if (mse) *mse = result.mse_per_layer;
    return tiny::snapshot(student.transfer_parameters());
  }
};

}  // namespace

TEST_CASE("streamed transfer: the bits of the unstreamed one, from memory and from disk") {
  const Streamed s;
  const tiny::TemporaryFolder folder;
  for (const Index block : {1, 2, 3}) {
    CAPTURE(block);
    TransferRecipe<> recipe = recipe_of_blocks(block);
    std::vector<double> mse;
    const auto want = s.unstreamed(recipe, &mse);
    for (const bool on_disk : {false, true}) {
      if (on_disk) recipe.residuals = folder / "stream";
      CountedWeights weights;
      auto student = s.fresh();
      const auto got = transfer_blocks(student, weights.source(), s.data, s.validation, recipe);
      CHECK(tiny::snapshot(student.transfer_parameters()) == want);
      CHECK(got.transfer.mse_per_layer == mse);
      CHECK(static_cast<Index>(got.transfer.blocks.size()) == (3 + block - 1) / block);
      CHECK(folder.empty());
    }
  }
}

TEST_CASE("streamed transfer: no more than a block's layers are ever in memory, and each is read once") {
  const Streamed s;
  for (const Index block : {1, 2, 5}) {
    CAPTURE(block);
    CountedWeights weights(5);
    auto student = s.fresh(5);
    transfer_blocks(student, weights.source(), s.data, s.validation, recipe_of_blocks(block));
    CHECK(weights.most == std::max(block * weights.size_of("model.layers.0."), weights.size_of("model.embed_tokens.")));
    CHECK(weights.held == 0);
    CHECK(weights.times("model.layers.") == weights.times("model.layers.0.") * 5);
    CHECK(weights.times("model.layers.0.self_attn.q_proj.weight") == 1);
    CHECK(weights.times("model.embed_tokens.") == 1);
    CHECK(weights.times("model.norm.") == 0);
    CHECK(weights.times("lm_head.") == 0);
    for (const auto& [name, parameter] : student.base_parameters()) CHECK_MESSAGE(!*parameter, name);
  }
}

TEST_CASE("streamed transfer: blocks are jobs of their own, and a folder of them becomes the student") {
  const Streamed s;
  const tiny::TemporaryFolder folder;
  TransferRecipe<> recipe = recipe_of_blocks(1);
  std::vector<double> mse;
  const auto want = s.unstreamed(recipe, &mse);
  const auto run = [&](Index first, Index last, CountedWeights& weights, const TransferRecipe<>& own) {
    auto student = s.fresh();
    return transfer_blocks(student, weights.source(), s.data, s.validation, own, {first, last, folder / "blocks"});
  };
  CountedWeights one, two, three;
  run(2, 3, one, recipe);
  CHECK(one.times("model.layers.0.self_attn.q_proj.weight") == 2);  // for its fingerprint, and for the stream
  run(0, 1, two, recipe);
  CHECK(two.times("model.layers.2.self_attn.q_proj.weight") == 1);

  auto joined = tiny::student<StreamedStudent>();
  const auto before = tiny::snapshot(joined.transfer_parameters());
  CHECK_THROWS_WITH_AS(join_blocks(joined, s.data, s.validation, recipe, folder / "blocks"),
                       doctest::Contains("block 1 of 3 (layers 1 to 1) is missing"), ConfigError);
  CHECK(tiny::snapshot(joined.transfer_parameters()) == before);
  CHECK(run(1, 0, three, recipe).transfer.blocks.size() == 1);  // of blocks 1 and 2, the first
  CHECK(join_blocks(joined, s.data, s.validation, recipe, folder / "blocks") == mse);
  CHECK(tiny::snapshot(joined.transfer_parameters()) == want);

  // All is done: nothing is read but for the fingerprint, and the student has it all.
  CountedWeights none;
  auto student = s.fresh();
  const auto again = transfer_blocks(student, none.source(), s.data, s.validation, recipe, {0, 0, folder / "blocks"});
  CHECK(again.transfer.blocks.empty());
  CHECK(again.transfer.mse_per_layer == mse);
  CHECK(tiny::snapshot(student.transfer_parameters()) == want);
  CHECK(none.times("model.embed_tokens.") == 1);

  // From something else: another recipe, another length, other data, another base.
  TransferRecipe<> other = recipe;
  other.seed = 5;
  CHECK_THROWS_WITH_AS(join_blocks(joined, s.data, s.validation, other, folder / "blocks"),
                       doctest::Contains("/0/block.safetensors: the checkpoint was made with seed '4', expected '5'"), ConfigError);
  other = recipe;
  other.epochs = 3;
  CHECK_THROWS_WITH_AS(join_blocks(joined, s.data, s.validation, other, folder / "blocks"), doctest::Contains("with updates '6', expected '9'"), ConfigError);
  CHECK_THROWS_WITH_AS(join_blocks(joined, tiny::data(7, {11, 6}, 8), s.validation, recipe, folder / "blocks"), doctest::Contains("training data"), ConfigError);
  auto stranger = tiny::student<StreamedStudent>(3, 2);
  CHECK_THROWS_WITH_AS(join_blocks(stranger, s.data, s.validation, recipe, folder / "blocks"), doctest::Contains("with base '"), ConfigError);
  CountedWeights strange(3, 2);
  CHECK_THROWS_WITH_AS(run(0, 1, strange, recipe), doctest::Contains("with base '"), ConfigError);
}

TEST_CASE("streamed transfer: an interrupted job goes on with the same bits") {
  const Streamed s;
  const tiny::TemporaryFolder folder;
  TransferRecipe<> recipe = recipe_of_blocks(2);
  recipe.checkpoint_every = 1;
  TransferRecipe<> whole = recipe;
  whole.checkpoint_every = 0;
  const auto want = s.unstreamed(whole);
  CountedWeights weights;
  const BlockJob job{.folder = folder / "blocks"};
  struct Interruption {};
  int updates = 0;
  auto student = s.fresh();
  CHECK_THROWS_AS(transfer_blocks(student, weights.source(), s.data, s.validation, recipe, job,
                                  [&](const Progress&) {
                                    if (++updates == 8) throw Interruption();  // the second block's second
                                  }),
                  Interruption);
  CHECK(weights.held == 0);
  {
    const FolderLock busy(folder / "blocks" / "1");
    auto late = s.fresh();
    CHECK_THROWS_WITH_AS(transfer_blocks(late, weights.source(), s.data, s.validation, recipe, job), doctest::Contains("another run writes into this folder"), ConfigError);
  }
  updates = 0;
  auto resumed = s.fresh();
  transfer_blocks(resumed, weights.source(), s.data, s.validation, recipe, job, [&](const Progress&) { ++updates; });
  CHECK(updates == 4);
  CHECK(tiny::snapshot(resumed.transfer_parameters()) == want);
  CHECK(!path_exists(folder / "blocks" / "1" / "transfer.state"));
}

TEST_CASE("streamed transfer: the fingerprint of weights is that of the model that has them") {
  CountedWeights weights;
  const Streamed s;
  CHECK(fingerprint_of_weights(s.fresh(), weights.source(), "base") ==
        rounded_fingerprint_of(weights.teacher.backend(), std::as_const(weights.teacher).base_parameters()));
  const tiny::TemporaryFolder folder;
  save_llama(weights.teacher, folder / "model");
  StoredWeights<double> stored(open_checkpoint(folder / "model"));
  CHECK_THROWS_AS(stored.require_all_read(), FormatError);
  CHECK(fingerprint_of_weights(s.fresh(), std::ref(stored), "base") == fingerprint_of_weights(s.fresh(), weights.source(), "base"));
  stored.require_all_read();

  const auto broken = [&](const std::string& name, const Shape& shape) {
    Tensor<double> values = weights.source()(name, shape);
    if (name == "model.layers.1.mlp.up_proj.weight") values.data()[3] = std::numeric_limits<double>::quiet_NaN();
    return values;
  };
  CHECK_THROWS_WITH_AS(fingerprint_of_weights(s.fresh(), broken, "base"),
                       doctest::Contains("base: tensor 'model.layers.1.mlp.up_proj.weight' of shape (20, 16) is nan at element 3"), NumericError);
}

TEST_CASE("streamed transfer: what cannot be done is said before any weight is read") {
  const Streamed s;
  CountedWeights weights;
  auto student = s.fresh();
  const auto run = [&](const TransferRecipe<>& recipe, const BlockJob& job) {
    transfer_blocks(student, weights.source(), s.data, s.validation, recipe, job);
  };
  CHECK_THROWS_WITH_AS(run(recipe_of_blocks(1), {2, 4, {}}), doctest::Contains("blocks 2:4, expected some of 0:3"), ConfigError);
  CHECK_THROWS_AS(run(recipe_of_blocks(1), {1, 1, {}}), ConfigError);
  TransferRecipe<> recipe = recipe_of_blocks(1);
  recipe.checkpoint = "state";
  CHECK_THROWS_AS(run(recipe, {}), ConfigError);
  CHECK(weights.asked.empty());
  recipe = recipe_of_blocks(1);
  recipe.residuals = "no such folder/stream";
  CHECK_THROWS_AS(run(recipe, {}), FileError);
}

TEST_CASE("residuals: rows are written in any order and again, on disk and in memory, where there is room") {
  const tiny::TemporaryFolder folder;
  const std::vector<Index> lengths{2, 0, 3};
  for (const bool on_disk : {false, true}) {
    ResidualFile<Cpu<float>> file({}, on_disk ? folder / "stream" : std::filesystem::path(), 2, lengths);
    CHECK(file.rows() == 3);
    Tensor<float> x(Shape{5, 2});
    for (Index i = 0; i < 10; ++i) x.data()[i] = static_cast<float>(i);
    file.write(std::vector<Index>{2, 0}, x.view());
    file.write(std::vector<Index>{1}, View<const float>(x.data(), Shape{0, 2}));
    const auto first = file.read(std::vector<Index>{0, 1});
    CHECK(std::equal(first.span().begin(), first.span().end(), x.data() + 6));
    file.write(std::vector<Index>{0}, View<const float>(x.data(), Shape{2, 2}));
    const auto all = file.read(std::vector<Index>{0, 2});
    CHECK(std::vector<float>(all.span().begin(), all.span().end()) == std::vector<float>{0, 1, 2, 3, 0, 1, 2, 3, 4, 5});
    CHECK_THROWS_AS(file.write(std::vector<Index>{0}, x.view()), ShapeError);
    CHECK_THROWS_AS(file.read(std::vector<Index>{3}), DataError);
    CHECK(folder.empty() != on_disk);
  }
  CHECK(folder.empty());
  for (const auto& path : {folder / "stream", std::filesystem::path()}) {
    const std::vector<Index> many{Index{1} << 50};
    CHECK_THROWS_WITH_AS((ResidualFile<Cpu<float>>({}, path, 2, many)), doctest::Contains(" 9007199254740992 bytes are wanted, but "), FileError);
    const std::vector<Index> more{Index{1} << 62};
    CHECK_THROWS_WITH_AS((ResidualFile<Cpu<float>>({}, path, 2, more)), doctest::Contains(" bytes are wanted, but "), FileError);
  }
  CHECK(folder.empty());
}
