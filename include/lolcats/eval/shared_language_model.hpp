// A language model on several ranks: every rank reads its share of a batch, and all get the scores of the whole.
#pragma once

#include <lolcats/distributed/communicator.hpp>
#include <lolcats/eval/language_model.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace lolcats {

/// Ranks that hold the same model, as one model.  All of them make the same calls with the same batches, as they do when each
/// runs the whole of an evaluation: tasks, perplexities and recall are shared out without knowing of it.
///
/// The sequences of a batch go to the ranks in their order, about as many tokens to each; what goes on behind a context is read
/// where the context is.  All ranks get the same bits, which are those of one process but for what the batch that a sequence is
/// read in changes in a matrix product.  A rank without a sequence reads the first one for nothing, so that every call is one forward
/// pass on each of them.  Model and communicator must outlive it.
///
/// Errors: those of the model on its rank, RankError on the others (call it within together()).
class SharedLanguageModel final : public LanguageModel {
 public:
  SharedLanguageModel(LanguageModel& model, Communicator& communicator) : model_(model), communicator_(communicator) {}

  std::string name() const override { return model_.name(); }
  const LlamaConfig& config() const override { return model_.config(); }

  std::vector<TokenScore> score(const ScoringBatch& batch) override {
    std::vector<Index> ranks;
    for (const Index context : batch.contexts) {
      require<ShapeError>(context >= 0 && context < static_cast<Index>(places_.size()),
                          "SharedLanguageModel::score: context {} of {} that were read", context, places_.size());
      ranks.push_back(places_[static_cast<std::size_t>(context)].rank);
    }
    return run(batch, ranks.empty() ? shares(batch.lengths) : ranks, false);
  }

  std::vector<TokenScore> read_contexts(const ScoringBatch& batch) override {
    const std::vector<Index> ranks = shares(batch.lengths);
    std::vector<Index> counts(static_cast<std::size_t>(communicator_.size()));
    places_.clear();
    for (const Index rank : ranks) places_.push_back({rank, counts[static_cast<std::size_t>(rank)]++});
    return run(batch, ranks, true);
  }

  Index batch_tokens() const override { return communicator_.size() * model_.batch_tokens(); }
  Index shared_from() const override { return model_.shared_from(); }

 private:
  /// Where a context is: the rank, and its number there.
  struct Place {
    Index rank = 0, number = 0;
  };

  /// The rank of each sequence: that in whose share of the tokens its middle lies.
  std::vector<Index> shares(std::span<const Index> lengths) const {
    Index total = 0, before = 0;
    for (const Index length : lengths) total += length;
    std::vector<Index> ranks;
    for (const Index length : lengths) {
      ranks.push_back((2 * before + length) * communicator_.size() / (2 * total + 1));
      before += length;
    }
    return ranks;
  }

  std::vector<TokenScore> run(const ScoringBatch& batch, std::span<const Index> ranks, bool keep) {
    const ScoringBatch own = part(batch, ranks);
    std::vector<double> found;  // two numbers of each target
    for (const TokenScore& score : keep ? model_.read_contexts(own) : model_.score(own)) {
      found.insert(found.end(), {score.log_likelihood, score.greedy ? 1.0 : 0.0});
    }
    const std::vector<double> all = communicator_.gather(std::span<const double>(found));
    // A rank's numbers lie one behind the other, in the order of its targets in the batch.
    const std::vector<Index> owners = owners_of_targets(batch, ranks);
    std::vector<std::size_t> next(static_cast<std::size_t>(communicator_.size()));
    for (const Index owner : owners) next[static_cast<std::size_t>(owner)] += 2;
    std::size_t begin = 0;
    for (std::size_t& at : next) begin += std::exchange(at, begin);
    std::vector<TokenScore> scores;
    for (const Index owner : owners) {
      std::size_t& at = next[static_cast<std::size_t>(owner)];
      scores.push_back({all[at], all[at + 1] != 0});
      at += 2;
    }
    return scores;
  }

  /// The sequences of this rank; without one, the first of all, which nothing is asked about.
  ScoringBatch part(const ScoringBatch& batch, std::span<const Index> ranks) const {
    ScoringBatch own;
    own.greedy = batch.greedy;
    std::vector<Index> moved(batch.tokens.size(), -1);  // the row here of a row of the batch
    Index row = 0;
    for (std::size_t i = 0; i < batch.lengths.size(); row += batch.lengths[i++]) {
      if (ranks[i] != communicator_.rank()) continue;
      for (Index j = row; j < row + batch.lengths[i]; ++j) {
        moved[static_cast<std::size_t>(j)] = static_cast<Index>(own.tokens.size());
        own.tokens.push_back(batch.tokens[static_cast<std::size_t>(j)]);
      }
      own.lengths.push_back(batch.lengths[i]);
      if (!batch.contexts.empty()) own.contexts.push_back(places_[static_cast<std::size_t>(batch.contexts[i])].number);
    }
    for (const NextToken& target : batch.targets) {
      if (const Index here = moved[static_cast<std::size_t>(target.row)]; here >= 0) own.targets.push_back({here, target.token});
    }
    if (own.lengths.empty() && !batch.lengths.empty()) {
      own.lengths = {batch.lengths.front()};
      own.tokens.assign(batch.tokens.begin(), batch.tokens.begin() + batch.lengths.front());
    }
    return own;
  }

  static std::vector<Index> owners_of_targets(const ScoringBatch& batch, std::span<const Index> ranks) {
    std::vector<Index> of_row;
    for (std::size_t i = 0; i < batch.lengths.size(); ++i) of_row.insert(of_row.end(), static_cast<std::size_t>(batch.lengths[i]), ranks[i]);
    std::vector<Index> owners;
    for (const NextToken& target : batch.targets) owners.push_back(of_row[static_cast<std::size_t>(target.row)]);
    return owners;
  }

  LanguageModel& model_;
  Communicator& communicator_;
  std::vector<Place> places_;
};

}  // namespace lolcats
