// Stage 2, low-rank adjusting: adapters learn the next token with the new attention in place.
#pragma once

#include <lolcats/train/distillation.hpp>

namespace lolcats {

/// How to finetune; the defaults are the paper's (arXiv:2410.10254, Table 8).  Fields as in Recipe.
template <Schedule S = ReduceOnPlateau>
struct FinetuneRecipe {
  Index epochs = 2;
  Index max_updates = 0;
  Index batch = 8;
  Index micro_batch = 0;
  bool shuffle = true;
  std::uint64_t seed = 0;
  double learning_rate = 1e-4;
  S schedule = {};
  AdamWOptions optimizer = {};
  double clip = 1.0;
  Index evaluate_every = 100;
  Index patience = 0;
  bool restore_best = true;
  std::filesystem::path checkpoint = {};
  Index checkpoint_every = 0;
  double checkpoint_minutes = 0;
  std::function<bool()> stop = {};
  TrainingLog log = {};
  std::string identity = {};
  RunIdentity inputs = {};
  Communicator* communicator = nullptr;

  /// Trains feature maps and gamma beside the adapters: the paper's baseline without attention transfer.
  bool train_maps = false;
  /// If positive, maps and gamma are trained at this rate instead, along the same schedule.
  double maps_learning_rate = 0;
  /// Targets from the teacher beside those of the text.
  Distillation distillation = {};
  /// Runs every layer's forward pass again in the backward pass and keeps only what lies between layers.
  bool recompute = false;
};

/// Trains the adapters of `model` (Llama with an adapter and any attention; softmax is the control) on the next token,
/// averaged per supervised token, and on the teacher's predictions where the recipe says so.  The base is frozen, and so are
/// feature maps and gamma unless `train_maps` or `maps_learning_rate`.
///
/// Data sets are TrainingData whose batches are Batch.  All parameters are frozen afterwards.  Errors: those of
/// `train`; ConfigError if there is nothing to train or nothing to evaluate on.
template <class Model, TrainingData Train, TrainingData Validation, Schedule S = ReduceOnPlateau>
TrainingResult finetune(Model& model, const Train& data, const Validation& validation,
                        const FinetuneRecipe<S>& recipe = {}, const ProgressCallback& progress = {}) {
  detail::check_validation("finetune", recipe, static_cast<Index>(validation.size()));
  auto parameters = model.adapter_parameters();
  std::vector<double> rates;
  const double maps_rate = recipe.maps_learning_rate;
  require<ConfigError>(maps_rate == 0 || (maps_rate > 0 && recipe.learning_rate > 0),
                       "finetune: maps_learning_rate is {}, expected 0 or, beside a positive learning_rate, a positive number", maps_rate);
  if (recipe.train_maps || maps_rate > 0) {
    if (maps_rate > 0) rates.assign(parameters.size(), 1.0);
    for (const auto& p : model.transfer_parameters()) parameters.push_back(p);
    if (maps_rate > 0) rates.resize(parameters.size(), maps_rate / recipe.learning_rate);
  }
  model.use_adapters(true);
  const TrainedScope<Model> trained(model, std::move(parameters), "finetune");
  DistillationTask<Model, Validation> task(model, validation, recipe.micro_batch > 0 ? recipe.micro_batch : recipe.batch,
                                         recipe.recompute, recipe.distillation, &detail::communicator_of(recipe));
  auto loop = detail::loop_recipe(recipe, "finetune");
  loop.optimizer.rates = std::move(rates);
  loop.inputs["model"] = model.name() + detail::places_of(model);
  if (detail::is_identified(loop)) {
    detail::add_model(loop.inputs, model);
    detail::add_input(loop.inputs, "maps", [&] { return fingerprint_of(model.backend(), model.attention_parameters()); });
    detail::add_data(loop.inputs, data, validation);
  }
  return train(model.backend(), trained.parameters(), data, task, loop, progress);
}
/// Any Llama, by code that is compiled once for all.
template <LlamaModel Model, TrainingData Train, TrainingData Validation, Schedule S = ReduceOnPlateau>
TrainingResult finetune(Model& model, const Train& data, const Validation& validation,
                        const FinetuneRecipe<S>& recipe = {}, const ProgressCallback& progress = {}) {
  AnyLlamaOf<Model> any(model);
  return finetune<AnyLlama<typename Model::Device>>(any, data, validation, recipe, progress);
}

}  // namespace lolcats
