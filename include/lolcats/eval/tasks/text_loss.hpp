// The loss of a text by position: rows of tokens, packed.
#pragma once

#include <lolcats/eval/language_model.hpp>

#include <cmath>
#include <functional>
#include <span>
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
  Index tokens = 0;  // predicted: all of a row but its first
  Index rows = 0;
  std::vector<PositionLoss> positions;
};

/// Reads the rows of `length` tokens of which `text` consists; a tail that does not fill a row is left out.  Positions
/// are reported in buckets of `bucket`.  Throws DataError for a text that does not fill a row.
inline TextLoss text_loss(LanguageModel& model, std::span<const Index> text, Index length, Index bucket = 64,
                          Index batch_tokens = 0, const std::function<void(Index done, Index total)>& progress = {}) {
  require<ConfigError>(length > 1 && bucket > 0,
                       "text_loss: rows of {} tokens and buckets of {}, expected at least 2 and 1", length, bucket);
  const Index rows = static_cast<Index>(text.size()) / length;
  require<DataError>(rows > 0, "text_loss: the text holds {} tokens, expected at least a row of {}", text.size(),
                     length);
  TextLoss result;
  result.rows = rows;
  for (Index first = 0; first < length; first += bucket)
    result.positions.push_back({first, std::min(first + bucket, length) - 1});
  const Index at_once = std::max<Index>(1, (batch_tokens > 0 ? batch_tokens : model.batch_tokens()) / length);
  for (Index begin = 0; begin < rows; begin += at_once) {
    const Index count = std::min(at_once, rows - begin);
    const auto part = text.subspan(static_cast<std::size_t>(begin * length), static_cast<std::size_t>(count * length));
    ScoringBatch batch{.tokens = {part.begin(), part.end()},
                       .lengths = std::vector<Index>(static_cast<std::size_t>(count), length)};
    for (Index row = 0; row < count * length; ++row) {
      if ((row + 1) % length != 0) batch.targets.push_back({row, part[static_cast<std::size_t>(row) + 1]});
    }
    const std::vector<TokenScore> scores = model.score(batch);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const Index position = batch.targets[i].row % length + 1;  // of the predicted token
      PositionLoss& here = result.positions[static_cast<std::size_t>(position / bucket)];
      here.loss -= scores[i].log_likelihood;
      ++here.tokens;
    }
    if (progress) progress(begin + count, rows);
  }
  for (PositionLoss& here : result.positions) {
    result.loss += here.loss;
    result.tokens += here.tokens;
    if (here.tokens > 0) here.loss /= static_cast<double>(here.tokens);
  }
  result.loss /= static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.loss);
  return result;
}

}  // namespace lolcats
