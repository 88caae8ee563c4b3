// How the rows of a token matrix are divided into sequences.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <algorithm>
#include <span>
#include <vector>

namespace lolcats {

/// One sequence: rows [row, row + length) hold positions [position, position + length).
struct Extent {
  Index row = 0;
  Index length = 0;
  Index position = 0;

  friend bool operator==(const Extent&, const Extent&) = default;
};

/// The division of M token rows into independent sequences of any lengths.
///
/// Every activation is a matrix of M token rows, and attention never crosses an extent.  So a ragged batch needs no padding, documents
/// packed into one row of a batch can be kept apart, and a rectangular batch is the plain case.  Rows that belong
/// to no extent are padding: they attend to nothing, nothing attends to them and their attention output is zero.
class Sequences {
 public:
  Sequences() = default;

  /// Extents must be disjoint, in order of their rows, and lie within [0, rows).
  Sequences(Index rows, std::vector<Extent> extents) : rows_(rows), extents_(std::move(extents)) {
    Index end = 0;
    for (const Extent& e : extents_) {
      require<ShapeError>(e.row >= end && e.length > 0 && e.row + e.length <= rows_ && e.position >= 0,
                          "Sequences: extent at row {} of length {} (position {}) overlaps its predecessor or leaves "
                          "the {} rows",
                          e.row, e.length, e.position, rows_);
      end = e.row + e.length;
      longest_ = std::max(longest_, e.length);
      tokens_ += e.length;
    }
  }

  /// `count` sequences of `length` tokens each, all starting at position 0.
  static Sequences rectangular(Index count, Index length) {
    std::vector<Extent> extents;
    for (Index n = 0; n < count; ++n) extents.push_back({n * length, length, 0});
    return {count * length, std::move(extents)};
  }

  Index rows() const { return rows_; }
  Index count() const { return static_cast<Index>(extents_.size()); }
  Index longest() const { return longest_; }
  /// Rows that belong to a sequence, and whether there are others.
  Index tokens() const { return tokens_; }
  bool padded() const { return tokens_ < rows_; }
  const Extent& operator[](Index n) const { return extents_[static_cast<std::size_t>(n)]; }
  std::span<const Extent> extents() const { return extents_; }

 private:
  Index rows_ = 0;
  Index longest_ = 0;
  Index tokens_ = 0;
  std::vector<Extent> extents_;
};

}  // namespace lolcats
