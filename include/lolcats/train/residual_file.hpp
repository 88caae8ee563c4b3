// The teacher's residual stream of a data set, kept while blocks of layers are trained on it.
#pragma once

#include <lolcats/backend/backend.hpp>
#include <lolcats/io/scratch_file.hpp>

#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace lolcats {

/// One (tokens, C) matrix per row of a data set, in Scalar, so that reading gives the bits that were written.
///
/// Scratch on disk or, without a path, in host memory: tokens * C * sizeof(Scalar) bytes, for which there must be room from
/// the start.  Rows are written in any order, and again.
/// Errors: FileError naming the file; where there is no room, what is wanted and what is free.
template <Backend B>
class ResidualFile {
 public:
  /// Row i of the data set has lengths[i] tokens.
  ResidualFile(const B& backend, const std::filesystem::path& path, Index width, std::span<const Index> lengths)
      : backend_(backend), width_(width) {
    for (const Index length : lengths) ends_.push_back(ends_.back() + length);
    std::uint64_t bytes = sizeof(Scalar<B>);
    const bool too_many = __builtin_mul_overflow(bytes, ends_.back(), &bytes) || __builtin_mul_overflow(bytes, width, &bytes);
    file_.emplace(path, too_many ? std::numeric_limits<std::uint64_t>::max() : bytes);
  }

  Index rows() const { return static_cast<Index>(ends_.size()) - 1; }

  /// Puts x (tokens, C), the streams of some rows one below the other, in their places.
  void write(std::span<const Index> rows, View<const Scalar<B>> x) {
    require<ShapeError>(x.cols() == width_ && x.rows() == tokens(rows), "ResidualFile::write: x is {}, expected ({}, {})",
                        to_string(x.shape), tokens(rows), width_);
    for_each(rows, [&](Index at, Scalar<B>* kept, Index n) { download(backend_, x.data + at, kept, n); });
  }

  /// The streams of some rows, one below the other, in the backend's memory.
  Array<B> read(std::span<const Index> rows) const {
    Array<B> x(Shape{tokens(rows), width_});
    for_each(rows, [&](Index at, const Scalar<B>* kept, Index n) { upload(backend_, kept, x.data() + at, n); });
    return x;
  }

 private:
  Index tokens(std::span<const Index> rows) const {
    Index sum = 0;
    for (const Index row : rows) {
      require<DataError>(row >= 0 && row < this->rows(), "ResidualFile: row {}, expected 0 to {}", row, this->rows() - 1);
      sum += ends_[static_cast<std::size_t>(row) + 1] - ends_[static_cast<std::size_t>(row)];
    }
    return sum;
  }

  /// f(at, kept, n) for every row: its n numbers begin at number `at` of the matrix, and are kept there.
  template <class F>
  void for_each(std::span<const Index> rows, F&& f) const {
    Index at = 0;
    auto* const kept = reinterpret_cast<Scalar<B>*>(file_->bytes().data());
    for (const Index row : rows) {
      const Index first = ends_[static_cast<std::size_t>(row)], n = (ends_[static_cast<std::size_t>(row) + 1] - first) * width_;
      if (n > 0) f(at, kept + first * width_, n);
      at += n;
    }
  }

  B backend_;
  Index width_;
  std::vector<Index> ends_{0};  // tokens up to the end of each row
  std::optional<ScratchFile> file_;
};

}  // namespace lolcats
