// Cuts streams of documents or samples into rows of equal length.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/fingerprint.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/data/batch.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace lolcats {

/// A finished row: a sample, and where in it documents begin.  `starts` ascends from 0; a row that opens inside a
/// document counts the rest of that document as its first.
struct Row {
  std::vector<Index> tokens;
  std::vector<Index> labels;  // not shifted, see Sample
  std::vector<Index> starts;

  friend bool operator==(const Row&, const Row&) = default;
};

/// Adds all that a row holds: tokens, labels that are not their tokens, and starts.  A multiplication per token, where
/// Fingerprint alone takes eight.
inline void add_to(Fingerprint& print, const Row& row) {
  std::uint64_t hash = 0x9e3779b97f4a7c15ULL;
  const auto mix = [&](Index value) {
    hash = (hash ^ static_cast<std::uint64_t>(value)) * 0xff51afd7ed558ccdULL;
    hash ^= hash >> 32;
  };
  for (std::size_t i = 0; i < row.tokens.size(); ++i) {
    mix(row.tokens[i]);
    if (row.labels[i] == row.tokens[i]) continue;
    mix(static_cast<Index>(i));
    mix(row.labels[i]);
  }
  for (const Index start : row.starts) mix(start);
  print.add(hash);
  print.add(static_cast<std::uint64_t>(row.tokens.size()));
  print.add(static_cast<std::uint64_t>(row.starts.size()));
}

namespace detail {

inline void check_row_length(const char* function, Index length) {
  require<ConfigError>(length >= 2, "{}: rows of {} tokens, expected at least 2: one to read and one to predict",
                       function, length);
}

inline void check_sample(const char* function, const Sample& sample, std::size_t index) {
  require<DataError>(!sample.tokens.empty(), "{}: sample {} has no tokens", function, index);
  require<DataError>(sample.tokens.size() == sample.labels.size(), "{}: sample {} has {} tokens but {} labels",
                     function, index, sample.tokens.size(), sample.labels.size());
}

/// A stream of samples from whose front rows are cut.
class RowCutter {
 public:
  void append(const Sample& sample) {
    starts_.push_back(static_cast<Index>(tokens_.size()));
    tokens_.insert(tokens_.end(), sample.tokens.begin(), sample.tokens.end());
    labels_.insert(labels_.end(), sample.labels.begin(), sample.labels.end());
  }

  /// Tokens not cut yet.
  Index waiting() const { return static_cast<Index>(tokens_.size()) - begin_; }

  Row cut(Index length) {
    const Index end = begin_ + length;
    Row row;
    row.tokens.assign(tokens_.begin() + begin_, tokens_.begin() + end);
    row.labels.assign(labels_.begin() + begin_, labels_.begin() + end);
    row.starts.push_back(0);
    for (; next_ < starts_.size() && starts_[next_] < end; ++next_)
      if (starts_[next_] > begin_) row.starts.push_back(starts_[next_] - begin_);
    begin_ = end;
    return row;
  }

 private:
  std::vector<Index> tokens_, labels_;
  std::vector<Index> starts_;  // of the samples, in the stream
  Index begin_ = 0;            // first token not cut yet
  std::size_t next_ = 0;       // first sample that starts there or later
};

}  // namespace detail

/// All documents one behind the other, cut into rows of exactly `length` tokens; the tail that fills no row is dropped.
/// Every token is supervised.  Documents longer than a row go on in the next; a document of one token is as good as
/// any. Throws DataError for an empty document and if there is not one full row.
inline std::vector<Row> concatenate(const std::vector<std::vector<Index>>& documents, Index length) {
  detail::check_row_length("concatenate", length);
  detail::RowCutter stream;
  std::vector<Row> rows;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const Sample sample = supervise_all(documents[i]);
    detail::check_sample("concatenate", sample, i);
    stream.append(sample);
    while (stream.waiting() >= length) rows.push_back(stream.cut(length));
  }
  require<DataError>(!rows.empty(), "concatenate: {} documents have {} tokens, too few for one row of {}",
                     documents.size(), stream.waiting(), length);
  return rows;
}

/// Packing as LoLCATs' instruction data is packed.
///
/// Samples one behind the other; a row is cut while MORE than `length` tokens wait, so that a tail of up to `length`
/// tokens is dropped.  Rows without a label are dropped too.  Samples longer than a row go on in the next.  The result
/// may be empty. Throws DataError for a sample without tokens or with another number of labels.
inline std::vector<Row> pack(const std::vector<Sample>& samples, Index length = 1024) {
  detail::check_row_length("pack", length);
  detail::RowCutter stream;
  std::vector<Row> rows;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    detail::check_sample("pack", samples[i], i);
    stream.append(samples[i]);
    while (stream.waiting() > length) {
      Row row = stream.cut(length);
      const bool labelled = std::ranges::any_of(row.labels, [](Index label) { return label != ignored_label; });
      if (labelled) rows.push_back(std::move(row));
    }
  }
  return rows;
}

/// A row for each document, none cut, so that rows may differ in length.  Throws DataError for a document of more than
/// `longest` tokens, or of fewer than 2: there is nothing to predict.
inline std::vector<Row> one_row_each(const std::vector<std::vector<Index>>& documents, Index longest) {
  std::vector<Row> rows;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const auto count = static_cast<Index>(documents[i].size());
    require<DataError>(count >= 2 && count <= longest, "one_row_each: document {} has {} tokens, expected 2 to {}", i,
                       count, longest);
    rows.push_back({documents[i], documents[i], {0}});
  }
  return rows;
}

}  // namespace lolcats
