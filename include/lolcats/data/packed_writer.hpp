// Packs a stream of documents into rows of equal length and writes them as packed_rows.hpp has them, as they come.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/fingerprint.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/data/packed_rows.hpp>
#include <lolcats/data/packing.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <utility>
#include <vector>

namespace lolcats {

/// Documents one behind the other, cut into rows of exactly `length` tokens; the tail that fills no row is dropped, and
/// if masked, so are rows that have no label behind their first token: there is nothing to predict in them.
///
/// Beside the row in work it keeps 4 bytes per document and 8 per row until finish().
class PackedWriter {
 public:
  using Sink = std::function<void(std::span<const std::byte>)>;

  /// `settings` says identity, length, masked and separate.  Tokens take 2 bytes if `vocab_size` lets them.
  PackedWriter(PackedInfo settings, Index vocab_size, Sink sink)
      : info_(settings), vocab_size_(vocab_size), sink_(std::move(sink)) {
    require<ConfigError>(info_.length >= 2 && info_.length < (std::uint64_t{1} << 32),
                         "PackedWriter: rows of {} tokens, expected at least 2: one to read and one to predict",
                         info_.length);
    info_.token_bytes = vocab_size <= 65536 ? 2 : 4;
    write(packed_rows_magic.data(), packed_rows_magic.size());
  }

  /// Tokens with labels of the same number, or with none: all supervised.  `begins`: they begin a document.  Throws
  /// DataError for a token outside of the vocabulary and for labels that are neither their token nor ignored.
  void add(std::span<const Index> tokens, std::span<const Index> labels, bool begins) {
    require<DataError>(labels.empty() || (labels.size() == tokens.size() && info_.masked),
                       "PackedWriter: {} tokens with {} labels{}", tokens.size(), labels.size(),
                       info_.masked ? "" : ", expected none");
    if (begins && !tokens.empty() && !row_.tokens.empty())
      row_.starts.push_back(static_cast<Index>(row_.tokens.size()));
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      require<DataError>(tokens[i] >= 0 && tokens[i] < vocab_size_,
                         "PackedWriter: token {} lies outside of the vocabulary of {}", tokens[i], vocab_size_);
      require<DataError>(labels.empty() || labels[i] == tokens[i] || labels[i] == ignored_label,
                         "PackedWriter: label {} of token {}", labels.empty() ? 0 : labels[i], tokens[i]);
    }
    const std::span<const Index> all = labels.empty() ? tokens : labels;
    for (std::size_t at = 0; at < tokens.size();) {
      const std::size_t count =
          std::min(tokens.size() - at, static_cast<std::size_t>(info_.length) - row_.tokens.size());
      const auto some = [&](std::span<const Index> list) { return list.subspan(at, count); };
      row_.tokens.insert(row_.tokens.end(), some(tokens).begin(), some(tokens).end());
      row_.labels.insert(row_.labels.end(), some(all).begin(), some(all).end());
      at += count;
      if (row_.tokens.size() == info_.length) flush();
    }
  }

  /// Rows so far.
  Index rows() const { return static_cast<Index>(info_.rows); }
  /// Tokens of the row in work.
  Index waiting() const { return static_cast<Index>(row_.tokens.size()); }

  /// Writes what describes the rows.  The counts of documents and bytes are the caller's.  Throws DataError if there is
  /// not one full row.
  PackedInfo finish(std::uint64_t documents, std::uint64_t skipped, std::uint64_t text_bytes) {
    info_.left_over += row_.tokens.size();
    require<DataError>(info_.rows > 0, "{} documents have {} tokens, too few for one row of {}{}", documents,
                       info_.left_over, info_.length, info_.masked ? " with an answer" : "");
    info_.documents = documents;
    info_.skipped = skipped;
    info_.text_bytes = text_bytes;
    info_.starts = starts_.size();
    info_.fingerprint = print_.value();
    info_.checksum = info_.sum();
    write(starts_.data(), starts_.size() * sizeof(std::uint32_t));
    write(ends_.data(), ends_.size() * sizeof(std::uint64_t));
    write(&info_, sizeof info_);
    sink_(buffer_);
    buffer_.clear();
    return info_;
  }

 private:
  void flush() {
    row_.starts.insert(row_.starts.begin(), 0);
    const bool labelled =
        std::any_of(row_.labels.begin() + 1, row_.labels.end(), [](Index label) { return label != ignored_label; });
    if (labelled)
      write_row();
    else
      info_.left_over += info_.length;
    row_.tokens.clear();
    row_.labels.clear();
    row_.starts.clear();
  }

  void write_row() {
    const std::size_t begin = buffer_.size();
    buffer_.resize(begin + info_.stride());
    std::byte* to = buffer_.data() + begin;
    if (info_.token_bytes == 2)
      narrow<std::uint16_t>(to);
    else
      narrow<std::uint32_t>(to);
    for (std::size_t i = 0; i < row_.labels.size(); ++i) {
      if (row_.labels[i] == ignored_label) continue;
      ++info_.supervised;
      if (info_.masked) to[info_.token_stride() + i / 8] |= std::byte{1} << (i % 8);
    }
    for (const Index token : row_.tokens) info_.largest = std::max(info_.largest, static_cast<std::uint64_t>(token));
    for (std::size_t i = 1; i < row_.starts.size(); ++i) starts_.push_back(static_cast<std::uint32_t>(row_.starts[i]));
    ends_.push_back(starts_.size());
    add_to(print_, row_);
    ++info_.rows;
    if (buffer_.size() >= std::size_t{1} << 20) {
      sink_(buffer_);
      buffer_.clear();
    }
  }

  template <class T>
  void narrow(std::byte* to) const {
    for (std::size_t i = 0; i < row_.tokens.size(); ++i) {
      const auto token = static_cast<T>(row_.tokens[i]);
      std::memcpy(to + i * sizeof token, &token, sizeof token);
    }
  }

  void write(const void* data, std::size_t size) {
    const auto* bytes = static_cast<const std::byte*>(data);
    buffer_.insert(buffer_.end(), bytes, bytes + size);
  }

  PackedInfo info_;
  Index vocab_size_;
  Sink sink_;
  Row row_;  // in work; `starts` without the 0 in front
  Fingerprint print_;
  std::vector<std::byte> buffer_;
  std::vector<std::uint32_t> starts_;
  std::vector<std::uint64_t> ends_;
};

}  // namespace lolcats
