#include "../train/tiny_llama.hpp"

#include <lolcats/ablation/ablate.hpp>
#include <lolcats/ablation/row_folder.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>
#include <lolcats/ops/squared_error/eigen.hpp>
#include <lolcats/ops/weight_cross_entropy/eigen.hpp>
#include <lolcats/policy/feature_map/modifiers.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <thread>

using namespace lolcats;

namespace {

using Map = Hedgehog<2>;
using Sharp = Variant<Hybrid<Map, Terraced<3>>, Lora<2>>;
using ValuesOnly = Variant<Hybrid<Map, Terraced<3>>, Lora<2, Targets{Projections::v}>>;
using Untransferred = Variant<Hybrid<Map, Terraced<3>>, Lora<2>, NoTransfer>;
using Control = Variant<Softmax<>, Lora<2>>;

struct Explode {
  static std::string name() { return "explodes"; }
  static void apply(Procedure& p) {
    p.finetune.learning_rate = 1e200;
    p.finetune.clip = 0;
  }
};

struct Unshuffled {
  static std::string name() { return "rows in their order"; }
  static void apply(Procedure& p) { p.transfer.shuffle = false; }
};

Procedure short_procedure() {
  Procedure p;
  p.transfer.max_updates = p.finetune.max_updates = 4;
  p.transfer.epochs = p.finetune.epochs = 0;
  p.transfer.batch = p.finetune.batch = 2;
  p.transfer.evaluate_every = p.finetune.evaluate_every = 2;
  p.finetune.learning_rate = 1e-2;
  return p;
}

struct Fixture {
  tiny::Teacher teacher = tiny::teacher(2);
  DataSet train = tiny::data(6), valid = tiny::data(3, {11}, 9);
};

/// Everything but the clock.
void check_same(const AblationRow& a, const AblationRow& b) {
  CHECK(a.variant == b.variant);
  CHECK(a.seed == b.seed);
  CHECK(a.status == b.status);
  CHECK(a.recipe == b.recipe);
  REQUIRE(a.numbers.size() == b.numbers.size());
  for (std::size_t i = 0; i < a.numbers.size(); ++i) {
    CHECK(a.numbers[i].first == b.numbers[i].first);
    if (!a.numbers[i].first.ends_with("_seconds")) CHECK(a.numbers[i].second == b.numbers[i].second);
  }
  REQUIRE(a.series.size() == b.series.size());
  for (std::size_t i = 0; i < a.series.size(); ++i) {
    CHECK(a.series[i].name == b.series[i].name);
    CHECK(a.series[i].x == b.series[i].x);
    CHECK(a.series[i].y == b.series[i].y);
  }
}

/// Keeps rows in memory, and may fail as a full disk does.
class Shelf : public RowStore {
 public:
  std::vector<AblationRow> rows;
  std::size_t room = 100;

  std::optional<AblationRow> find(const AblationRow& asked) override {
    for (const AblationRow& row : rows) {
      if (row.variant == asked.variant && row.seed == asked.seed && row.recipe == asked.recipe) return row;
    }
    return std::nullopt;
  }
  void keep(const AblationRow& row) override {
    require<FileError>(rows.size() < room, "no space left");
    rows.push_back(row);
  }
  std::filesystem::path state(const std::string&, Index) override { return {}; }
};

}  // namespace

TEST_CASE("changes of a procedure") {
  const auto changed = []<class... Changes>() {
    Procedure p;
    Variant<Softmax<>, Lora<2>, Changes...>::apply(p);
    return p;
  };
  CHECK_FALSE(Procedure().finetune.train_maps);
  CHECK(changed.operator()<TrainMaps>().finetune.train_maps);
  const Procedure seven = changed.operator()<FinetuneUpdates<7>>(), none = changed.operator()<FinetuneUpdates<0>>();
  CHECK((seven.finetunes && seven.finetune.max_updates == 7 && seven.finetune.epochs == 0));
  CHECK_FALSE(none.finetunes);
  const Procedure two = changed.operator()<TransferUpdates<2>>();
  CHECK((two.transfers && two.transfer.max_updates == 2 && two.transfer.epochs == 0));
  CHECK_FALSE(changed.operator()<TransferUpdates<0>>().transfers);
  const Procedure loss = changed.operator()<WeightCrossEntropy>();
  CHECK((loss.transfer.mse_factor == 0 && loss.transfer.xent_factor == 1));
  Procedure epochs;
  epochs.transfer.epochs = 2;
  epochs.finetune.epochs = 3;
  NoTransfer::apply(epochs);
  CHECK_FALSE(epochs.transfers);
  CHECK(epochs.finetune.epochs == 5);  // stage 2 takes the time of both
  CHECK(Variant<Softmax<>, Lora<2>, TrainMaps, FinetuneUpdates<7>>::name() ==
        "softmax + lora<2, qkvo>, maps trained in both stages, 7 finetuning updates");
}

