// What a training run is told, what it needs from its caller, and what it reports at the end.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/distributed/communicator.hpp>
#include <lolcats/train/adamw.hpp>
#include <lolcats/train/recipe_fields.hpp>
#include <lolcats/train/schedule.hpp>

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

/// One update of a run.
struct TrainingPoint {
  Index update = 0;                       // finished with this one: 1, 2, ...
  double loss = 0;                        // mean per supervised token of its batch, before the update
  std::optional<double> validation = {};  // after the update
  double learning_rate = 0;
  double gradient_norm = 0;      // before clipping
  double seconds = 0;            // since the start of the run, interruptions left out
  double tokens_per_second = 0;  // of this update, evaluations and checkpoints left out
};

/// Hears the history of a run: when it starts, all that was done before a resumption (or nothing), and then every update
/// once.  The last update comes after the evaluation that ends the run.
using TrainingLog = std::function<void(std::string_view stage, std::span<const TrainingPoint>)>;

/// How to train.  `visit_fields` (train/recipe_fields.hpp) lists all fields here and in the stages' recipes.  The defaults are those that all three kinds of training share.
template <Schedule S = Constant>
struct Recipe {
  std::string stage = "training";  // names the run in progress reports, errors and checkpoints
  std::string identity = {};       // any text about model, method and data; a resumed run must bring the same
  RunIdentity inputs = {};         // the same by names, which errors tell

  Index epochs = 0;       // at least one of these two; the one that ends first decides
  Index max_updates = 0;  // 0: no limit
  Index batch = 8;        // sequences per update
  Index micro_batch = 0;  // sequences per forward pass; 0: the whole batch at once, or all of a rank's share
  bool shuffle = true;    // a new permutation for every epoch
  std::uint64_t seed = 0;

  double learning_rate = 1e-3;
  S schedule = {};
  AdamWOptions optimizer = {};
  double clip = 0;  // limit of the global gradient norm; 0: off

  Index evaluate_every = 0;  // updates; also after the last one; 0: never
  Index patience = 0;        // evaluations in a row without a new best before the run stops; 0: never stops early
  /// Ends with the parameters of the best evaluation, of which the first is made before any update; otherwise with the
  /// last parameters.
  bool restore_best = true;

  std::filesystem::path checkpoint = {};  // where to save the state; resumed from if the file exists
  Index checkpoint_every = 0;             // updates; also after the last one; 0: only then
  double checkpoint_minutes = 0;          // also when so long nothing was saved; 0: time does not matter
  std::function<bool()> stop = {};        // asked after every update; if true, the run is saved and throws Interrupted
  TrainingLog log = {};

  /// The processes that train together; it must outlive the run.  Null: this one alone.
  Communicator* communicator = nullptr;
};

/// Errors: ConfigError naming the stage, the field, got and expected.
template <Schedule S>
void check_recipe(const Recipe<S>& recipe) {
  check_fields(recipe.stage, recipe);
  require<ConfigError>(recipe.epochs > 0 || recipe.max_updates > 0,
                       "Recipe '{}': epochs and max_updates are 0, expected at least one of them to be positive",
                       recipe.stage);
  require<ConfigError>(recipe.patience == 0 || recipe.evaluate_every > 0,
                       "Recipe '{}': patience is {}, but evaluate_every is 0", recipe.stage, recipe.patience);
  require<ConfigError>(recipe.checkpoint_every == 0 || !recipe.checkpoint.empty(),
                       "Recipe '{}': checkpoint_every is {}, but checkpoint names no file", recipe.stage,
                       recipe.checkpoint_every);
  const Index ranks = recipe.communicator ? recipe.communicator->size() : 1;
  require<ConfigError>(recipe.batch >= ranks, "Recipe '{}': batch is {}, expected at least {}, a row for every rank", recipe.stage,
                       recipe.batch, ranks);
  require<ConfigError>(recipe.checkpoint_minutes == 0 || !recipe.checkpoint.empty(),
                       "Recipe '{}': checkpoint_minutes is {}, but checkpoint names no file", recipe.stage,
                       recipe.checkpoint_minutes);
}

/// Where a micro-batch stands in a run.
struct MicroStep {
  double scale = 0;        // 1 / supervised tokens of the whole update: what every token's loss is multiplied by
  Index update = 0;        // 0, 1, ...
  Index micro = 0;         // 0, 1, ... within the update, over all ranks
  std::uint64_t seed = 0;  // for the tape: differs for every micro-batch of every update
};

/// Rows to train on.  `batch(rows)` collects some of them in the form that the task understands.
template <class D>
concept TrainingData = requires(const D& data, std::span<const Index> rows) {
  { data.size() } -> std::convertible_to<Index>;
  data.batch(rows);
};

/// What `batch` makes.
template <TrainingData D>
using BatchOf = decltype(std::declval<const D&>().batch(std::span<const Index>()));

/// What is trained: `step` runs forward and backward for one micro-batch, adds to the gradients of the parameters, and
/// returns its share of the mean loss, scale * (sum over its supervised tokens); `supervised` counts those tokens.
///
/// Optional: `evaluate()` returns the validation loss (needed where the recipe evaluates); `tokens(batch)` counts all tokens for
/// the rate (otherwise the supervised ones are counted); `idle()` is called on a rank for every micro-batch that others have more,
/// where a model's ranks load its layers together (train/sharded_base.hpp).
template <class T, class Batch>
concept TrainingTask = requires(T& task, const Batch& batch, const MicroStep& at) {
  { task.step(batch, at) } -> std::convertible_to<double>;
  { task.supervised(batch) } -> std::convertible_to<Index>;
};

/// A task made of functions: `Task task{.step = [&](const auto& batch, const MicroStep& at) { ... }, ...}`.
template <class Step, class Supervised, class Evaluate>
struct Task {
  Step step;
  Supervised supervised;
  Evaluate evaluate;
};
template <class Step, class Supervised, class Evaluate>
Task(Step, Supervised, Evaluate) -> Task<Step, Supervised, Evaluate>;

/// What a run did.
struct TrainingResult {
  std::vector<TrainingPoint> history;  // of the whole run, also of the part before a resumption
  Index updates = 0;
  bool stopped_early = false;
  double best_validation = std::numeric_limits<double>::infinity();
  Index best_update = 0;  // 0: the start
  double start_validation = std::numeric_limits<double>::infinity();  // before any update; infinity: not evaluated
  bool ended_worse = false;     // than it started, without an evaluation that was better
  Index tokens = 0;             // trained on since the start or the resumption
  double training_seconds = 0;  // in which that happened, evaluations and checkpoints left out

  double tokens_per_second() const { return training_seconds > 0 ? static_cast<double>(tokens) / training_seconds : 0; }
};

}  // namespace lolcats
