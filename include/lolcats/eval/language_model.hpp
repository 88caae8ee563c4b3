// A language model as evaluation sees it: log-likelihoods of tokens.  Tasks and scoring compile once for all models.
#pragma once

#include <lolcats/generate/state.hpp>
#include <lolcats/io/llama_config.hpp>
#include <lolcats/ops/arg_max/arg_max.hpp>
#include <lolcats/ops/cross_entropy/cross_entropy.hpp>
#include <lolcats/ops/embedding/embedding.hpp>
#include <lolcats/ops/linear/linear.hpp>
#include <lolcats/ops/rope/table.hpp>
#include <lolcats/tape/tape.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace lolcats {

/// A token that may follow what ends in a row.
struct NextToken {
  Index row = 0;
  Index token = 0;
};

/// Sequences to be read in one forward pass, and what is asked about them.
struct ScoringBatch {
  std::vector<Index> tokens = {};    // M rows
  std::vector<Index> lengths = {};   // of the sequences, which lie one behind the other; they sum to M
  std::vector<Index> contexts = {};  // what each sequence goes on behind, as numbered by read_contexts; empty: nothing
  std::vector<NextToken> targets = {};  // any number per row, in any order
  bool greedy = false;                  // is TokenScore::greedy wanted?  It costs logits.
};

/// What a model says of a token.
struct TokenScore {
  double log_likelihood = 0;  // in nats
  bool greedy = false;        // is it the most likely one?  False unless asked for.
};

/// What tasks need of a model.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  virtual std::string name() const = 0;
  virtual const LlamaConfig& config() const = 0;

  /// The scores of the targets.  Errors: DataError for tokens outside of the vocabulary, NumericError for a
  /// log-likelihood that is not finite.
  virtual std::vector<TokenScore> score(const ScoringBatch& batch) = 0;
  /// The same, and sequence i of the batch becomes context i; earlier contexts are forgotten.
  virtual std::vector<TokenScore> read_contexts(const ScoringBatch& batch) = 0;

  /// Tokens of a forward pass that make good use of the device.
  virtual Index batch_tokens() const = 0;
  /// How many tokens a shared context should have for copying its state to be cheaper than reading it again.
  virtual Index shared_from() const = 0;

 protected:
  LanguageModel() = default;
  LanguageModel(const LanguageModel&) = default;
  LanguageModel& operator=(const LanguageModel&) = default;
};

/// Any model type as a LanguageModel.  The model must outlive it and stay where it is.
///
/// Layers are run one by one, each in memory that the next one takes over, so that a batch costs the activations of one
/// layer.
template <class Model>
class LanguageModelOf final : public LanguageModel {
 public:
  using B = typename Model::Device;

  explicit LanguageModelOf(Model& model) : model_(model), tape_(model.backend()) {}

  std::string name() const override { return Model::name(); }
  const LlamaConfig& config() const override { return model_.config(); }

  std::vector<TokenScore> score(const ScoringBatch& batch) override {
    const typename Tape<B>::NoGradient quiet(tape_);
    const typename Tape<B>::Scope scope(tape_);
    if (batch.contexts.empty()) {
      const Sequences sequences = divide(batch, {});
      return targets(batch, run(batch, sequences, nullptr));
    }
    require<ShapeError>(contexts_.has_value() && batch.contexts.size() == batch.lengths.size(),
                        "LanguageModel::score: {} contexts for {} sequences, expected one each, and read before",
                        batch.contexts.size(), batch.lengths.size());
    ModelState<B> state = contexts_->clone(tape_.backend(), batch.contexts);
    const Sequences sequences = divide(batch, [&](Index n) { return state.length(n); });
    return targets(batch, run(batch, sequences, &state));
  }

  std::vector<TokenScore> read_contexts(const ScoringBatch& batch) override {
    require<ShapeError>(batch.contexts.empty(), "LanguageModel::read_contexts: contexts of contexts are not kept");
    const typename Tape<B>::NoGradient quiet(tape_);
    const typename Tape<B>::Scope scope(tape_);
    contexts_.reset();
    const Sequences sequences = divide(batch, {});
    contexts_.emplace(model_.layer_count(), sequences.count());
    return targets(batch, run(batch, sequences, &*contexts_));
  }

