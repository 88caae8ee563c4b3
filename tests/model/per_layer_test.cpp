// Models whose layers differ in their attention.
#include "../io/published_names.hpp"
#include "models_run.hpp"

#include <lolcats/eval/attention_map.hpp>
#include <lolcats/generate/generate.hpp>
#include <lolcats/model/linearized.hpp>
#include <lolcats/model/zoo.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>
#include <lolcats/ops/squared_error/eigen.hpp>
#include <lolcats/ops/weight_cross_entropy/eigen.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/train/cpu.hpp>
#include <lolcats/train/finetune.hpp>
#include <lolcats/train/transfer.hpp>

#include <doctest/doctest.h>

#include <filesystem>

#include <unistd.h>

using namespace models;
using lolcats::testing::close;
using lolcats::testing::same;

namespace {

using B = Cpu<double>;
using Student = Terraces::Attention;
using Mixed = Llama<B, PerLayer<Softmax<>, Student>, Terraces::Adapter>;
using AllSoftmax = Llama<B, Softmax<>, Terraces::Adapter>;

LlamaConfig deep(Index layers) {
  LlamaConfig config = tiny_config();
  config.layers = layers;
  return config;
}

/// The base model of a student, other weights than random's tiny ones.
Teacher<double> teacher(Index layers) { return convert<Teacher<double>>(vivid<Terraces>(deep(layers))); }

/// All layers as students, with maps and adapters that matter.
Terraces vivid_student(const Teacher<double>& base) {
  auto student = convert<Terraces>(base);
  randomize(student.backend(), student.transfer_parameters());
  randomize(student.backend(), student.adapter_parameters());
  return student;
}

/// The maps of `from` where `list` has the student, and its adapters.
Mixed mixed_of(Terraces& from, std::vector<Index> list) {
  auto mixed = convert<Mixed>(from, 0, list);
  const auto theirs = from.adapter_parameters(), mine = mixed.adapter_parameters();
  for (std::size_t i = 0; i < mine.size(); ++i) *mine[i].parameter = *theirs[i].parameter;
  return mixed;
}

/// Gradients of everything that both stages train, by name.
template <class Model>
std::map<std::string, std::vector<double>> gradients_of(Model& model, const TinyBatch& batch) {
  std::map<std::string, std::vector<double>> gradients;
  for (const auto& list : {model.transfer_parameters(), model.adapter_parameters()}) {
    for (const auto& [name, parameter] : list) parameter->train(model.backend());
  }
  backward_of(model, batch, 0.1, true);
  for (const auto& list : {model.transfer_parameters(), model.adapter_parameters()}) {
    for (const auto& [name, parameter] : list) {
      const auto g = parameter->gradient();
      gradients[name] = std::vector<double>(g.data, g.data + g.size());
      parameter->freeze();
    }
  }
  return gradients;
}

struct Rows {
  std::vector<std::vector<Index>> rows = {{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8}, {2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};
  Index size() const { return static_cast<Index>(rows.size()); }
  Batch batch(std::span<const Index> chosen) const {
    Batch b;
    std::vector<Extent> extents;
    for (const Index i : chosen) {
      const auto& row = rows[static_cast<std::size_t>(i)];
      extents.push_back({static_cast<Index>(b.tokens.size()), static_cast<Index>(row.size()), 0});
      b.tokens.insert(b.tokens.end(), row.begin(), row.end());
      b.labels.insert(b.labels.end(), row.begin() + 1, row.end());
      b.labels.push_back(ignored_label);
    }
    b.sequences = Sequences(static_cast<Index>(b.tokens.size()), extents);
    return b;
  }
};

struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / fmt::format("lolcats_per_layer_test_{}", ::getpid());
  Folder() { std::filesystem::remove_all(path); }
  ~Folder() { std::filesystem::remove_all(path); }
};

}  // namespace

static_assert(!AttentionPolicy<Mixed::Attention> && ModelAttention<Mixed::Attention>);
static_assert(any_maps<Mixed::Attention> && !any_maps<PerLayer<Softmax<>, Softmax<Sliding<4>>>>);

TEST_CASE("with one attention in all layers it is the plain model, bit for bit") {
  const auto base = teacher(2);
  auto student = vivid_student(base);
  auto mixed = mixed_of(student, {1, 1});
  const TinyBatch batch = tiny_batch();
  CHECK(same(logits_of(mixed, batch.tokens, batch.sequences), logits_of(student, batch.tokens, batch.sequences)));
  CHECK(gradients_of(mixed, batch) == gradients_of(student, batch));
  CHECK(numbers_of(mixed) == numbers_of(student));

  auto kept = convert<AllSoftmax>(student);  // softmax, the same adapter
  auto all_kept = mixed_of(student, {0, 0});
  CHECK(all_kept.transfer_parameters().empty());
  CHECK(same(logits_of(all_kept, batch.tokens, batch.sequences), logits_of(kept, batch.tokens, batch.sequences)));
}

