// ablate<Variants...>: trains every variant from one teacher and returns a row of numbers for each.
#pragma once

#include <lolcats/ablation/recipe_text.hpp>
#include <lolcats/ablation/row.hpp>
#include <lolcats/ablation/row_store.hpp>
#include <lolcats/ablation/variant.hpp>
#include <lolcats/eval/perplexity.hpp>
#include <lolcats/model/convert.hpp>
#include <lolcats/model/fingerprint.hpp>
#include <lolcats/train/batch_order.hpp>
#include <lolcats/train/maps_in_use.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeindex>
#include <typeinfo>
#include <utility>
#include <vector>

namespace lolcats {

/// How a study is run; none of it changes a number.
struct AblationOptions {
  std::vector<std::uint64_t> seeds = {0};
  std::string group = {};     // AblationRow::group
  std::string identity = {};  // any text about teacher and data that their contents do not tell
  Index rows = 8;             // sequences per forward pass of an evaluation
  /// Null: nothing is kept, and nothing gone on with.  `checkpoint`, `checkpoint_every` and `checkpoint_minutes` of the
  /// procedure's recipes are not used either way: one file for all variants would let the second go on from the state of
  /// the first.
  std::shared_ptr<RowStore> store = {};
  double checkpoint_minutes = 5;     // with a store: states are saved so often, and four times in a run
  std::function<bool()> stop = {};  // asked after every update and every row; if true, Interrupted is thrown
  ProgressCallback progress = {};  // of the training runs, the stage preceded by "row 3/10, "
  std::function<void(const AblationRow&, Index row, Index rows)> on_row = {};  // each row as soon as it is finished
};

/// Where a student stands when it is measured.
enum class Stage { swapped, transferred, finetuned };
inline constexpr std::array<const char*, 3> stage_names{"swapped", "transferred", "finetuned"};
inline const char* to_string(Stage stage) { return stage_names[static_cast<std::size_t>(stage)]; }

/// Adds nothing to the perplexities.
struct MeasureNothing {
  template <class Model>
  void operator()(Stage, Model&, AblationRow&) const {}
};

namespace detail {

template <class... Named>
void require_own_name_each(std::string_view what) {
  std::map<std::string, std::type_index> owners;
  const auto add = [&](const std::string& name, std::type_index type) {
    const auto [owner, fresh] = owners.emplace(name, type);
    require<ConfigError>(fresh || owner->second == type, "ablate: two different {} are called '{}', expected a name for each", what, name);
  };
  (add(Named::name(), typeid(Named)), ...);
}

/// Refuses types that call themselves the same: rows, maps and saved states are found by names.
template <AblationVariant... Variants>
void require_own_names() {
  require_own_name_each<Variants...>("variants");
  require_own_name_each<typename Variants::Attention...>("attentions");
  require_own_name_each<typename Variants::Adapter...>("adapters");
}

/// What stage 1 leaves behind: maps and gamma, and what was found out so far.
template <Backend B>
struct TransferredMaps {
  std::vector<std::pair<std::string, Parameter<B>>> maps;
  AblationRow row;
};

/// What all variants of a study share.
template <LlamaModel Teacher, TrainingData Train, TrainingData Validation>
struct AblationContext {
  using B = typename Teacher::Device;

  const Teacher& teacher;
  const Train& train;
  const Validation& validation;
  const Procedure& procedure;
  const AblationOptions& options;
  std::string data = fingerprint_of_data(train) + "/" + fingerprint_of_data(validation);
  std::string model = fingerprint_of(teacher.backend(), teacher.base_parameters());
  Index longest = longest_sequence(validation);  // tokens
  std::map<std::string, TransferredMaps<B>> transferred = {};

  static Index longest_sequence(const Validation& data) {
    Index longest = 0;
    for (Index row = 0; row < static_cast<Index>(data.size()); ++row) {
      const Batch batch = data.batch(std::span(&row, 1));
      for (const Extent& e : batch.sequences.extents()) longest = std::max(longest, e.length);
    }
    return longest;
  }

  template <class V>
  Procedure procedure_of(std::uint64_t seed) const {
    Procedure p = procedure;
    V::apply(p);
    p.transfers = p.transfers && has_maps<typename V::Attention>;
    p.transfer.seed = p.finetune.seed = seed;
    return p;
  }

  /// The row before anything is known.
  template <class V>
  AblationRow row_of(const Procedure& p, std::uint64_t seed) const {
    const auto rows = static_cast<Index>(train.size());
    AblationRow row;
    row.group = options.group;
    row.variant = V::name();
    row.seed = seed;
    RecipeText& text = row.recipe;
    text = {{"teacher", model}, {"data", data}, {"backend", std::string(B::name())}};
    if (!options.identity.empty()) text.emplace_back("identity", options.identity);
    if (p.transfers) {
      describe(text, "transfer", p.transfer, planned_updates(p.transfer, rows));
    }
    if (p.finetunes) {
      describe(text, "finetune", p.finetune, planned_updates(p.finetune, rows));
    }
    return row;
  }

