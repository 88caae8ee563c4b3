// Rows of tokens, in memory or mapped from a file, and the batches made of them.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/fingerprint.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/data/batch.hpp>
#include <lolcats/data/packed_rows.hpp>
#include <lolcats/data/packing.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

namespace lolcats {

/// Whether attention and positions run on across the documents of a row (as published) or start anew at each.
enum class DocumentBoundaries { Joined, Separate };

class RowRange;

/// Rows and how they become batches.  Rows lie in memory as they were given, or packed (data/packed_rows.hpp), as in a
/// file that open_text() made; both say the same.  Copies share the rows.
class DataSet {
 public:
  DataSet() = default;

  /// Rows may differ in length.  Throws DataError for a row of fewer than 2 tokens or with labels or starts that do not
  /// fit.
  explicit DataSet(std::vector<Row> rows, DocumentBoundaries boundaries = DocumentBoundaries::Joined)
      : size_(static_cast<Index>(rows.size())), boundaries_(boundaries) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const Row& row = rows[i];
      const auto length = static_cast<Index>(row.tokens.size());
      require<DataError>(length >= 2, "DataSet: row {} has {} tokens, expected at least 2", i, length);
      require<DataError>(row.labels.size() == row.tokens.size(), "DataSet: row {} has {} tokens but {} labels", i,
                         length, row.labels.size());
      require<DataError>(!row.starts.empty() && row.starts.front() == 0 && row.starts.back() < length &&
                             std::ranges::is_sorted(row.starts, std::ranges::less_equal{}),
                         "DataSet: row {}: document starts must ascend from 0 and lie within its {} tokens", i, length);
    }
    listed_ = std::make_shared<const std::vector<Row>>(std::move(rows));
  }

  /// Rows that are packed.
  explicit DataSet(std::shared_ptr<const PackedRows> rows)
      : packed_(std::move(rows)),
        size_(packed_->size()),
        boundaries_(packed_->info().separate ? DocumentBoundaries::Separate : DocumentBoundaries::Joined) {}

  Index size() const { return size_; }
  DocumentBoundaries boundaries() const { return boundaries_; }

  /// A copy of row `row`: give it a name before taking iterators.  Throws DataError if there is none.
  Row operator[](Index row) const {
    check("DataSet", row);
    if (listed_) return (*listed_)[static_cast<std::size_t>(row)];
    Row copy;
    packed_->append(row, copy.tokens, copy.labels);
    copy.starts = packed_->starts(row);
    return copy;
  }
  /// All rows, one after the other; the set must live meanwhile.
  RowRange rows() const;

  /// What is known of packed rows, or null.
  const PackedInfo* packed_info() const { return packed_ ? &packed_->info() : nullptr; }

  Index tokens() const {
    if (packed_) return size_ * packed_->length();
    Index count = 0;
    for (Index row = 0; row < size_; ++row) count += static_cast<Index>(listed(row).tokens.size());
    return count;
  }

  /// The first `count` rows, or all if there are no more.
  DataSet first(Index count) const {
    require<ConfigError>(count >= 0, "DataSet::first: {} rows", count);
    DataSet part = *this;
    part.size_ = std::min(size_, count);
    return part;
  }

  /// Equal for sets that make the same batches; others differ, all but certainly.  Packed sets know it.
  std::uint64_t fingerprint() const {
    Fingerprint print;
    if (packed_ && size_ == packed_->size()) {
      print.add(packed_->info().fingerprint);
    } else {
      Fingerprint content;
      for (Index row = 0; row < size_; ++row) listed_ ? add_to(content, listed(row)) : add_to(content, (*this)[row]);
      print.add(content.value());
    }
    print.add(static_cast<std::uint64_t>(boundaries_ == DocumentBoundaries::Separate));
    return print.value();
  }

  /// Throws DataError unless all tokens and labels are ids of a vocabulary of this size.  Packed sets know their largest.
  void check_vocabulary(Index vocab_size) const {
    if (packed_ && static_cast<Index>(packed_->info().largest) < vocab_size) return;
    for (Index i = 0; i < size_; ++i) {
      Row copy;
      if (packed_) copy = (*this)[i];
      const Row& row = packed_ ? copy : listed(i);
      for (std::size_t j = 0; j < row.tokens.size(); ++j) {
        const Index token = row.tokens[j], label = row.labels[j];
        require<DataError>(token >= 0 && token < vocab_size,
                           "DataSet: row {}, position {}: token {} lies outside of the "
                           "vocabulary of {}",
                           i, j, token, vocab_size);
        require<DataError>(label == ignored_label || (label >= 0 && label < vocab_size),
                           "DataSet: row {}, position {}: label {} lies outside of the vocabulary of {}", i, j, label,
                           vocab_size);
      }
    }
  }

  /// The batch of these rows, in this order.
  Batch batch(std::span<const Index> indices) const {
    Batch batch;
    std::vector<Extent> extents;
    for (const Index index : indices) {
      check("DataSet::batch", index);
      append(index, batch, extents);
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
  void check(const char* function, Index row) const {
    require<DataError>(row >= 0 && row < size_, "{}: row {} of {}", function, row, size_);
  }
  const Row& listed(Index row) const { return (*listed_)[static_cast<std::size_t>(row)]; }

  void append(Index index, Batch& batch, std::vector<Extent>& extents) const {
    const std::size_t offset = batch.tokens.size();
    std::vector<Index> starts{0};
    if (listed_) {
      const Row& row = listed(index);
      batch.tokens.insert(batch.tokens.end(), row.tokens.begin(), row.tokens.end());
      batch.labels.insert(batch.labels.end(), row.labels.begin(), row.labels.end());
      if (boundaries_ == DocumentBoundaries::Separate) starts = row.starts;
    } else {
      packed_->append(index, batch.tokens, batch.labels);
      if (boundaries_ == DocumentBoundaries::Separate) starts = packed_->starts(index);
    }
    // targets: the labels one place ahead
    const auto labels = batch.labels.begin() + static_cast<std::ptrdiff_t>(offset);
    std::move(labels + 1, batch.labels.end(), labels);
    const auto length = static_cast<Index>(batch.tokens.size() - offset);
    for (std::size_t i = 0; i < starts.size(); ++i) {
      const Index end = i + 1 < starts.size() ? starts[i + 1] : length;
      extents.push_back({static_cast<Index>(offset) + starts[i], end - starts[i], 0});
      batch.labels[offset + static_cast<std::size_t>(end) - 1] = ignored_label;
    }
  }

  std::shared_ptr<const std::vector<Row>> listed_;
  std::shared_ptr<const PackedRows> packed_;
  Index size_ = 0;  // at most that of the rows
  DocumentBoundaries boundaries_ = DocumentBoundaries::Joined;
};

/// The rows of a data set as a range of copies.
class RowRange {
 public:
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;  // of copies, though it goes both ways and any distance
    using value_type = Row;
    using difference_type = std::ptrdiff_t;
    using pointer = const Row*;
    using reference = Row;

    Iterator() = default;
    Iterator(const DataSet* data, Index at) : data_(data), at_(at) {}
    Row operator*() const { return (*data_)[at_]; }
    Iterator& operator++() { return ++at_, *this; }
    Iterator operator++(int) { return std::exchange(*this, {data_, at_ + 1}); }
    friend Iterator operator+(Iterator i, std::ptrdiff_t n) { return {i.data_, i.at_ + static_cast<Index>(n)}; }
    friend bool operator==(const Iterator& a, const Iterator& b) { return a.at_ == b.at_; }

   private:
    const DataSet* data_ = nullptr;
    Index at_ = 0;
  };

  explicit RowRange(const DataSet* data) : data_(data) {}
  Iterator begin() const { return {data_, 0}; }
  Iterator end() const { return {data_, data_->size()}; }
  std::size_t size() const { return static_cast<std::size_t>(data_->size()); }
  Row operator[](std::size_t row) const { return (*data_)[static_cast<Index>(row)]; }
  operator std::vector<Row>() const { return {begin(), end()}; }  // NOLINT: it is one, read from elsewhere

 private:
  const DataSet* data_;
};

inline RowRange DataSet::rows() const { return RowRange(this); }

}  // namespace lolcats