TEST_CASE("mixed layers are those of the two models, one after the other") {
  const auto base = teacher(3);
  auto student = vivid_student(base);
  auto kept = convert<AllSoftmax>(student);
  auto mixed = mixed_of(student, {1, 0, 1});
  CHECK(mixed.attention_of_layer() == std::vector<Index>{1, 0, 1});
  const TinyBatch batch = tiny_batch();
  Tape<B> tape;
  const Tape<B>::NoGradient quiet(tape);
  Var<B> x = student.embed(tape, batch.tokens);
  const auto& table = student.rope(batch.sequences);
  x = student.layer(0).forward(tape, x, batch.sequences, table);
  x = kept.layer(1).forward(tape, x, batch.sequences, table);
  x = student.layer(2).forward(tape, x, batch.sequences, table);
  const auto logits = linear<B>(tape, student.normalize(tape, x), student.head()).value();
  const std::vector<double> want(logits.data, logits.data + logits.size());
  const auto got = logits_of(mixed, batch.tokens, batch.sequences);
  CHECK(same(got, want));
  CHECK(got != logits_of(student, batch.tokens, batch.sequences));
}

TEST_CASE("decoding from any prefill is one pass, and layers keep the state of their attention") {
  const auto base = teacher(3);
  auto student = vivid_student(base);
  auto mixed = mixed_of(student, {1, 0, 1});
  std::vector<Index> tokens;
  for (Index i = 0; i < 19; ++i) tokens.push_back(i * 7 % 13);
  const auto want = logits_of(mixed, tokens, Sequences(19, {{0, 19, 0}}));
  for (const Index prefill : {1, 6, 18}) CHECK(close(want, decoded_logits_of(mixed, tokens, prefill), 1e-10));

  // Only the layer that keeps its softmax grows with the tokens read.
  std::vector<AttentionState<B>> states(3);
  std::vector<std::size_t> few;
  for (Index n = 0; n < 160; ++n) {
    Tape<B> tape;
    const Sequences sequences(1, {{0, 1, n}});
    const std::vector<Index> token{n % 13};
    Var<B> x = mixed.embed(tape, token);
    for (std::size_t i = 0; i < 3; ++i) x = mixed.layer(static_cast<Index>(i)).step(tape, x, sequences, mixed.rope(sequences), states[i]);
    if (n == 30) few = {states[0].bytes(), states[1].bytes(), states[2].bytes()};
  }
  CHECK(states[0].bytes() == few[0]);
  CHECK(states[1].bytes() > few[1]);
  CHECK(states[2].bytes() == few[2]);
}

TEST_CASE("stage 1 trains the layers that have maps, each as if alone; stage 2 trains on") {
  const auto base = teacher(3);
  const Rows rows;
  TransferRecipe<> recipe;
  recipe.epochs = 2;
  recipe.batch = 2;
  recipe.mse_factor = 3;  // of three layers; 1 below, of one
  auto plain = convert<Terraces>(base);
  const auto all = transfer_attention(plain, rows, rows, recipe);
  auto mixed = convert<Mixed>(base, 0, {0, 1, 0});
  recipe.mse_factor = 1;
  const auto one = transfer_attention(mixed, rows, rows, recipe);
  REQUIRE(one.mse_per_layer.size() == 3);
  CHECK(one.mse_per_layer[0] == 0);
  CHECK(one.mse_per_layer[2] == 0);
  // AdamW takes no notice of a factor of the loss beyond its epsilon.
  CHECK(one.mse_per_layer[1] == doctest::Approx(all.mse_per_layer[1]).epsilon(1e-4));
  CHECK(one.mse_per_layer[1] > 0);

  auto blockwise = convert<Mixed>(base, 0, {0, 1, 0});
  recipe.block = 1;
  const auto blocks = transfer_attention(blockwise, rows, rows, recipe);
  CHECK(blocks.blocks.size() == 1);
  CHECK(blocks.mse_per_layer == one.mse_per_layer);
  CHECK(numbers_of(blockwise) == numbers_of(mixed));

  FinetuneRecipe<> second;
  second.epochs = 1;
  second.batch = 3;
  second.learning_rate = 1e-2;
  const double before = loss_of(mixed, tiny_batch(), 1);
  const auto result = finetune(mixed, rows, rows, second);
  CHECK(result.updates == 1);
  CHECK(loss_of(mixed, tiny_batch(), 1) != before);

  auto idle = convert<Mixed>(base, 0, {0, 0, 0});
  CHECK_THROWS_WITH_AS(transfer_attention(idle, rows, rows, recipe), doctest::Contains("no parameters that this stage trains"), ConfigError);
}

TEST_CASE("weights are compared where there are maps") {
  const auto base = teacher(2);
  const Rows rows;
  TransferRecipe<> recipe;
  recipe.epochs = 1;
  recipe.mse_factor = 0;
  recipe.xent_factor = 1;
  auto mixed = convert<Mixed>(base, 0, {0, 1});
  const auto result = transfer_attention(mixed, rows, rows, recipe);
  CHECK(result.blocks.front().history.back().loss > 0);
}