  Index batch_tokens() const override { return in_host_memory<B> ? 2048 : 16384; }
  /// A state is copied in some hundred small pieces, which is little for a CPU and much for a GPU.
  Index shared_from() const override { return in_host_memory<B> ? 8 : 1024; }

 private:
  static Sequences divide(const ScoringBatch& batch, const std::function<Index(Index)>& position) {
    std::vector<Extent> extents;
    Index row = 0;
    for (const Index length : batch.lengths) {
      extents.push_back({row, length, position ? position(static_cast<Index>(extents.size())) : 0});
      row += length;
    }
    require<ShapeError>(row == static_cast<Index>(batch.tokens.size()),
                        "LanguageModel: the lengths of the sequences sum to {}, expected {}, the tokens", row,
                        batch.tokens.size());
    return Sequences(row, std::move(extents));
  }

  /// (M, C) after the final norm; with a state the sequences go on behind what it has read, and it moves on.
  Var<B> run(const ScoringBatch& batch, const Sequences& sequences, ModelState<B>* state) {
    const RopeTable<B>& rope = model_.rope(sequences);
    const Var<B> embedded = model_.embed(tape_, batch.tokens);
    const View<Scalar<B>> stream = tape_.template scratch<Scalar<B>>(embedded.shape());
    tape_.backend().copy(embedded.value().data, stream.data, stream.size());
    for (Index i = 0; i < model_.layer_count(); ++i) {
      const typename Tape<B>::Scope inner(tape_);
      const Var<B> x = tape_.constant(stream);
      const Var<B> y = state ? model_.layer(i).step(tape_, x, sequences, rope, state->layer(i))
                             : model_.layer(i).forward(tape_, x, sequences, rope);
      tape_.backend().copy(y.value().data, stream.data, stream.size());
    }
    return model_.normalize(tape_, tape_.constant(stream));
  }

  std::vector<TokenScore> targets(const ScoringBatch& batch, Var<B> hidden) {
    const std::size_t count = batch.targets.size();
    std::vector<TokenScore> scores(count);
    if (count == 0) return scores;
    std::vector<Index> rows, labels;
    for (const NextToken& target : batch.targets) {
      rows.push_back(target.row);
      labels.push_back(target.token);
    }
    const Weight<B> table{hidden.value(), {}};
    const Var<B> asked = embedding(tape_, rows, table);  // (targets, C): rows of `hidden`
    const View<Real<B>> losses = token_losses(tape_, asked.value(), model_.head().value, labels);
    std::vector<double> host(count);
    tape_.backend().to_host(losses.data, host.data(), losses.size());
    std::vector<std::size_t> doubtful;
    for (std::size_t i = 0; i < count; ++i) {
      require<NumericError>(std::isfinite(host[i]), "LanguageModel: the log-likelihood of token {} behind row {} is {}",
                            labels[i], rows[i], -host[i]);
      scores[i].log_likelihood = -host[i];
      if (!batch.greedy) continue;
      if (host[i] < std::numbers::ln2)
        scores[i].greedy = true;  // more likely than all others together
      else
        doubtful.push_back(i);
    }
    constexpr std::size_t tile = 256;
    for (std::size_t first = 0; first < doubtful.size(); first += tile) {
      const typename Tape<B>::Scope inner(tape_);
      const std::size_t end = std::min(first + tile, doubtful.size());
      std::vector<Index> some;
      for (std::size_t i = first; i < end; ++i) some.push_back(rows[doubtful[i]]);
      const auto best = arg_max(tape_, linear(tape_, embedding(tape_, some, table), model_.head()));
      for (std::size_t i = first; i < end; ++i) {
        scores[doubtful[i]].greedy = best[i - first] == labels[doubtful[i]];
      }
    }
    return scores;
  }

  Model& model_;
  Tape<B> tape_;
  std::optional<ModelState<B>> contexts_;
};

}  // namespace lolcats
