// What one step of training or evaluation reads: token rows, their targets and their division into sequences.
#pragma once

#include <lolcats/core/index.hpp>
#include <lolcats/tensor/labels.hpp>
#include <lolcats/tensor/sequences.hpp>

#include <algorithm>
#include <utility>
#include <vector>

namespace lolcats {

/// A text as tokens.  labels[i] is tokens[i] where that token is to be predicted, and `ignored_label` where it is not.
/// They are shifted only when a Batch is made: a label belongs to its token, wherever rows are cut.
struct Sample {
  std::vector<Index> tokens;
  std::vector<Index> labels;

  friend bool operator==(const Sample&, const Sample&) = default;
};

/// All tokens are supervised.
inline Sample supervise_all(std::vector<Index> tokens) {
  Sample sample{tokens, {}};
  sample.labels = std::move(tokens);
  return sample;
}

/// Flattened token rows.  labels[i] is the target of row i: the token behind it in the same sequence, or
/// `ignored_label`, as for the last row of each sequence.
struct Batch {
  std::vector<Index> tokens;  // (N*T)
  std::vector<Index> labels;  // (N*T)
  Sequences sequences;

  /// The number of targets: what a mean loss divides by.
  Index supervised() const {
    return static_cast<Index>(labels.size()) -
           static_cast<Index>(std::count(labels.begin(), labels.end(), ignored_label));
  }
};

}  // namespace lolcats
