// Rows of tokens, and the batches made of them.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/data/batch.hpp>
#include <lolcats/data/packing.hpp>

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

namespace lolcats {

/// Whether attention and positions run on across the documents of a row (as published) or start anew at each.
enum class DocumentBoundaries { Joined, Separate };

/// Rows and how they become batches.
class DataSet {
 public:
  DataSet() = default;

  /// Rows may differ in length.  Throws DataError for a row of fewer than 2 tokens or with labels or starts that do not
  /// fit.
  explicit DataSet(std::vector<Row> rows, DocumentBoundaries boundaries = DocumentBoundaries::Joined)
      : rows_(std::move(rows)), boundaries_(boundaries) {
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const Row& row = rows_[i];
      const auto length = static_cast<Index>(row.tokens.size());
      require<DataError>(length >= 2, "DataSet: row {} has {} tokens, expected at least 2", i, length);
      require<DataError>(row.labels.size() == row.tokens.size(), "DataSet: row {} has {} tokens but {} labels", i,
                         length, row.labels.size());
      require<DataError>(!row.starts.empty() && row.starts.front() == 0 && row.starts.back() < length &&
                             std::ranges::is_sorted(row.starts, std::ranges::less_equal{}),
                         "DataSet: row {}: document starts must ascend from 0 and lie within its {} tokens", i, length);
    }
  }

  Index size() const { return static_cast<Index>(rows_.size()); }
  const Row& operator[](Index row) const { return rows_[static_cast<std::size_t>(row)]; }
  const std::vector<Row>& rows() const { return rows_; }
  DocumentBoundaries boundaries() const { return boundaries_; }

  Index tokens() const {
    Index count = 0;
    for (const Row& row : rows_) count += static_cast<Index>(row.tokens.size());
    return count;
  }

  /// Throws DataError unless all tokens and labels are ids of a vocabulary of this size.
  void check_vocabulary(Index vocab_size) const {
    for (std::size_t i = 0; i < rows_.size(); ++i)
      for (std::size_t j = 0; j < rows_[i].tokens.size(); ++j) {
        const Index token = rows_[i].tokens[j], label = rows_[i].labels[j];
        require<DataError>(token >= 0 && token < vocab_size,
                           "DataSet: row {}, position {}: token {} lies outside of the "
                           "vocabulary of {}",
                           i, j, token, vocab_size);
        require<DataError>(label == ignored_label || (label >= 0 && label < vocab_size),
                           "DataSet: row {}, position {}: label {} lies outside of the vocabulary of {}", i, j, label,
                           vocab_size);
      }
  }

  /// The batch of these rows, in this order.
  Batch batch(std::span<const Index> indices) const {
    Batch batch;
    std::vector<Extent> extents;
    for (const Index index : indices) {
      require<DataError>(index >= 0 && index < size(), "DataSet::batch: row {} of {}", index, size());
      append(rows_[static_cast<std::size_t>(index)], batch, extents);
    }
    batch.sequences = Sequences(static_cast<Index>(batch.tokens.size()), std::move(extents));
    return batch;
  }

  /// The batch of rows first ... first + count - 1.
  Batch batch(Index first, Index count) const {
    std::vector<Index> indices(static_cast<std::size_t>(count));
    std::iota(indices.begin(), indices.end(), first);
    return batch(indices);
  }

 private:
  void append(const Row& row, Batch& batch, std::vector<Extent>& extents) const {
    const auto offset = static_cast<Index>(batch.tokens.size());
    const auto length = static_cast<Index>(row.tokens.size());
    batch.tokens.insert(batch.tokens.end(), row.tokens.begin(), row.tokens.end());
    // targets: the labels one place ahead
    batch.labels.insert(batch.labels.end(), row.labels.begin() + 1, row.labels.end());
    batch.labels.push_back(ignored_label);
    const std::size_t pieces = boundaries_ == DocumentBoundaries::Separate ? row.starts.size() : 1;
    for (std::size_t i = 0; i < pieces; ++i) {
      const Index begin = row.starts[i];
      const Index end = i + 1 < pieces ? row.starts[i + 1] : length;
      extents.push_back({offset + begin, end - begin, 0});
      batch.labels[static_cast<std::size_t>(offset + end - 1)] = ignored_label;
    }
  }

  std::vector<Row> rows_;
  DocumentBoundaries boundaries_ = DocumentBoundaries::Joined;
};

}  // namespace lolcats
