// Memory that is handed out by moving a pointer and taken back by moving it down again.
#pragma once

#include <lolcats/core/index.hpp>
#include <lolcats/tensor/tensor.hpp>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace lolcats {

/// A stack of blocks in memory space `Space`.  Rewinding keeps the blocks, so that the second of two equal training
/// steps allocates nothing.
template <class Space = Host>
class Arena {
 public:
  /// A position to rewind to.
  struct Mark {
    std::size_t block = 0;
    std::size_t used = 0;
  };

  /// First block size in bytes; later blocks double, up to a gibibyte.
  explicit Arena(std::size_t first_block = std::size_t{1} << 20) : next_block_(first_block) {}

  /// `bytes` of uninitialised memory, aligned to 256 bytes, valid until a rewind to an earlier mark.
  void* allocate(std::size_t bytes) {
    bytes = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
    while (at_.block < blocks_.size() && at_.used + bytes > block_bytes(at_.block)) at_ = {at_.block + 1, 0};
    if (at_.block == blocks_.size()) grow(bytes);
    auto* memory = static_cast<std::byte*>(static_cast<void*>(blocks_[at_.block].data())) + at_.used;
    at_.used += bytes;
    in_use_ = used_before(at_.block) + at_.used;
    peak_ = std::max(peak_, in_use_);
    return memory;
  }

  template <class T>
  View<T> allocate(const Shape& shape) {
    return {static_cast<T*>(allocate(sizeof(T) * static_cast<std::size_t>(shape.size()))), shape};
  }

  Mark mark() const { return at_; }
  /// Takes back everything that was handed out since `mark`.
  void rewind(Mark mark) { at_ = mark; }

  /// Most bytes that were ever in use, and bytes held.
  std::size_t peak_bytes() const { return peak_; }
  std::size_t held_bytes() const { return used_before(blocks_.size()); }

 private:
  static constexpr std::size_t alignment = 256;
  static constexpr std::size_t largest_block = std::size_t{1} << 30;  // unless one array is larger

  std::size_t block_bytes(std::size_t block) const { return static_cast<std::size_t>(blocks_[block].size()); }
  std::size_t used_before(std::size_t block) const {
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < block; ++i) bytes += block_bytes(i);
    return bytes;
  }
  void grow(std::size_t bytes) {
    const std::size_t size = std::max(bytes, next_block_);
    blocks_.emplace_back(Shape{static_cast<Index>(size)});
    next_block_ = std::min(std::max(next_block_, size) * 2, std::max(next_block_, largest_block));
    at_ = {blocks_.size() - 1, 0};
  }

  std::vector<Tensor<std::byte, Space>> blocks_;
  Mark at_;
  std::size_t next_block_;
  std::size_t in_use_ = 0;
  std::size_t peak_ = 0;
};

}  // namespace lolcats