namespace {
template <class Like>
struct CalledLike : Control {
  static std::string name() { return Like::name(); }
};
struct OtherSoftmax : Softmax<> {};
struct OtherLora : Lora<2> {};
template <class A, class P>
struct Called : Variant<A, P> {
  static std::string name() { return "by another name"; }
};
}  // namespace

TEST_CASE("ablate: two types under one name are refused before any work, one type twice is not") {
  const Fixture f;
  CHECK_THROWS_WITH_AS((ablate<Sharp, CalledLike<Sharp>>(f.teacher, f.train, f.valid, short_procedure())),
                       "ablate: two different variants are called 'hybrid<hedgehog<2>, terraced<3>> + lora<2, qkvo>', expected a name for each",
                       ConfigError);
  CHECK_THROWS_WITH_AS((lolcats::detail::require_own_names<Control, Called<OtherSoftmax, Lora<2>>>()),
                       "ablate: two different attentions are called 'softmax', expected a name for each", ConfigError);
  CHECK_THROWS_WITH_AS((lolcats::detail::require_own_names<Control, Called<Softmax<>, OtherLora>>()),
                       "ablate: two different adapters are called 'lora<2, qkvo>', expected a name for each", ConfigError);
  CHECK_NOTHROW((lolcats::detail::require_own_names<Sharp, Control, ValuesOnly, Untransferred, Control>()));
}

TEST_CASE("ablate: a row holds what the stages give when they are run by hand") {
  Fixture f;
  const auto all = ablate<Sharp, Untransferred, Control>(f.teacher, f.train, f.valid, short_procedure(), {.seeds = {3}});
  REQUIRE(all.rows.size() == 3);
  CHECK(all.rows[0].variant == "hybrid<hedgehog<2>, terraced<3>> + lora<2, qkvo>");
  CHECK(all.rows[1].variant == "hybrid<hedgehog<2>, terraced<3>> + lora<2, qkvo>, no transfer");
  CHECK(all.rows[2].variant == "softmax + lora<2, qkvo>");

  using Student = Llama<Cpu<double>, Hybrid<Map, Terraced<3>>, Lora<2>>;
  auto student = convert<Student>(f.teacher, 3);
  CHECK(all.rows[0].number("perplexity_swapped") == perplexity(student, f.valid).perplexity);
  Procedure p = short_procedure();
  p.transfer.seed = p.finetune.seed = 3;
  const auto transferred = transfer_attention(student, f.train, f.valid, p.transfer);
  CHECK(all.rows[0].number("perplexity_transferred") == perplexity(student, f.valid).perplexity);
  CHECK(all.rows[0].curve("mse_per_layer")->y == transferred.mse_per_layer);
  CHECK(all.rows[0].number("transfer_mse") == doctest::Approx((transferred.mse_per_layer[0] + transferred.mse_per_layer[1]) / 2));
  const auto tuned = finetune(student, f.train, f.valid, p.finetune);
  CHECK(all.rows[0].number("perplexity_finetuned") == perplexity(student, f.valid).perplexity);
  CHECK(all.rows[0].number("perplexity") == all.rows[0].number("perplexity_finetuned"));
  CHECK(all.rows[0].curve("finetune_loss")->x == std::vector<double>{0, 2, 4});
  CHECK(all.rows[0].curve("finetune_loss")->y[0] == std::log(all.rows[0].number("perplexity_transferred")));
  CHECK(all.rows[0].curve("finetune_loss")->y[2] == *tuned.history.back().validation);

  auto baseline = convert<Student>(f.teacher, 3);
  p.finetune.train_maps = true;
  p.finetune.max_updates = 8;
  finetune(baseline, f.train, f.valid, p.finetune);
  CHECK(all.rows[1].number("perplexity") == perplexity(baseline, f.valid).perplexity);
  CHECK(std::isnan(all.rows[1].number("perplexity_transferred")));

  // The control starts as the teacher.
  CHECK(all.rows[2].number("perplexity_swapped") == doctest::Approx(perplexity(f.teacher, f.valid).perplexity));
  CHECK(std::isnan(all.rows[2].number("perplexity_transferred")));
}

