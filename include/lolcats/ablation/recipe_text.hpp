// What decides the numbers of a row, in words: data, model and recipes; and the key of a training run.
#pragma once

#include <lolcats/core/fingerprint.hpp>
#include <lolcats/data/batch.hpp>
#include <lolcats/train/recipe.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats::detail {

/// Of all tokens, labels and lengths.
template <TrainingData Data>
std::string fingerprint_of_data(const Data& data) {
  Fingerprint print;
  for (Index row = 0; row < static_cast<Index>(data.size()); ++row) {
    const Batch batch = data.batch(std::span(&row, 1));
    for (const Index token : batch.tokens) print.add(static_cast<std::uint64_t>(token));
    for (const Index label : batch.labels) print.add(static_cast<std::uint64_t>(label));
    for (const Extent& e : batch.sequences.extents()) print.add(static_cast<std::uint64_t>(e.length));
  }
  return print.text();
}

/// Fields and their values: AblationRow::recipe.
using RecipeText = std::vector<std::pair<std::string, std::string>>;

/// What decides the numbers of a stage, in words; `updates` as planned.  Its seed is the row's.
template <class StageRecipe>
void describe(RecipeText& text, const std::string& stage, const StageRecipe& r, Index updates) {
  const auto add = [&](std::string_view field, const std::string& value) {
    if (field != "seed") text.emplace_back(fmt::format("{}.{}", stage, field), value);
  };
  add("updates", fmt::format("{}", updates));
  add("patience", fmt::format("{}", r.patience));
  describe_fields(r, updates, add);
  for (const auto& [name, value] : r.inputs) add(name, value);
}

/// The part of a text that decides a training run, as its key: all fields but the number of updates.
inline std::string key_of(const RecipeText& text, std::string_view stage, const std::string& start) {
  Fingerprint print;
  print.add(start);
  for (const auto& [field, value] : text) {
    if (!field.starts_with(stage) || field.ends_with(".updates")) continue;
    print.add(field);
    print.add(value);
  }
  return std::string(stage) + "-" + print.text();
}

}  // namespace lolcats::detail