  /// What the maps after stage 1 depend on.
  template <class V>
  std::string maps_key(const Procedure& p, const AblationRow& row) const {
    std::string start = fmt::format("{} seed {} {} {} {}", V::Attention::name(), row.seed, model, data, B::name());
    if (!p.transfers) return start;
    return key_of(row.recipe, "transfer", start) + fmt::format(" {}", planned_updates(p.transfer, train.size()));
  }
};

/// One variant with one seed.
template <AblationVariant V, class Context, class Measure>
class AblationRun {
 public:
  using B = typename Context::B;
  using Student = Llama<B, typename V::Attention, typename V::Adapter>;

  AblationRun(Context& context, const Measure& measure, std::uint64_t seed, ProgressCallback progress)
      : context_(context),
        measure_(measure),
        procedure_(context.template procedure_of<V>(seed)),
        row_(context.template row_of<V>(procedure_, seed)),
        progress_(std::move(progress)) {}

  AblationRow operator()(bool maps_are_needed_again) {
    RowStore* const store = context_.options.store.get();
    if (store) {
      if (auto found = store->find(row_)) return *std::move(found);
    }
    try {
      require_maps_in_use<typename V::Attention>(context_.longest);
      auto student = convert<Student>(context_.teacher, row_.seed);
      adopt_or_transfer(student, maps_are_needed_again);
      if (procedure_.finetunes) finetune_student(student);
    } catch (const NumericError& error) {
      row_.status = fmt::format("diverged: {}", error.what());
    } catch (const ConfigError& error) {
      row_.status = fmt::format("refused: {}", error.what());
    }
    // A refusal costs nothing to find again, and its reason may be gone by then.
    if (store && !row_.status.starts_with("refused")) store->keep(row_);
    return row_;
  }

 private:
  /// Stage 1, or what another variant has learned in it already.
  void adopt_or_transfer(Student& student, bool needed_again) {
    const std::string key = context_.template maps_key<V>(procedure_, row_);
    if (const auto found = context_.transferred.find(key); found != context_.transferred.end()) {
      row_.numbers = found->second.row.numbers;
      row_.series = found->second.row.series;
      for (const auto& [name, parameter] : student.transfer_parameters()) {
        *parameter = find_by_name(found->second.maps, name)->second;
      }
      return;
    }
    measure(Stage::swapped, student);
    if (procedure_.transfers) {
      TransferRecipe<> recipe = procedure_.transfer;
      prepare(recipe, "transfer", fmt::format("{} {}", V::Attention::name(), row_.seed));
      const TransferResult result = transfer_attention(student, context_.train, context_.validation, recipe, progress_);
      double seconds = 0;
      for (const TrainingResult& block : result.blocks) seconds += block.history.back().seconds;
      row_.set("transfer_seconds", seconds);
      add_curve("transfer_loss", result.blocks.back());
      if (!result.mse_per_layer.empty()) {
        Series layers{"mse_per_layer", {}, result.mse_per_layer};
        double sum = 0;
        for (std::size_t i = 0; i < layers.y.size(); ++i) {
          layers.x.push_back(static_cast<double>(i));
          sum += layers.y[i];
        }
        row_.set("transfer_mse", sum / static_cast<double>(layers.y.size()));
        row_.series.push_back(std::move(layers));
      }
      measure(Stage::transferred, student);
    }
    if (needed_again) {
      auto& entry = context_.transferred[key];
      for (const auto& [name, parameter] : student.transfer_parameters()) entry.maps.emplace_back(name, *parameter);
      entry.row = row_;
    }
  }

  void finetune_student(Student& student) {
    FinetuneRecipe<> recipe = procedure_.finetune;
    prepare(recipe, "finetune",
            fmt::format("{} {} {}", V::Adapter::name(), row_.seed, context_.template maps_key<V>(procedure_, row_)));
    const double before = row_.number("perplexity");
    const TrainingResult result = finetune(student, context_.train, context_.validation, recipe, progress_);
    row_.set("finetune_seconds", result.history.back().seconds);
    add_curve("finetune_loss", result);
    // The curve starts with what the student was before.
    row_.series.back().x.insert(row_.series.back().x.begin(), 0.0);
    row_.series.back().y.insert(row_.series.back().y.begin(), std::log(before));
    measure(Stage::finetuned, student);
  }