TEST_CASE("ablate: variants that differ in stage 2 share their maps, and seeds differ") {
  const Fixture f;
  std::map<std::string, int> measured;
  int rows = 0;
  AblationOptions options{.seeds = {0, 1}};
  options.on_row = [&](const AblationRow&, Index row, Index count) {
    CHECK(row == ++rows);
    CHECK(count == 4);
  };
  const auto all = ablate<Sharp, ValuesOnly>(f.teacher, f.train, f.valid, short_procedure(), options,
                                             [&](Stage stage, auto& student, AblationRow& row) {
                                               ++measured[to_string(stage)];
                                               row.set("layers", static_cast<double>(student.layer_count()));
                                             });
  CHECK(measured["swapped"] == 2);  // once for each seed
  CHECK(measured["transferred"] == 2);
  CHECK(measured["finetuned"] == 4);
  for (std::size_t seed : {0, 1}) {
    CHECK(all.rows[seed].seed == seed);
    CHECK(all.rows[seed].number("perplexity_transferred") == all.rows[2 + seed].number("perplexity_transferred"));
    CHECK(all.rows[seed].number("perplexity") != all.rows[2 + seed].number("perplexity"));
    CHECK(all.rows[2 + seed].number("layers") == 2);
    for (const char* curve : {"transfer_loss", "mse_per_layer"}) {
      REQUIRE(all.rows[2 + seed].curve(curve));
      CHECK(all.rows[2 + seed].curve(curve)->y == all.rows[seed].curve(curve)->y);
    }
  }
  CHECK(all.rows[0].number("perplexity") != all.rows[1].number("perplexity"));

  // Alone, without anybody's maps, a variant ends the same.
  const auto alone = ablate<ValuesOnly>(f.teacher, f.train, f.valid, short_procedure(), {.seeds = {1}});
  CHECK(alone.rows[0].number("perplexity") == all.rows[3].number("perplexity"));
}

TEST_CASE("ablate: of a transfer in blocks, the time is that of all and the curve that of the last") {
  const Fixture f;
  using InBlocks = Variant<Hybrid<Map, Terraced<3>>, Lora<2>, Blocks<1>, NoFinetune>;
  AblationOptions options;
  options.progress = [](const Progress&) { std::this_thread::sleep_for(std::chrono::milliseconds(20)); };
  const auto all = ablate<InBlocks>(f.teacher, f.train, f.valid, short_procedure(), options);
  CHECK(all.rows[0].number("transfer_seconds") > 0.11);  // what follows three of four updates of each of two blocks
  auto student = convert<Llama<Cpu<double>, Hybrid<Map, Terraced<3>>, Lora<2>>>(f.teacher, 0);
  TransferRecipe<> recipe = short_procedure().transfer;
  recipe.block = 1;
  const auto result = transfer_attention(student, f.train, f.valid, recipe);
  REQUIRE(result.blocks.size() == 2);
  CHECK(all.rows[0].curve("transfer_loss")->y.back() == *result.blocks.back().history.back().validation);
  CHECK(*result.blocks.front().history.back().validation != *result.blocks.back().history.back().validation);
}

TEST_CASE("ablate: how many updates a recipe plans") {
  TransferRecipe<> recipe;
  recipe.epochs = 2;
  recipe.batch = 4;
  recipe.max_updates = 0;
  CHECK(planned_updates(recipe, 6) == 4);  // the last batch of an epoch is smaller
  recipe.max_updates = 3;
  CHECK(planned_updates(recipe, 6) == 3);
  recipe.max_updates = 30;
  CHECK(planned_updates(recipe, 6) == 4);
  recipe.epochs = 0;
  CHECK(planned_updates(recipe, 6) == 30);
}

