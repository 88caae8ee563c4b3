// The training loop: accumulation, clipping, schedule, evaluation, early stopping, checkpoints.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/progress.hpp>
#include <lolcats/core/rng.hpp>
#include <lolcats/model/fingerprint.hpp>
#include <lolcats/train/adamw.hpp>
#include <lolcats/train/batch_order.hpp>
#include <lolcats/train/data_parallel.hpp>
#include <lolcats/train/early_stopping.hpp>
#include <lolcats/train/gradients.hpp>
#include <lolcats/train/recipe.hpp>
#include <lolcats/train/resume.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

namespace lolcats {

namespace detail {

/// Seconds since its construction.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

/// What one update adds up to, over all ranks.
struct UpdateSum {
  double loss = 0;  // mean per supervised token
  Index tokens = 0;
};

/// Adds the gradients of this rank's share of one update, micro-batch by micro-batch.
///
/// Every token weighs the same, however the update is cut and shared out: the supervised tokens of all micro-batches of all
/// ranks are counted before the first forward pass, and each loss is divided by that number.
template <class Data, class T, Schedule S>
UpdateSum accumulate_gradients(const Data& data, std::span<const Index> rows_of_all, T& task, const Recipe<S>& recipe,
                               Index update) {
  Communicator& communicator = communicator_of(recipe);
  const Share own = share_of(static_cast<Index>(rows_of_all.size()), communicator.rank(), communicator.size());
  const auto rows = rows_of_all.subspan(static_cast<std::size_t>(own.first), static_cast<std::size_t>(own.count()));
  const auto size = static_cast<std::size_t>(recipe.micro_batch > 0 ? recipe.micro_batch : recipe.batch);
  std::vector<BatchOf<Data>> batches;
  Index supervised = 0, tokens = 0;
  for (std::size_t first = 0; first < rows.size(); first += size) {
    batches.push_back(data.batch(rows.subspan(first, std::min(size, rows.size() - first))));
    const Index count = task.supervised(std::as_const(batches.back()));
    supervised += count;
    if constexpr (requires { task.tokens(std::as_const(batches.back())); }) {
      tokens += static_cast<Index>(task.tokens(std::as_const(batches.back())));
    } else {
      tokens += count;
    }
  }
  MicroStep at{.update = update};
  UpdateSum sum;
  const std::array<double, 3> counts{static_cast<double>(supervised), static_cast<double>(tokens), static_cast<double>(batches.size())};
  const std::vector<double> all = communicator.gather(counts);
  supervised = 0;
  Index micros = 0, most = 0;  // of all ranks, and of the one that has most
  for (Index rank = 0; rank < communicator.size(); ++rank) {
    const double* const of_rank = all.data() + 3 * rank;
    supervised += static_cast<Index>(of_rank[0]);
    sum.tokens += static_cast<Index>(of_rank[1]);
    micros += static_cast<Index>(of_rank[2]);
    most = std::max(most, static_cast<Index>(of_rank[2]));
    if (rank < communicator.rank()) at.micro = micros;
  }
  require<DataError>(supervised > 0, "{}: no token of update {} is supervised (all labels are ignored)", recipe.stage,
                     update + 1);
  at.scale = 1.0 / static_cast<double>(supervised);
  std::vector<double> losses;
  for (const auto& batch : batches) {
    at.seed = Rng(recipe.seed, static_cast<std::uint64_t>(update)).bits_at(static_cast<std::uint64_t>(at.micro));
    const double loss = task.step(batch, std::as_const(at));
    require<NumericError>(std::isfinite(loss), "the loss is {} in micro-batch {} of {}", loss, at.micro + 1, micros);
    losses.push_back(loss);
    ++at.micro;
  }
  if constexpr (requires { task.idle(); }) {
    for (Index i = static_cast<Index>(batches.size()); i < most; ++i) task.idle();
  }
  for (const double loss : communicator.gather(losses)) sum.loss += loss;
  return sum;
}

/// train(), on one rank.
template <Backend B, TrainingData Data, class T, Schedule S>
TrainingResult train_on_rank(Communicator& communicator, const B& backend, const Parameters<B>& parameters, const Data& data, T& task,
                             const Recipe<S>& recipe, const ProgressCallback& progress) {
  constexpr bool can_evaluate = requires { task.evaluate(); };
  check_recipe(recipe);
  require<ConfigError>(!parameters.empty(), "Recipe '{}': there are no parameters to train", recipe.stage);
  require<ConfigError>(can_evaluate || recipe.evaluate_every == 0,
                       "Recipe '{}': evaluate_every is {}, but the task has no evaluate()", recipe.stage,
                       recipe.evaluate_every);

  BatchOrder order(static_cast<Index>(data.size()), recipe.batch, recipe.seed, recipe.shuffle);
  require<ConfigError>(static_cast<Index>(data.size()) >= communicator.size(),
                       "Recipe '{}': the data has {} rows, expected at least {}, one for every rank", recipe.stage,
                       data.size(), communicator.size());
  const Index total = planned_updates(recipe, static_cast<Index>(data.size()));

  AdamW<B> optimizer(backend, parameters, recipe.optimizer);
  typename S::State schedule(recipe.schedule, recipe.learning_rate, total);
  EarlyStopping<B> stopping(backend, parameters, recipe.patience);
  TrainingResult result;
  const bool keeps = !recipe.checkpoint.empty(), saves = keeps && communicator.leads();
  RunIdentity facts{{"rows", fmt::format("{}", data.size())}, {"backend", std::string(B::name())}};
  if (is_identified(recipe)) facts[starting_parameters] = fingerprint_of(backend, parameters);
  const RunIdentity identity = run_identity(recipe, total, facts);
  check_same_on_all_ranks(communicator, recipe.stage, identity_of_rank(recipe, total, identity));
  if (keeps && communicator.maximum(saves && std::filesystem::exists(recipe.checkpoint)) > 0) {
    load_training_state(recipe.checkpoint, identity, backend, optimizer, schedule, stopping, result.history);
    check_same_on_all_ranks(communicator, recipe.stage, {{"resumed update", fmt::format("{}", optimizer.steps())}});
  }

  const Index start = optimizer.steps();
  const double seconds_before = result.history.empty() ? 0 : result.history.back().seconds;
  const Stopwatch clock;
  const auto evaluate = [&](Index updates) -> double {
    try {
      if constexpr (can_evaluate) return static_cast<double>(task.evaluate());
    } catch (const NumericError& error) {
      const std::string when = updates > 0 ? fmt::format("after update {}", updates) : "before the first update";
      fail<NumericError>("{}: evaluation {}: {}", recipe.stage, when, error.what());
    }
    return 0;
  };
  Index saved = start;
  Stopwatch since_save;
  const auto save = [&] {
    save_training_state(recipe.checkpoint, identity, backend, optimizer, schedule, stopping, result.history);
    saved = optimizer.steps();
    since_save = {};
  };
  const auto save_is_due = [&](Index update) {
    return (recipe.checkpoint_every > 0 && update % recipe.checkpoint_every == 0) ||
           (recipe.checkpoint_minutes > 0 && since_save.seconds() >= 60 * recipe.checkpoint_minutes);
  };
  // Whether the run ends behind this point with an evaluation that is still to come.
  const auto ends_unevaluated = [&](const TrainingPoint& point) {
    return recipe.evaluate_every > 0 && !point.validation && point.update == total;
  };
  const auto log = [&](std::span<const TrainingPoint> points) {
    if (recipe.log && communicator.leads()) recipe.log(recipe.stage, points);
  };
  {
    std::span<const TrainingPoint> before(result.history);
    if (!before.empty() && ends_unevaluated(before.back())) before = before.first(before.size() - 1);
    log(before);
  }
  if (start == 0 && recipe.evaluate_every > 0 && recipe.restore_best) stopping.observe(evaluate(0), 0);

  for (Index update = start; update < total && !stopping.exhausted(); ++update) {
    const Stopwatch step_clock;
    TrainingPoint point{.update = update + 1, .learning_rate = schedule.rate(update)};
    try {
      zero_gradients(backend, parameters);
      const auto sum = accumulate_gradients(data, order.rows_of(update), task, recipe, update);
      sum_gradients(communicator, backend, parameters);
      point.loss = sum.loss;
      point.gradient_norm =
          recipe.clip > 0 ? clip_by_global_norm(backend, parameters, recipe.clip) : global_norm(backend, parameters);
      optimizer.step(point.learning_rate);
      result.tokens += sum.tokens;
      const double seconds = step_clock.seconds();
      result.training_seconds += seconds;
      if (seconds > 0) point.tokens_per_second = static_cast<double>(sum.tokens) / seconds;
    } catch (const NumericError& error) {
      fail<NumericError>("{}: update {}: {}", recipe.stage, update + 1, error.what());
    }

    if (recipe.evaluate_every > 0 && point.update % recipe.evaluate_every == 0) {
      point.validation = evaluate(point.update);
      stopping.observe(*point.validation, point.update);
      schedule.observe(*point.validation);
    }
    point.seconds = seconds_before + clock.seconds();
    result.history.push_back(point);
    const bool stop = communicator.maximum(recipe.stop && recipe.stop()) > 0;
    if (saves && (stop || save_is_due(point.update))) save();
    if (!ends_unevaluated(point)) log(std::span(&result.history.back(), 1));
    if (progress && communicator.leads()) {
      const double per_update = clock.seconds() / static_cast<double>(point.update - start);
      progress({.stage = recipe.stage,
                .update = point.update,
                .total = total,
                .loss = point.loss,
                .validation = point.validation,
                .tokens_per_second = result.tokens_per_second(),
                .seconds_remaining = per_update * static_cast<double>(total - point.update)});
    }
    if (stop) {
      throw Interrupted(fmt::format("{}: stopped after update {} of {}; {}", recipe.stage, point.update, total,
                                    keeps ? fmt::format("its state is in {}", recipe.checkpoint.string())
                                          : std::string("no state was saved, for the recipe names no checkpoint")),
                        recipe.stage, point.update);
    }
  }

  // Saved before the evaluation below, which a longer run would not have made.
  result.updates = optimizer.steps();
  result.stopped_early = result.updates < total;
  if (saves && saved < result.updates) save();
  if (recipe.evaluate_every > 0 && !result.history.empty() && !result.history.back().validation) {
    result.history.back().validation = evaluate(result.updates);
    stopping.observe(*result.history.back().validation, result.updates);
    log(std::span(&result.history.back(), 1));
  }
  result.best_validation = stopping.best();
  result.best_update = stopping.best_update();
  result.start_validation = stopping.start();
  result.ended_worse = recipe.evaluate_every > 0 && !result.history.empty() && stopping.best_update() == 0 &&
                       *result.history.back().validation > stopping.start();
  if (recipe.restore_best) stopping.restore();
  return result;
}

}  // namespace detail

/// Trains `parameters` (which must be trained) on `data` and reports how it went.
///
/// Where the recipe evaluates and restores the best, the start is evaluated too, and a run that never got better ends
/// with the parameters it began with.  One update: the rows of the next batch, in micro-batches, add their gradients; the global norm is clipped; AdamW
/// steps at the learning rate of the schedule.  What is left over at the end of an epoch forms a smaller last batch.
///
/// With a checkpoint path the state is saved there, whole or not at all, and a run that finds the file goes on from it
/// with the same bits as if it had never stopped, on the same machine.  The number of epochs and updates may differ
/// from the saved run's, unless the schedule depends on it.
///
/// The file knows what the run was made from: every field of the recipe that decides numbers, its inputs, the number of
/// rows, the backend, and a fingerprint of the parameters it started with.
///
/// With a communicator every rank takes its share of the rows of each update; gradients are summed in the order of the
/// ranks, and all have the same parameters.  What one process computes in micro-batches of these shares differs in nothing but
/// the order in which gradients are summed.  Rank 0 alone saves, logs and reports progress; all ranks read the checkpoint, which
/// another number of them may have written.
///
/// Errors: Interrupted when `stop` says so (on any rank), after the state was saved; ConfigError for an impossible recipe, for a
/// checkpoint of another recipe or model, and for ranks that differ in what such a file knows; RankError when another rank
/// fails; DataError for an update without supervised tokens; NumericError for a loss or gradient that is not finite, naming the stage, the
/// update and, for gradients, the parameter.  The parameters then are those before that update.
template <Backend B, TrainingData Data, class T, Schedule S>
requires TrainingTask<T, BatchOf<Data>> TrainingResult train(const B& backend, const Parameters<B>& parameters,
                                                             const Data& data, T&& task, const Recipe<S>& recipe,
                                                             const ProgressCallback& progress = {}) {
  Communicator& communicator = detail::communicator_of(recipe);
  return together(communicator, [&] { return detail::train_on_rank(communicator, backend, parameters, data, task, recipe, progress); });
}

}  // namespace lolcats
