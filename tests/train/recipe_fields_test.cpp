#include <lolcats/train/any_schedule.hpp>
#include <lolcats/train/finetune.hpp>
#include <lolcats/train/pretrain.hpp>
#include <lolcats/train/recipe_fields.hpp>
#include <lolcats/train/transfer.hpp>

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <type_traits>
#include <utility>

using namespace lolcats;

namespace {

struct Anything {
  template <class T>
  operator T() const;
};
template <std::size_t>
using AnythingAt = Anything;

template <class T, std::size_t... I>
constexpr bool takes(std::index_sequence<I...>) {
  return requires { T{AnythingAt<I>{}...}; };
}
/// How many fields an aggregate has.
template <class T, std::size_t N = 1>
constexpr std::size_t field_count() {
  if constexpr (takes<T>(std::make_index_sequence<N + 1>())) return field_count<T, N + 1>();
  else return N;
}
static_assert(field_count<AdamWOptions>() == 6 && field_count<Cosine>() == 3);

Alone nobody;

/// Gives a field another value than its default.
template <class V>
void change(V& value) {
  if constexpr (std::is_same_v<V, bool>) value = !value;
  else if constexpr (std::is_arithmetic_v<V>) value = value == 0 ? V(3) : static_cast<V>(value * 2);
  else if constexpr (std::is_same_v<V, std::string> || std::is_same_v<V, std::filesystem::path>) value = "changed";
  else if constexpr (std::is_same_v<V, RunIdentity>) value["tokenizer"] = "17";
  else if constexpr (std::is_same_v<V, std::vector<double>>) value = {1, 2};
  else if constexpr (std::is_same_v<V, Cosine>) value.warmup = 7;
  else if constexpr (std::is_same_v<V, std::function<bool()>>) value = [] { return false; };
  else if constexpr (std::is_same_v<V, Communicator*>) value = &nobody;
  else value = [](std::string_view, std::span<const TrainingPoint>) {};
}

template <class V>
std::string shown(const V& value) {
  if constexpr (std::is_arithmetic_v<V> || std::is_same_v<V, std::string>) return fmt::format("{}", value);
  else if constexpr (std::is_same_v<V, std::filesystem::path>) return value.string();
  else if constexpr (std::is_same_v<V, std::vector<double>>) return fmt::format("{}", fmt::join(value, " "));
  else if constexpr (std::is_same_v<V, RunIdentity>) return value.empty() ? "none" : value.begin()->second;
  else if constexpr (Schedule<V>) return typename V::State(value, 1, 10).describe();
  else return value ? "something" : "none";
}

/// Every field's name and value.
template <class R>
std::map<std::string, std::string> all_fields(const R& recipe) {
  std::map<std::string, std::string> all;
  visit_fields([&](const char* name, auto, const auto& value) { all[name] = shown(value); }, recipe);
  return all;
}
template <class R>
std::map<std::string, std::string> described(const R& recipe) {
  std::map<std::string, std::string> all;
  describe_fields(recipe, 100, [&](std::string_view name, std::string text) { all.emplace(name, std::move(text)); });
  return all;
}

}  // namespace

TEST_CASE_TEMPLATE("no field of a recipe is forgotten", R, Recipe<Cosine>, TransferRecipe<Cosine>, FinetuneRecipe<Cosine>,
                   PretrainRecipe<Cosine>) {
  const R plain{};
  const auto names = all_fields(plain);
  // The optimizer is listed by its parts.  A field that fails here is missing in visit_fields.
  const bool distills = names.contains("distillation_share");  // listed by its parts, too
  CHECK(names.size() ==
        field_count<R>() - 1 + field_count<AdamWOptions>() + (distills ? field_count<Distillation>() - 1 : 0));
  for (const auto& [changed, value] : names) {
    CAPTURE(changed);
    R other{};
    FieldKind kind{};
    visit_fields(
        [&]<FieldKind Kind>(const char* name, FieldKindConstant<Kind>, auto& field) {
          if (name != changed) return;
          kind = Kind;
          change(field);
        },
        other);
    CHECK(all_fields(other) != names);
    // Texts differ just where numbers would; inputs are told apart by whoever adds them.
    CHECK((described(other) != described(plain)) == (kind == FieldKind::numbers && changed != "inputs"));
    R copy{};
    copy_fields(other, copy);
    CHECK(all_fields(copy) == all_fields(other));
    // To a recipe whose schedule is another type, and to the loop's.
    Recipe<AnySchedule> loop;
    copy_fields(other, loop);
    for (const auto& [name, text] : all_fields(loop)) {
      CAPTURE(name);
      if (name != "stage" || std::is_same_v<R, Recipe<Cosine>>) CHECK(text == all_fields(other).at(name));
    }
  }
}

TEST_CASE("a stage's own fields become inputs of the loop's recipe") {
  TransferRecipe<> transfer;
  transfer.mse_factor = 3;
  transfer.block = 2;
  const RunIdentity inputs = detail::loop_recipe(transfer, "transfer").inputs;
  CHECK(inputs == RunIdentity{{"mse_factor", "3"}, {"xent_factor", "0"}, {"block", "2"}});
  FinetuneRecipe<> tuning;
  tuning.train_maps = true;
  tuning.inputs = {{"tokenizer", "17"}};
  CHECK(detail::loop_recipe(tuning, "finetune").inputs == RunIdentity{{"tokenizer", "17"},
                                                                      {"train_maps", "true"},
                                                                      {"maps_learning_rate", "0"},
                                                                      {"distillation_share", "0"},
                                                                      {"distillation_temperature", "1"}});
}

TEST_CASE("numbers that no recipe can have are refused by the field's name") {
  const auto message = [](auto recipe) {
    try {
      detail::loop_recipe(recipe, "transfer");
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  TransferRecipe<> recipe;
  CHECK(message(recipe) == "no error");
  recipe.xent_factor = -1;
  CHECK(message(recipe) == "Recipe 'transfer': xent_factor is -1, expected at least 0");
  recipe.xent_factor = std::numeric_limits<double>::infinity();
  CHECK(message(recipe) == "Recipe 'transfer': xent_factor is inf, expected a finite number");
  recipe = {};
  recipe.optimizer.weight_decay = -2;
  CHECK(message(recipe) == "Recipe 'transfer': weight_decay is -2, expected at least 0");
}
