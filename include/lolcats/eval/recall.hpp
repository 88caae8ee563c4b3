// How often a model recalls what it has read, by distance.
#pragma once

#include <lolcats/data/synthetic.hpp>
#include <lolcats/eval/language_model.hpp>

#include <algorithm>
#include <concepts>
#include <functional>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace lolcats {

/// Recalls at distances first ... last, in tokens.
struct RecallBin {
  Index first = 0;
  Index last = 0;
  Index correct = 0;
  Index total = 0;

  double accuracy() const { return total > 0 ? static_cast<double>(correct) / static_cast<double>(total) : 0; }
};

/// Recall by distance.
struct Recall {
  std::vector<RecallBin> bins;

  Index total() const {
    Index n = 0;
    for (const RecallBin& bin : bins) n += bin.total;
    return n;
  }
  double accuracy() const {
    Index correct = 0;
    for (const RecallBin& bin : bins) correct += bin.correct;
    return total() > 0 ? static_cast<double>(correct) / static_cast<double>(total()) : 0;
  }
};

/// The share of recall targets (tokens that the past determines) that are the model's most likely next token.
///
/// `edges` are the first distances of the bins, ascending; the last bin has no end, and nearer targets than edges[0]
/// are left out.  `rows` documents per forward pass; logits are formed for the targets only.
inline Recall recall_by_distance(LanguageModel& model, std::span<const SyntheticDocument> documents,
                                 std::vector<Index> edges = {1, 17, 33, 65, 129, 257}, Index rows = 8) {
  require<ConfigError>(rows > 0 && !edges.empty() &&
                           std::adjacent_find(edges.begin(), edges.end(), std::greater_equal<>()) == edges.end(),
                       "recall_by_distance: rows is {} with {} edges, expected at least 1 and ascending edges", rows,
                       edges.size());
  Recall result;
  for (std::size_t i = 0; i < edges.size(); ++i) {
    result.bins.push_back({edges[i], i + 1 < edges.size() ? edges[i + 1] - 1 : std::numeric_limits<Index>::max()});
  }
  for (std::size_t begin = 0; begin < documents.size(); begin += static_cast<std::size_t>(rows)) {
    const auto group = documents.subspan(begin, std::min(static_cast<std::size_t>(rows), documents.size() - begin));
    ScoringBatch batch{.greedy = true};
    std::vector<Index> distances;
    for (const SyntheticDocument& document : group) {
      const auto first = static_cast<Index>(batch.tokens.size());
      for (const RecallTarget& target : recall_targets(document)) {
        if (target.position == 0) continue;
        batch.targets.push_back(
            {first + target.position - 1, document.tokens[static_cast<std::size_t>(target.position)]});
        distances.push_back(target.distance);
      }
      batch.lengths.push_back(static_cast<Index>(document.tokens.size()));
      batch.tokens.insert(batch.tokens.end(), document.tokens.begin(), document.tokens.end());
    }
    const std::vector<TokenScore> scores = model.score(batch);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      for (RecallBin& bin : result.bins) {
        if (distances[i] < bin.first || distances[i] > bin.last) continue;
        ++bin.total;
        bin.correct += scores[i].greedy;
      }
    }
  }
  return result;
}

/// The same for a model of any type.
template <class Model>
requires(!std::derived_from<Model, LanguageModel>) Recall
    recall_by_distance(Model& model, std::span<const SyntheticDocument> documents,
                       std::vector<Index> edges = {1, 17, 33, 65, 129, 257}, Index rows = 8) {
  LanguageModelOf<Model> scored(model);
  return recall_by_distance(static_cast<LanguageModel&>(scored), documents, std::move(edges), rows);
}

}  // namespace lolcats
