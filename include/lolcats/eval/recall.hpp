// How often a model recalls what it has read, by distance.
#pragma once

#include <lolcats/data/synthetic.hpp>
#include <lolcats/ops/linear/linear.hpp>
#include <lolcats/tape/tape.hpp>
#include <lolcats/tensor/sequences.hpp>

#include <algorithm>
#include <functional>
#include <limits>
#include <span>
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
template <class Model>
Recall recall_by_distance(Model& model, std::span<const SyntheticDocument> documents,
                          std::vector<Index> edges = {1, 17, 33, 65, 129, 257}, Index rows = 8) {
  using B = typename Model::Device;
  require<ConfigError>(rows > 0 && !edges.empty() &&
                           std::adjacent_find(edges.begin(), edges.end(), std::greater_equal<>()) == edges.end(),
                       "recall_by_distance: rows is {} with {} edges, expected at least 1 and ascending edges", rows,
                       edges.size());
  Recall result;
  for (std::size_t i = 0; i < edges.size(); ++i) {
    result.bins.push_back({edges[i], i + 1 < edges.size() ? edges[i + 1] - 1 : std::numeric_limits<Index>::max()});
  }

  Tape<B> tape(model.backend());
  const typename Tape<B>::NoGradient quiet(tape);
  for (std::size_t begin = 0; begin < documents.size(); begin += static_cast<std::size_t>(rows)) {
    const auto group = documents.subspan(begin, std::min(static_cast<std::size_t>(rows), documents.size() - begin));
    struct Target {
      Index row, token, distance;
    };
    std::vector<Index> tokens;
    std::vector<Extent> extents;
    std::vector<Target> targets;
    for (const SyntheticDocument& document : group) {
      const auto first = static_cast<Index>(tokens.size());
      for (const RecallTarget& target : recall_targets(document)) {
        const Index token = document.tokens[static_cast<std::size_t>(target.position)];
        if (target.position > 0) targets.push_back({first + target.position - 1, token, target.distance});
      }
      extents.push_back({first, static_cast<Index>(document.tokens.size()), 0});
      tokens.insert(tokens.end(), document.tokens.begin(), document.tokens.end());
    }
    const Sequences sequences(static_cast<Index>(tokens.size()), std::move(extents));
    const typename Tape<B>::Scope scope(tape);
    const Var<B> hidden = model.hidden(tape, tokens, sequences);

    constexpr std::size_t tile = 256;
    for (std::size_t first = 0; first < targets.size(); first += tile) {
      const std::size_t count = std::min(tile, targets.size() - first);
      const typename Tape<B>::Scope inner(tape);
      const Index width = hidden.cols();
      const View<Scalar<B>> x = tape.template scratch<Scalar<B>>(Shape{static_cast<Index>(count), width});
      for (std::size_t i = 0; i < count; ++i) {
        tape.backend().copy(hidden.value().data + targets[first + i].row * width,
                            x.data + static_cast<Index>(i) * width, width);
      }
      const Var<B> logits = linear(tape, tape.constant(x), model.head());
      std::vector<double> host(static_cast<std::size_t>(logits.shape().size()));
      tape.backend().to_host(logits.value().data, host.data(), logits.shape().size());
      for (std::size_t i = 0; i < count; ++i) {
        const Target& target = targets[first + i];
        const auto row = host.begin() + static_cast<std::ptrdiff_t>(i) * logits.cols();
        const Index predicted = std::max_element(row, row + logits.cols()) - row;
        for (RecallBin& bin : result.bins) {
          if (target.distance < bin.first || target.distance > bin.last) continue;
          ++bin.total;
          bin.correct += predicted == target.token;
        }
      }
    }
  }
  return result;
}

}  // namespace lolcats
