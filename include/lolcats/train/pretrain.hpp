// Pretraining: all base parameters of a model learn the next token.
#pragma once

#include <lolcats/train/next_token.hpp>

namespace lolcats {

/// How to pretrain a small model from scratch.  Fields as in Recipe.
template <Schedule S = Cosine>
struct PretrainRecipe {
  Index epochs = 1;
  Index max_updates = 0;
  Index batch = 16;
  Index micro_batch = 0;
  bool shuffle = true;
  std::uint64_t seed = 0;
  double learning_rate = 1e-3;
  S schedule = {};
  AdamWOptions optimizer = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1};
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

  /// Runs every layer's forward pass again in the backward pass and keeps only what lies between layers.
  bool recompute = false;
};

/// Trains all base parameters of `model` (as a rule a softmax Llama) on the next token, averaged per supervised token.
///
/// Data sets are TrainingData whose batches are Batch.  All parameters are frozen afterwards.  Errors: those of
/// `train`; ConfigError if there is nothing to evaluate on, and for a base that is not whole.
template <class Model, TrainingData Train, TrainingData Validation, Schedule S = Cosine>
TrainingResult pretrain(Model& model, const Train& data, const Validation& validation,
                        const PretrainRecipe<S>& recipe = {}, const ProgressCallback& progress = {}) {
  detail::check_validation("pretrain", recipe, static_cast<Index>(validation.size()));
  model.require_whole_base("pretrain");
  const TrainedScope<Model> trained(model, model.base_parameters(), "pretrain");
  NextTokenTask<Model, Validation> task(model, validation, recipe.micro_batch > 0 ? recipe.micro_batch : recipe.batch,
                                        recipe.recompute, &detail::communicator_of(recipe));
  auto loop = detail::loop_recipe(recipe, "pretrain");
  loop.inputs["model"] = model.name();
  if (detail::is_identified(loop)) {
    detail::add_config(loop.inputs, model.config());
    detail::add_data(loop.inputs, data, validation);
  }
  return train(model.backend(), trained.parameters(), data, task, loop, progress);
}
/// Any Llama, by code that is compiled once for all.
template <LlamaModel Model, TrainingData Train, TrainingData Validation, Schedule S = Cosine>
TrainingResult pretrain(Model& model, const Train& data, const Validation& validation,
                        const PretrainRecipe<S>& recipe = {}, const ProgressCallback& progress = {}) {
  AnyLlamaOf<Model> any(model);
  return pretrain<AnyLlama<typename Model::Device>>(any, data, validation, recipe, progress);
}

}  // namespace lolcats