  /// Fixes the length of a run, and names the file in which it keeps its state, if it keeps any.
  template <class StageRecipe>
  void prepare(StageRecipe& recipe, const char* stage, const std::string& start) {
    recipe.max_updates = planned_updates(recipe, static_cast<Index>(context_.train.size()));
    recipe.epochs = 0;
    recipe.identity = start;
    recipe.inputs.emplace("base", context_.model);
    recipe.inputs.emplace("training data", context_.data);
    recipe.inputs.emplace("validation data", context_.data);
    recipe.checkpoint.clear();
    recipe.checkpoint_every = 0;
    recipe.checkpoint_minutes = 0;
    if (context_.options.stop) recipe.stop = context_.options.stop;
    RowStore* const store = context_.options.store.get();
    if (!store) return;
    const std::string key =
        key_of(row_.recipe, stage,
               fmt::format("{} {} {} {} {}", start, context_.model, context_.data, B::name(), context_.options.identity));
    recipe.checkpoint = store->state(key, recipe.max_updates);
    if (recipe.checkpoint.empty()) return;
    recipe.checkpoint_every = std::max<Index>(1, recipe.max_updates / 4);
    recipe.checkpoint_minutes = context_.options.checkpoint_minutes;
  }

  /// The validation loss over the updates.
  void add_curve(const char* name, const TrainingResult& result) {
    Series series{name, {}, {}};
    for (const TrainingPoint& point : result.history) {
      if (!point.validation) continue;
      series.x.push_back(static_cast<double>(point.update));
      series.y.push_back(*point.validation);
    }
    row_.series.push_back(std::move(series));
  }

  void measure(Stage stage, Student& student) {
    const double value = perplexity(student, context_.validation, context_.options.rows).perplexity;
    row_.set(std::string("perplexity_") + to_string(stage), value);
    row_.set("perplexity", value);
    measure_(stage, student, row_);
  }

  Context& context_;
  const Measure& measure_;
  Procedure procedure_;
  AblationRow row_;
  ProgressCallback progress_;
};

}  // namespace detail

/// Trains every variant from `teacher`, once for each seed: swap the attention, transfer, finetune.  Rows come in the
/// order of the variants, within a variant of the seeds.
///
/// Each row has `perplexity_swapped`, `perplexity_transferred`, `perplexity_finetuned` (those stages that the variant
/// has) and `perplexity` (the last of them), all on `validation`; `transfer_mse` (mean over the layers, not scaled),
/// `transfer_seconds`, `finetune_seconds`; the curves `transfer_loss` and `finetune_loss` (validation loss over updates)
/// and `mse_per_layer`.  `measure(stage, student, row)` is called at each stage and may add more.
///
/// Nothing is trained twice: all share the teacher's weights, variants that differ in stage 2 only share their maps,
/// and with a store a longer run goes on from a shorter one.  A loss that is not finite ends its variant, not the
/// study, and so does a variant that this teacher or this data cannot have: the row's status says why.
/// Errors of files and of the device end the study, and so does `stop`; a later call goes on.  Two variants, attentions or
/// adapters of different types under one name are a ConfigError, before any work.
template <AblationVariant... Variants, LlamaModel Teacher, TrainingData Train, TrainingData Validation,
          class Measure = MeasureNothing>
Ablation ablate(const Teacher& teacher, const Train& train, const Validation& validation,
                const Procedure& procedure = {}, const AblationOptions& options = {}, const Measure& measure = {}) {
  static_assert(sizeof...(Variants) > 0, "a study has at least one variant");
  detail::require_own_names<Variants...>();
  using Context = detail::AblationContext<Teacher, Train, Validation>;
  Context context{teacher, train, validation, procedure, options};
  const auto total = static_cast<Index>(sizeof...(Variants) * options.seeds.size());
  std::vector<std::vector<AblationRow>> by_variant(sizeof...(Variants));
  Index finished = 0;
  for (const std::uint64_t seed : options.seeds) {
    context.transferred.clear();
    const std::vector<std::string> keys{[&] {
      const Procedure p = context.template procedure_of<Variants>(seed);
      return context.template maps_key<Variants>(p, context.template row_of<Variants>(p, seed));
    }()...};
    std::size_t index = 0;
    const auto run = [&]<class V>(std::type_identity<V>) {
      const std::string at = fmt::format("row {}/{}, ", finished + 1, total);
      const ProgressCallback progress = !options.progress ? options.progress : [&](const Progress& p) {
        const std::string stage = at + std::string(p.stage);
        Progress named = p;
        named.stage = stage;
        options.progress(named);
      };
      const bool again =
          std::find(keys.begin() + static_cast<std::ptrdiff_t>(index) + 1, keys.end(), keys[index]) != keys.end();
      auto row = detail::AblationRun<V, Context, Measure>(context, measure, seed, progress)(again);
      if (!again) context.transferred.erase(keys[index]);
      ++finished;
      if (options.on_row) options.on_row(row, finished, total);
      if (options.stop && finished < total && options.stop()) {
        throw Interrupted(fmt::format("the study was stopped after row {} of {}", finished, total), "study", finished);
      }
      by_variant[index++].push_back(std::move(row));
    };
    (run(std::type_identity<Variants>{}), ...);
  }
  Ablation result;
  for (auto& rows : by_variant) result.append({std::move(rows)});
  return result;
}

}  // namespace lolcats