TEST_CASE("an interrupted stage of other places is not gone on with") {
  const Folder folder;
  create_folder(folder.path);
  const auto base = teacher(2);
  const Rows rows;
  TransferRecipe<> recipe;
  recipe.epochs = 1;
  recipe.checkpoint = folder.path / "state";
  auto first = convert<Mixed>(base, 0, {0, 1});
  transfer_attention(first, rows, rows, recipe);
  auto second = convert<Mixed>(base, 0, {1, 1});
  CHECK_THROWS_AS(transfer_attention(second, rows, rows, recipe), ConfigError);
}

TEST_CASE("maps of attention are those of each layer's attention") {
  const auto base = teacher(2);
  auto student = vivid_student(base);
  auto mixed = mixed_of(student, {0, 1});
  const std::vector<Index> tokens{3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
  const auto got = attention_maps(mixed, tokens, {{0, 1}, {1, 1}});
  CHECK(got[0].weights == teacher_attention_maps(mixed, tokens, {{0, 1}})[0].weights);
  CHECK(got[1].weights == attention_maps(student, tokens, {{1, 1}})[0].weights);
}

TEST_CASE("other places: what stays keeps its maps, what changes is fresh") {
  const auto base = teacher(3);
  auto student = vivid_student(base);
  auto mixed = mixed_of(student, {1, 1, 1});
  mixed.choose_attention({1, 0, 1});
  const auto numbers = numbers_of(mixed), want = numbers_of(student);
  CHECK(numbers.at(feature_map_name(0, 'q')) == want.at(feature_map_name(0, 'q')));
  CHECK(!numbers.contains(feature_map_name(1, 'q')));
  mixed.choose_attention({1, 1, 1});
  auto fresh = convert<Terraces>(base);
  CHECK(numbers_of(mixed).at(feature_map_name(1, 'q')) == numbers_of(fresh).at(feature_map_name(1, 'q')));

  CHECK_THROWS_WITH_AS(mixed.choose_attention({1, 1}), "Llama::choose_attention: 2 numbers, expected 3, one per layer", ConfigError);
  CHECK_THROWS_WITH_AS(mixed.choose_attention({0, 1, 2}), doctest::Contains("attention 2 in layer 2, expected 0 to 1 of per_layer<softmax, hybrid<"), ConfigError);
  CHECK(mixed.attention_of_layer() == std::vector<Index>{1, 1, 1});
  CHECK_THROWS_WITH_AS(convert<Terraces>(base, 0, {1, 1, 1}), doctest::Contains("a list of 3 attentions, expected none"), ConfigError);
}

TEST_CASE("the checkpoint carries the places") {
  const Folder folder;
  const auto base = teacher(3);
  auto student = vivid_student(base);
  auto mixed = mixed_of(student, {1, 0, 1});
  save_linearized(mixed, folder.path, {{"steps", 7}});
  auto loaded = load_linearized<Mixed>(base, folder.path);
  CHECK(loaded.attention_of_layer() == mixed.attention_of_layer());
  CHECK(numbers_of(loaded) == numbers_of(mixed));
  CHECK(convert<Mixed>(loaded).attention_of_layer() == mixed.attention_of_layer());
  CHECK(read_method(folder.path, Mixed::Attention::name()).recipe == nlohmann::json{{"steps", 7}});
  CHECK_NOTHROW(load_linearized<Mixed>(base, folder.path, {1, 0, 1}));
  CHECK_THROWS_WITH_AS(load_linearized<Mixed>(base, folder.path, {0, 1, 1}),
                       doctest::Contains("'attention_of_layer' is [1, 0, 1], expected [0, 1, 1]"), ConfigError);
  CHECK_THROWS_WITH_AS(load_linearized<Terraces>(base, folder.path), doctest::Contains("another method"), ConfigError);
  const auto shallow = teacher(2);
  CHECK_THROWS_WITH_AS(load_linearized<Mixed>(shallow, folder.path), doctest::Contains("3 numbers, expected 2"), ConfigError);

  // The json of one run beside the tensors of another.
  const auto file = folder.path / "lolcats.json";
  auto json = nlohmann::json::parse(read_text(file));
  json["attention_of_layer"] = {1, 1, 1};
  write_file_atomically(file, std::string_view(json.dump()));
  CHECK_THROWS_WITH_AS(load_linearized<Mixed>(base, folder.path), doctest::Contains("'attention_of_layer' is '1 0 1', expected '1 1 1'"), ConfigError);
  json["attention_of_layer"] = {1, -1, 1};
  write_file_atomically(file, std::string_view(json.dump()));
  CHECK_THROWS_WITH_AS(load_linearized<Mixed>(base, folder.path), doctest::Contains("expected a list of small integers"), ConfigError);
  CHECK_THROWS_AS(save_linearized(mixed, folder.path, {{"attention_of_layer", {1, 1, 1}}}), ConfigError);
}
