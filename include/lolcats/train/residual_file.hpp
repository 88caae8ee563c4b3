// The teacher's residual stream of a data set, kept in a file while a block of layers is trained on it.
#pragma once

#include <lolcats/backend/backend.hpp>
#include <lolcats/io/file.hpp>

#include <filesystem>
#include <span>
#include <vector>

namespace lolcats {

/// One (tokens, C) matrix per row of a data set, in Scalar, so that reading gives the bits that were written.
///
/// A scratch file: it is created empty and removed with this object.  Size: tokens * C * sizeof(Scalar).
/// Errors: FileError naming the file.
template <Backend B>
class ResidualFile {
 public:
  ResidualFile(const B& backend, const std::filesystem::path& path, Index width)
      : backend_(backend),
        path_(path),
        width_(width),
        file_(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
    require<FileError>(file_.get() >= 0, "{}: cannot create: {}", path.string(), detail::system_message(errno));
  }
  ResidualFile(const ResidualFile&) = delete;
  ResidualFile& operator=(const ResidualFile&) = delete;
  ~ResidualFile() {
    file_.close();
    ::unlink(path_.c_str());
  }

  Index rows() const { return static_cast<Index>(offsets_.size()) - 1; }

  /// Adds the stream x (tokens, C) of the next row of the data set.
  void append(View<const Scalar<B>> x) {
    require<ShapeError>(x.cols() == width_, "ResidualFile::append: x has {} columns, expected {}", x.cols(), width_);
    std::vector<Scalar<B>> host(static_cast<std::size_t>(x.size()));
    download(backend_, x.data, host.data(), x.size());
    FileWriter(file_.get(), path_.string()).write(std::as_bytes(std::span(host)));
    offsets_.push_back(offsets_.back() + x.rows());
  }

  /// The streams of some rows, one below the other, in the backend's memory.
  Array<B> read(std::span<const Index> rows) const {
    Index tokens = 0;
    for (const Index row : rows) tokens += length(row);
    std::vector<Scalar<B>> host(static_cast<std::size_t>(tokens * width_));
    auto to = std::as_writable_bytes(std::span(host));
    for (const Index row : rows) {
      const auto bytes = byte_count(length(row));
      read_bytes(to.first(bytes), byte_count(offsets_[static_cast<std::size_t>(row)]));
      to = to.subspan(bytes);
    }
    Array<B> x(Shape{tokens, width_});
    upload(backend_, host.data(), x.data(), x.size());
    return x;
  }

 private:
  std::size_t byte_count(Index tokens) const { return sizeof(Scalar<B>) * static_cast<std::size_t>(tokens * width_); }

  Index length(Index row) const {
    require<DataError>(row >= 0 && row < rows(), "ResidualFile: row {}, expected 0 to {}", row, rows() - 1);
    return offsets_[static_cast<std::size_t>(row) + 1] - offsets_[static_cast<std::size_t>(row)];
  }

  void read_bytes(std::span<std::byte> to, std::size_t offset) const {
    while (!to.empty()) {
      const ssize_t count = ::pread(file_.get(), to.data(), to.size(), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      require<FileError>(count > 0, "{}: cannot read {} bytes at offset {}: {}", path_.string(), to.size(), offset,
                         count < 0 ? detail::system_message(errno) : "the file ends there");
      to = to.subspan(static_cast<std::size_t>(count));
      offset += static_cast<std::size_t>(count);
    }
  }

  B backend_;
  std::filesystem::path path_;
  Index width_;
  detail::Descriptor file_;
  std::vector<Index> offsets_{0};  // tokens before each row
};

}  // namespace lolcats
