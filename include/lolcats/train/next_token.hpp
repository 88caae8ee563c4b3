// The next-token loss as a training task: what finetuning and pretraining have in common.
#pragma once

#include <lolcats/data/batch.hpp>
#include <lolcats/model/any_llama.hpp>
#include <lolcats/tape/tape.hpp>
#include <lolcats/train/data_parallel.hpp>
#include <lolcats/train/loop.hpp>
#include <lolcats/train/run_inputs.hpp>
#include <lolcats/train/trained_scope.hpp>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

namespace detail {

/// The recipe of the loop from a recipe of a stage: all fields that both have, and as inputs those others that decide
/// numbers.
template <class StageRecipe>
auto loop_recipe(const StageRecipe& from, std::string stage) {
  check_fields(stage, from);
  Recipe<decltype(from.schedule)> to;
  copy_fields(from, to);
  to.stage = std::move(stage);
  std::set<std::string_view> shared;
  visit_fields([&](std::string_view name, auto, const auto&) { shared.insert(name); }, to);
  describe_fields(from, from.max_updates, [&](std::string_view name, std::string text) {
    if (!shared.contains(name)) to.inputs[std::string(name)] = std::move(text);
  });
  return to;
}

/// Where a model's layers differ in their attention, which has which; as part of an identity.
template <class Model>
std::string places_of(const Model& model) {
  const std::vector<Index> places = model.attention_of_layer();
  return places.empty() ? "" : fmt::format(", layers {}", fmt::join(places, " "));
}

/// A stage that evaluates needs rows to evaluate on.
template <class StageRecipe>
void check_validation(const char* stage, const StageRecipe& recipe, Index rows) {
  require<ConfigError>(
      recipe.evaluate_every == 0 || rows > 0,
      "{}: evaluate_every is {}, but the validation data has no rows; expected some, or evaluate_every 0", stage,
      recipe.evaluate_every);
}

}  // namespace detail

/// The loss of a batch is the sum of -log p(label) over its supervised tokens; the loop makes it a mean.
template <class Model, TrainingData Validation>
class NextTokenTask {
 public:
  using B = typename Model::Device;

  /// `rows` sequences per forward pass of an evaluation, which the ranks of `communicator`, if any, share.  Model, data and
  /// communicator must outlive the task.
  NextTokenTask(Model& model, const Validation& validation, Index rows, bool recompute, Communicator* communicator = nullptr)
      : model_(model), recompute_(recompute), tape_(model.backend()), validation_(validation), rows_(rows), communicator_(communicator) {}

  double step(const Batch& batch, const MicroStep& at) {
    return step_on(batch, at, [&] { return model_.loss(tape_, batch, at.scale, recompute_); });
  }
  Index supervised(const Batch& batch) const { return batch.supervised(); }
  Index tokens(const Batch& batch) const { return static_cast<Index>(batch.tokens.size()); }
  /// A step of other ranks.
  void idle() {
    load_forwards();
    for (Index layer = model_.layer_count(); layer-- > 0;) model_.layer(layer).load();
  }

  /// The mean loss per supervised token of the validation data, in nats.
  double evaluate() {
    tape_.training = false;
    const typename Tape<B>::NoGradient quiet(tape_);
    const auto sums = detail::sum_over_row_groups(
        detail::or_alone(communicator_), static_cast<Index>(validation_.size()), rows_, 2, [&](std::span<const Index> rows, std::span<double> found) {
        const Batch batch = validation_.batch(rows);
        const typename Tape<B>::Scope scope(tape_);
        const double loss = item(tape_, model_.loss(tape_, batch, 1.0));
        if (!std::isfinite(loss)) explain(batch, loss);
        found[0] = loss;
        found[1] = static_cast<double>(batch.supervised());
      }, [&] { load_forwards(); });
    require<DataError>(sums[1] > 0, "the validation data has no supervised token");
    return sums[0] / sums[1];
  }

  /// Most bytes of activations that were alive at once.
  std::size_t peak_bytes() const { return tape_.peak_bytes(); }

 protected:
  /// What a forward pass loads, see LayerLoader.
  void load_forwards() {
    for (Index layer = 0; layer < model_.layer_count(); ++layer) model_.layer(layer).load();
  }

  /// A step on the loss that compute() puts on the tape.
  template <class F>
  double step_on(const Batch& batch, const MicroStep& at, F&& compute) {
    tape_.training = true;
    tape_.seed = at.seed;
    tape_.update = at.update;
    const typename Tape<B>::Scope scope(tape_);
    const Loss<B> loss = compute();
    tape_.backward(loss);  // first, so that the backend is not left idle until the host has the loss
    const double value = item(tape_, loss);
    if (!std::isfinite(value)) explain(batch, value);
    return value;
  }

  /// Throws NumericError naming the first layer whose output is not finite, where this rank can run the model by itself.
  [[noreturn]] void explain(const Batch& batch, double loss) {
    require<NumericError>(!model_.layer_loader(), "the loss is {}; in which layer is not found out, for that takes all ranks", loss);
    const typename Tape<B>::NoGradient quiet(tape_);
    const typename Tape<B>::Scope scope(tape_);
    std::vector<double> host;
    const auto finite = [&](Var<B> x) {
      host.resize(static_cast<std::size_t>(x.shape().size()));
      tape_.backend().to_host(x.value().data, host.data(), x.shape().size());
      return std::all_of(host.begin(), host.end(), [](double value) { return std::isfinite(value); });
    };
    Var<B> x = model_.embed(tape_, batch.tokens);
    require<NumericError>(finite(x), "the loss is {}: the embedding of the tokens is not finite", loss);
    for (Index layer = 0; layer < model_.layer_count(); ++layer) {
      x = model_.layer(layer).forward(tape_, x, batch.sequences, model_.rope(batch.sequences));
      require<NumericError>(finite(x), "the loss is {}: the output of layer {} is not finite", loss, layer);
    }
    fail<NumericError>("the loss is {}: the final norm or the head is not finite", loss);
  }

  Model& model_;
  bool recompute_;
  Tape<B> tape_;

 private:
  const Validation& validation_;
  Index rows_;
  Communicator* communicator_;
};

}  // namespace lolcats