TEST_CASE("ablate: a variant that diverges, and one that leaves nothing to the maps, are rows; the others run") {
  const Fixture f;
  using Diverging = Variant<Hybrid<Map, Terraced<3>>, Lora<2>, Explode>;
  using TooWide = Variant<Hybrid<Map, Sliding<16>>, Lora<2>>;
  using WrongSize = Variant<Hybrid<Skip<Map>, Terraced<3>>, Lora<2>>;  // a skip needs as many columns as the head has
  const auto all =
      ablate<Diverging, TooWide, WrongSize, Sharp>(f.teacher, f.train, f.valid, short_procedure(), {.seeds = {0}});
  CHECK(all.rows[0].status.starts_with("diverged: "));
  CHECK(all.rows[0].status.find("update") != std::string::npos);
  CHECK(all.rows[0].number("perplexity_transferred") > 0);  // what was known before is kept
  CHECK(all.rows[1].status == "refused: sliding<16> reads all keys of a sequence of 11 tokens exactly, expected a window "
                              "with keys beyond it");
  CHECK(all.rows[2].status.starts_with("refused: skip<hedgehog<2>>: projects onto 2 features, expected the head size 4"));
  CHECK(all.rows[3].done());
  // What is refused costs nothing to find again and is not kept; what diverged is.
  AblationOptions options;
  const auto shelf = std::make_shared<Shelf>();
  options.store = shelf;
  ablate<Diverging, TooWide, WrongSize>(f.teacher, f.train, f.valid, short_procedure(), options);
  REQUIRE(shelf->rows.size() == 1);
  CHECK(shelf->rows[0].status.starts_with("diverged: "));
}

TEST_CASE("ablate: a window may leave one key to the maps, and not none") {
  CHECK_NOTHROW(require_maps_in_use<Variant<Hybrid<Map, Sliding<10>>, Lora<2>>::Attention>(11));
  CHECK_THROWS_AS((require_maps_in_use<Variant<Hybrid<Map, Sliding<11>>, Lora<2>>::Attention>(11)), ConfigError);
  CHECK_NOTHROW(require_maps_in_use<Control::Attention>(11));
}

TEST_CASE("ablate: every field of a recipe that decides numbers is in a row's recipe and in the key of its states") {
  const auto text_of = [](const TransferRecipe<>& recipe) {
    detail::RecipeText text;
    detail::describe(text, "transfer", recipe, 4);
    return text;
  };
  const TransferRecipe<> plain;
  int fields = 0;
  std::vector<std::string> names;
  visit_fields([&](const char* name, auto, const auto&) { names.emplace_back(name); }, plain);
  for (const std::string& changed : names) {
    CAPTURE(changed);
    TransferRecipe<> other;
    bool decides = changed == "patience";
    visit_fields(
        [&]<FieldKind Kind, class V>(std::string_view name, FieldKindConstant<Kind>, V& value) {
          if (name != changed) return;
          decides = decides || (Kind == FieldKind::numbers && name != "seed");  // the seed is the row's
          if constexpr (std::is_same_v<V, bool>) value = !value;
          else if constexpr (std::is_arithmetic_v<V>) value = value == 0 ? V(1) : static_cast<V>(2 * value);
          else if constexpr (std::is_same_v<V, std::string>) value = "other";
          else if constexpr (std::is_same_v<V, RunIdentity>) value["tokenizer"] = "17";
          else if constexpr (std::is_same_v<V, std::vector<double>>) value = {1, 2};
          else if constexpr (std::is_same_v<V, ReduceOnPlateau>) value.threshold = 0.5;
        },
        other);
    CHECK((text_of(other) != text_of(plain)) == decides);
    CHECK((detail::key_of(text_of(other), "transfer", "") != detail::key_of(text_of(plain), "transfer", "")) == decides);
    fields += decides;
  }
  CHECK(fields == 20);
}

TEST_CASE("ablate: data are told apart by where their rows end, and by their labels") {
  const auto print = [](std::vector<std::vector<Index>> texts, bool supervised = true) {
    std::vector<Row> rows;
    for (auto& tokens : texts) {
      rows.push_back({.tokens = tokens, .labels = tokens, .starts = {0}});
      if (!supervised) rows.back().labels[1] = ignored_label;
    }
    return detail::fingerprint_of_data(DataSet(std::move(rows)));
  };
  CHECK(print({{1, 2, 3}}, false) != print({{1, 2, 3}}));
  CHECK(print({{1, 2, 3}, {4, 5}}) != print({{1, 2}, {3, 4, 5}}));
  CHECK(print({{1, 2, 3}, {4, 5}}) == print({{1, 2, 3}, {4, 5}}));
}

TEST_CASE("ablate: a checkpoint of the procedure's own is not used, for all variants would share it") {
  const Fixture f;
  const auto plain = ablate<Sharp, Control>(f.teacher, f.train, f.valid, short_procedure(), {.seeds = {0, 1}});
  const tiny::TemporaryFolder folder;
  Procedure p = short_procedure();
  p.transfer.checkpoint = folder / "transfer";
  p.finetune.checkpoint = folder / "finetune";
  p.transfer.checkpoint_every = p.finetune.checkpoint_every = 1;
  AblationOptions options{.seeds = {0, 1}};
  SUBCASE("without a store") {}
  SUBCASE("with a store that keeps no states") { options.store = std::make_shared<Shelf>(); }
  const auto rows = ablate<Sharp, Control>(f.teacher, f.train, f.valid, p, options);
  for (std::size_t i = 0; i < plain.rows.size(); ++i) check_same(rows.rows[i], plain.rows[i]);
  CHECK(folder.empty());
}

