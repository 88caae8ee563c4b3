// What a model remembers of the tokens it has read.
#pragma once

#include <lolcats/ops/attention/state.hpp>

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace lolcats {

/// One attention state per layer, for a batch of sequences of any lengths.
///
/// With a bounded window its size does not depend on how many tokens were read.
template <Backend B>
class ModelState {
 public:
  /// Nothing read yet.
  ModelState(Index layers, Index sequences) : layers_(static_cast<std::size_t>(layers)) {
    require<ShapeError>(layers > 0 && sequences > 0, "ModelState: {} layers and {} sequences, expected at least 1",
                        layers, sequences);
    for (AttentionState<B>& layer : layers_) layer.slots.resize(static_cast<std::size_t>(sequences));
  }

  Index layer_count() const { return static_cast<Index>(layers_.size()); }
  Index count() const { return static_cast<Index>(layers_.front().slots.size()); }
  /// Tokens that a sequence has read.
  Index length(Index sequence) const {
    require<ShapeError>(sequence >= 0 && sequence < count(), "ModelState: sequence {}, expected 0 to {}", sequence,
                        count() - 1);
    return layers_.front().slots[static_cast<std::size_t>(sequence)].length;
  }
  AttentionState<B>& layer(Index index) { return layers_[static_cast<std::size_t>(index)]; }

  /// Bytes held by all layers and sequences.
  std::size_t bytes() const {
    std::size_t n = 0;
    for (const AttentionState<B>& layer : layers_) n += layer.bytes();
    return n;
  }

  /// A state of its own that has read what `sequences` of this one have read, which may be named any number of times.
  ModelState clone(const B& backend, std::span<const Index> sequences) const {
    ModelState copy(layer_count(), static_cast<Index>(sequences.size()));
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      length(sequences[i]);  // checks the number
      for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
        copy.layers_[layer].slots[i] = layers_[layer].slots[static_cast<std::size_t>(sequences[i])].clone(backend);
      }
    }
    return copy;
  }

 private:
  std::vector<AttentionState<B>> layers_;
};

}  // namespace lolcats
