// The loss of a text by position in its rows.
#pragma once

#include <lolcats/data/dataset.hpp>
#include <lolcats/eval/language_model.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace lolcats {

/// The mean loss of the tokens at positions first ... last of their rows.
struct PositionLoss {
  Index first = 0, last = 0;
  double loss = 0;  // nats per token
  Index tokens = 0;
};

/// What a model thinks of a text.
struct TextLoss {
  double loss = 0;  // nats per predicted token
  double perplexity = 0;
  Index tokens = 0;  // predicted: those with a label that are not the first of their row
  Index rows = 0;
  std::vector<PositionLoss> positions = {};
};

/// The mean loss of all labelled tokens of `data`, and by position in the row (in the document, where documents are kept
/// apart) in buckets of `bucket`.  The same as perplexity() for a LanguageModel.  Throws DataError without such tokens.
inline TextLoss text_loss(LanguageModel& model, const DataSet& data, Index bucket = 64, Index batch_tokens = 0,
                          const std::function<void(Index done, Index total)>& progress = {}) {
  require<ConfigError>(bucket > 0, "text_loss: buckets of {} positions, expected at least 1", bucket);
  const Index budget = batch_tokens > 0 ? batch_tokens : model.batch_tokens();
  TextLoss result;
  result.rows = data.size();
  for (Index begin = 0, end; begin < data.size(); begin = end) {
    Batch rows = data.batch(begin, 1);
    const auto fitting = std::max<Index>(1, budget / static_cast<Index>(rows.tokens.size()));
    end = std::min(data.size(), begin + fitting);
    if (end > begin + 1) rows = data.batch(begin, end - begin);
    ScoringBatch batch{.tokens = std::move(rows.tokens)};
    std::vector<std::size_t> buckets;
    for (const Extent& e : rows.sequences.extents()) {
      batch.lengths.push_back(e.length);
      for (Index row = e.row; row < e.row + e.length; ++row) {
        const Index label = rows.labels[static_cast<std::size_t>(row)];
        if (label == ignored_label) continue;
        batch.targets.push_back({row, label});
        buckets.push_back(static_cast<std::size_t>((row - e.row + 1) / bucket));
      }
    }
    const std::vector<TokenScore> scores = model.score(batch);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      for (auto at = static_cast<Index>(result.positions.size()); at <= static_cast<Index>(buckets[i]); ++at) {
        result.positions.push_back({at * bucket, (at + 1) * bucket - 1});
      }
      result.positions[buckets[i]].loss -= scores[i].log_likelihood;
      ++result.positions[buckets[i]].tokens;
    }
    if (progress) progress(end, data.size());
  }
  for (PositionLoss& here : result.positions) {
    result.loss += here.loss;
    result.tokens += here.tokens;
    if (here.tokens > 0) here.loss /= static_cast<double>(here.tokens);
  }
  require<DataError>(result.tokens > 0, "text_loss: no token of the data is supervised");
  result.loss /= static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.loss);
  return result;
}

}  // namespace lolcats
