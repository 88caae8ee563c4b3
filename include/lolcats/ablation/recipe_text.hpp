// What decides the numbers of a row, in words: data, model and recipes; and the key of a training run.
#pragma once

#include <lolcats/core/fingerprint.hpp>
#include <lolcats/data/batch.hpp>
#include <lolcats/model/llama.hpp>
#include <lolcats/train/recipe.hpp>

#include <algorithm>
#include <bit>
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

/// Of the first 1024 numbers of every weight.
template <LlamaModel Model>
std::string fingerprint_of_model(const Model& model) {
  Model handles = model;
  Fingerprint print;
  for (const auto& [name, parameter] : handles.base_parameters()) {
    std::vector<double> values(static_cast<std::size_t>(std::min<Index>(parameter->size(), 1024)));
    model.backend().to_host(parameter->value().data, values.data(), static_cast<Index>(values.size()));
    print.add(name);
    for (const double value : values) print.add(std::bit_cast<std::uint64_t>(value));
  }
  return print.text();
}

/// Fields and their values: AblationRow::recipe.
using RecipeText = std::vector<std::pair<std::string, std::string>>;

/// What the recipes of both stages have in common and what decides numbers, in words; `updates` as planned.
template <class StageRecipe>
void describe(RecipeText& text, const std::string& stage, const StageRecipe& r, Index updates) {
  const auto add = [&](const char* field, const auto& value) {
    text.emplace_back(stage + "." + field, fmt::format("{}", value));
  };
  add("updates", updates);
  add("batch", r.batch);
  add("micro_batch", r.micro_batch > 0 ? r.micro_batch : r.batch);
  add("shuffle", r.shuffle);
  add("learning_rate", r.learning_rate);
  add("schedule", typename decltype(r.schedule)::State(r.schedule, r.learning_rate, updates).describe());
  add("beta1", r.optimizer.beta1);
  add("beta2", r.optimizer.beta2);
  add("epsilon", r.optimizer.epsilon);
  add("weight_decay", r.optimizer.weight_decay);
  add("bf16_masters", r.optimizer.bf16_masters);
  add("clip", r.clip);
  add("evaluate_every", r.evaluate_every);
  add("patience", r.patience);
  add("restore_best", r.restore_best);
  add("identity", r.identity);
}

/// How many updates a recipe makes on `rows` rows, unless it stops early.
template <class StageRecipe>
Index planned_updates(const StageRecipe& recipe, Index rows) {
  const Index whole = recipe.epochs * ((rows + recipe.batch - 1) / recipe.batch);
  return recipe.epochs == 0        ? recipe.max_updates
         : recipe.max_updates == 0 ? whole
                                   : std::min(whole, recipe.max_updates);
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