TEST_CASE("ablate: variants share maps only if their batches are the same") {
  const Fixture f;
  using InOrder = Variant<Hybrid<Map, Terraced<3>>, Lora<2>, Unshuffled>;
  const auto all = ablate<Sharp, InOrder>(f.teacher, f.train, f.valid, short_procedure());
  CHECK(all.rows[0].recipe != all.rows[1].recipe);
  CHECK(all.rows[0].number("perplexity_transferred") != all.rows[1].number("perplexity_transferred"));
}

TEST_CASE("ablate: a study goes on where it was") {
  const Fixture f;
  AblationOptions options{.seeds = {0, 1}};
  const auto whole = ablate<Sharp, Control>(f.teacher, f.train, f.valid, short_procedure(), options);

  SUBCASE("a disk that fills up loses no finished row") {
    const auto shelf = std::make_shared<Shelf>();
    shelf->room = 2;
    options.store = shelf;
    CHECK_THROWS_AS((ablate<Sharp, Control>(f.teacher, f.train, f.valid, short_procedure(), options)), FileError);
    REQUIRE(shelf->rows.size() == 2);
    shelf->room = 100;
    int trained = 0;
    options.progress = [&](const Progress& p) {
      trained += p.update == p.total;
      CHECK(p.stage.starts_with("row "));
    };
    const auto again = ablate<Sharp, Control>(f.teacher, f.train, f.valid, short_procedure(), options);
    CHECK(trained == 3);  // seed 1: transfer and finetune; the control has no transfer
    REQUIRE(again.rows.size() == whole.rows.size());
    for (std::size_t i = 0; i < whole.rows.size(); ++i) check_same(again.rows[i], whole.rows[i]);
  }
  SUBCASE("another recipe, teacher or text is another row") {
    const auto shelf = std::make_shared<Shelf>();
    options.store = shelf;
    options.seeds = {0};
    ablate<Control>(f.teacher, f.train, f.valid, short_procedure(), options);
    Procedure p = short_procedure();
    p.finetune.learning_rate *= 2;
    ablate<Control>(f.teacher, f.train, f.valid, p, options);
    ablate<Control>(f.teacher, f.train, tiny::data(3, {11}, 10), short_procedure(), options);
    ablate<Control>(tiny::teacher(2, 2), f.train, f.valid, short_procedure(), options);
    CHECK(shelf->rows.size() == 4);
    tiny::Teacher near = tiny::teacher(2);  // another number far down in a weight
    Parameter<tiny::Device>& weight = *near.base_parameters().front().parameter;
    weight.own(near.backend());
    weight.mutable_value().data[weight.size() - 5] += 1e-3;
    ablate<Control>(near, f.train, f.valid, short_procedure(), options);
    CHECK(shelf->rows.size() == 5);
    ablate<Control>(f.teacher, f.train, f.valid, p, options);
    CHECK(shelf->rows.size() == 5);
    options.identity = "what only the caller knows";
    ablate<Control>(f.teacher, f.train, f.valid, p, options);
    CHECK(shelf->rows.size() == 6);
  }
  SUBCASE("in a folder, in the middle of a run of fewer than four updates") {
    const tiny::TemporaryFolder folder;
    options.store = std::make_shared<RowFolder>(folder / "rows");
    options.seeds = {0};
    using Three = Variant<Hybrid<Map, Terraced<3>>, Lora<2>, TransferUpdates<3>, NoFinetune>;
    int updates = 0;
    options.progress = [&](const Progress&) { require<Error>(++updates != 2, "power cut"); };
    CHECK_THROWS_WITH(ablate<Three>(f.teacher, f.train, f.valid, short_procedure(), options), "power cut");
    ablate<Three>(f.teacher, f.train, f.valid, short_procedure(), options);
    CHECK(updates == 3);  // every update is saved
  }
  SUBCASE("in a folder, in the middle of a variant") {
    const tiny::TemporaryFolder folder;
    options.store = std::make_shared<RowFolder>(folder / "rows");
    int updates = 0;
    options.progress = [&](const Progress&) { require<Error>(++updates != 6, "power cut"); };  // in stage 2 of the first row
    CHECK_THROWS_WITH((ablate<Sharp, Control>(f.teacher, f.train, f.valid, short_procedure(), options)), "power cut");
    updates = 100;
    const auto again = ablate<Sharp, Control>(f.teacher, f.train, f.valid, short_procedure(), options);
    CHECK(updates - 100 == 2 + 4 + 8 + 4);  // of the first row only two updates of stage 2 were left
    for (std::size_t i = 0; i < whole.rows.size(); ++i) check_same(again.rows[i], whole.rows[i]);
  }
}

