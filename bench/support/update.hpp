// What the benchmarks of training steps share: their stages, random rows, and the time of whole updates.
#pragma once

#include "flops.hpp"
#include "measure.hpp"

#include <lolcats/lolcats.hpp>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace bench {

inline const std::map<std::string, Stage> stages{
    {"transfer", Stage::transfer}, {"finetune", Stage::finetune}, {"pretrain", Stage::pretrain}};

/// Rows of `length` random tokens, every one of them a label.
inline lolcats::DataSet random_rows(Index count, Index length, Index vocabulary) {
  lolcats::Rng rng(1);
  std::vector<lolcats::Row> rows(static_cast<std::size_t>(count));
  for (auto& row : rows) {
    row.tokens.resize(static_cast<std::size_t>(length));
    for (Index& token : row.tokens) token = static_cast<Index>(rng.below(static_cast<std::uint64_t>(vocabulary)));
    row.labels = row.tokens;
    row.starts = {0};
  }
  return lolcats::DataSet(std::move(rows));
}

/// How many updates are run: `warmup`, then `repeats` that are timed, then `behind` more; together with other ranks, if any.
struct Updates {
  Index warmup = 2, repeats = 20, behind = 0;
  bool recompute = false;
  lolcats::Communicator* communicator = nullptr;
};

struct UpdateTimes {
  Samples samples;
  std::size_t peak_bytes = 0;  // of the tape
};

/// Times updates of the training loop over all rows of `data` at once: collecting the batch, forward, backward, clipping,
/// AdamW.  On ranks other than 0 there are no samples.  settled(update) is called behind each, before the clock is read.  Empty where the stage has nothing to train.
template <class Model, class Settled>
std::optional<UpdateTimes> time_updates(Model& model, Stage stage, const lolcats::DataSet& data, const Updates& updates,
                                        Settled&& settled) {
  using B = typename Model::Device;
  UpdateTimes times;
  const auto run = [&](const lolcats::Parameters<B>& parameters, const auto& rows, auto&& task) {
    lolcats::Recipe<lolcats::Constant> recipe;
    recipe.max_updates = updates.warmup + updates.repeats + updates.behind;
    recipe.batch = rows.size();
    recipe.learning_rate = 1e-4;
    recipe.clip = 1.0;
    recipe.restore_best = false;
    recipe.communicator = updates.communicator;
    Instant last = Instant::now();
    lolcats::train(B{}, parameters, rows, task, recipe, [&](const lolcats::Progress& at) {
      settled(at.update);
      const Instant now = Instant::now();
      if (at.update > updates.warmup && at.update <= updates.warmup + updates.repeats) times.samples.add(now - last);
      last = now;
    });
    times.peak_bytes = task.peak_bytes();
  };
  const lolcats::DataSet none;
  if (stage == Stage::transfer) {
    if constexpr (lolcats::has_maps<typename Model::Attention>) {
      const lolcats::TrainedScope<Model> trained(model, model.transfer_parameters(), "transfer");
      run(trained.parameters(), lolcats::detail::TransferData<lolcats::DataSet>{data},
          lolcats::detail::TransferTask<Model, lolcats::DataSet>(
              model, none, {.first = 0, .last = model.layer_count(), .rows = data.size()}, {}));
      return times;
    } else {
      return {};  // softmax has nothing to transfer
    }
  }
  const bool adapter = stage == Stage::finetune;
  model.use_adapters(adapter);
  const lolcats::TrainedScope<Model> trained(model, adapter ? model.adapter_parameters() : model.base_parameters(),
                                             adapter ? "finetune" : "pretrain");
  run(trained.parameters(), data,
      lolcats::NextTokenTask<Model, lolcats::DataSet>(model, none, data.size(), updates.recompute));
  return times;
}

}  // namespace bench