TEST_CASE("ablate: a study that is told to stop has saved what it did") {
  const Fixture f;
  const auto whole = ablate<Sharp, Control>(f.teacher, f.train, f.valid, short_procedure(), {.seeds = {0}});
  const tiny::TemporaryFolder folder;
  AblationOptions options{.seeds = {0}, .store = std::make_shared<RowFolder>(folder / "rows")};
  int updates = 0, asked = 0;
  options.progress = [&](const Progress&) { ++updates; };
  for (const int when : {6, 9}) {  // in stage 2 of the first row; behind that row
    options.stop = [&] { return ++asked == when; };
    CHECK_THROWS_AS((ablate<Sharp, Control>(f.teacher, f.train, f.valid, short_procedure(), options)), Interrupted);
  }
  options.stop = {};
  const auto again = ablate<Sharp, Control>(f.teacher, f.train, f.valid, short_procedure(), options);
  CHECK(updates == 12);  // none twice: 4 and 4 of the first row, 4 of the control
  int rows = 0;  // behind the last row there is nothing to stop
  AblationOptions late{.seeds = {0}, .stop = [&] { return rows == 2; }, .on_row = [&](const AblationRow&, Index, Index) { ++rows; }};
  CHECK_NOTHROW(ablate<Sharp, Control>(f.teacher, f.train, f.valid, short_procedure(), late));
  for (std::size_t i = 0; i < whole.rows.size(); ++i) check_same(again.rows[i], whole.rows[i]);
}

TEST_CASE("ablate: with a folder, a variant takes the maps that another left there before the interruption") {
  const Fixture f;
  const auto whole = ablate<Sharp, ValuesOnly>(f.teacher, f.train, f.valid, short_procedure(), {.seeds = {0}});
  const tiny::TemporaryFolder folder;
  AblationOptions options{.seeds = {0}, .store = std::make_shared<RowFolder>(folder / "rows")};
  int updates = 0;
  options.progress = [&](const Progress&) { require<Error>(++updates != 10, "power cut"); };  // in stage 2 of the second row
  CHECK_THROWS_WITH((ablate<Sharp, ValuesOnly>(f.teacher, f.train, f.valid, short_procedure(), options)), "power cut");
  updates = 100;
  const auto again = ablate<Sharp, ValuesOnly>(f.teacher, f.train, f.valid, short_procedure(), options);
  CHECK(updates == 102);  // two of stage 2; none of stage 1
  for (std::size_t i = 0; i < 2; ++i) check_same(again.rows[i], whole.rows[i]);
}

TEST_CASE("ablate: with a folder, a longer run goes on from a shorter one") {
  const Fixture f;
  using Two = Variant<Hybrid<Map, Terraced<3>>, Lora<2>, TransferUpdates<2>, NoFinetune>;
  using Six = Variant<Hybrid<Map, Terraced<3>>, Lora<2>, TransferUpdates<6>, NoFinetune>;
  const auto plain = ablate<Two, Six>(f.teacher, f.train, f.valid, short_procedure(), {.seeds = {0}});
  const tiny::TemporaryFolder folder;
  int updates = 0;
  const AblationOptions options{.seeds = {0},
                                .store = std::make_shared<RowFolder>(folder / "rows"),
                                .progress = [&](const Progress&) { ++updates; }};
  const auto kept = ablate<Two, Six>(f.teacher, f.train, f.valid, short_procedure(), options);
  CHECK(updates == 6);
  for (std::size_t i = 0; i < 2; ++i) check_same(kept.rows[i], plain.rows[i]);

  // A shorter run after a longer one does not take the longer one's maps.
  const tiny::TemporaryFolder other;
  const AblationOptions backwards{.seeds = {0}, .store = std::make_shared<RowFolder>(other / "rows")};
  const auto reversed = ablate<Six, Two>(f.teacher, f.train, f.valid, short_procedure(), backwards);
  check_same(reversed.rows[0], plain.rows[1]);
  check_same(reversed.rows[1], plain.rows[0]);
}
