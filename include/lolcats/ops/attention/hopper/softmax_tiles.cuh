// The work of softmax attention: tiles of rows of ragged sequences, the dearest first.
#pragma once

#include <lolcats/ops/attention/attention.hpp>

#include <algorithm>
#include <span>
#include <vector>

namespace lolcats::hopper {

/// Rows of a query tile (forward) or of a key tile (backward).
inline constexpr int softmax_tile = 128;

/// Extents in the parameters of a kernel, longest first.  No copy to the device, nothing to keep alive; a batch of more
/// extents is cut into several launches.
struct TiledExtents {
  static constexpr int capacity = 128;
  struct Entry {
    int row;      // first row in the token matrix
    int length;   // rows
    int storage;  // where the extent's own tiles begin among those of all extents (the backward pass's scratch)
    int number;   // among the extents as they were given
  };
  int count = 0;
  Entry entries[capacity];

  /// Tiles of the longest extent.
  __host__ __device__ int levels() const { return count == 0 ? 0 : tiles(0); }
  __host__ __device__ int tiles(int n) const { return (entries[n].length + softmax_tile - 1) / softmax_tile; }
};

/// The extents in launches of at most `TiledExtents::capacity`, sorted together by falling length.
inline std::vector<TiledExtents> tiled_extents(std::span<const Extent> extents) {
  std::vector<TiledExtents::Entry> entries;
  int storage = 0;
  for (const Extent& e : extents) {
    entries.push_back(
        {static_cast<int>(e.row), static_cast<int>(e.length), storage, static_cast<int>(entries.size())});
    storage += static_cast<int>((e.length + softmax_tile - 1) / softmax_tile);
  }
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.length > b.length; });
  std::vector<TiledExtents> launches;
  for (std::size_t first = 0; first < entries.size(); first += TiledExtents::capacity) {
    TiledExtents& launch = launches.emplace_back();
    launch.count = static_cast<int>(std::min<std::size_t>(TiledExtents::capacity, entries.size() - first));
    std::copy_n(entries.begin() + static_cast<std::ptrdiff_t>(first), launch.count, launch.entries);
  }
  return launches;
}

/// Walks one block through its share of all (tile, extent, head), dearest first.
///
/// A causal tile costs its `level`: a query tile the number of key tiles up to its own, a key tile the number of query
/// tiles from its own on.  Items are ordered by falling level, then extent, then head, and dealt to the blocks of the
/// grid back and forth (0 ... n - 1, n - 1 ... 0, ...), which balances them without a counter.  The order also is one
/// in which every item's predecessors come earlier in some block's share: blocks may wait for each other along it.
class DearestFirst {
 public:
  __device__ __forceinline__ DearestFirst(const TiledExtents& extents, int heads)
      : extents_(extents), heads_(heads), level_(extents.levels()) {
    at_ = static_cast<int>(blockIdx.x);
    admit();
    settle();
  }

  /// False when the share is done.
  __device__ __forceinline__ explicit operator bool() const { return level_ > 0; }
  __device__ __forceinline__ int level() const { return level_; }
  __device__ __forceinline__ int head() const { return at_ % heads_; }
  __device__ __forceinline__ const TiledExtents::Entry& extent() const { return extents_.entries[at_ / heads_]; }
  /// The tile as a query tile, and as a key tile: both are that of `level` in their causal cost.
  __device__ __forceinline__ int query_tile() const { return level_ - 1; }
  __device__ __forceinline__ int key_tile() const { return extents_.tiles(at_ / heads_) - level_; }

  __device__ __forceinline__ void advance() {
    const int block = static_cast<int>(blockIdx.x), blocks = static_cast<int>(gridDim.x);
    at_ += forth_ ? 2 * (blocks - 1 - block) + 1 : 2 * block + 1;
    forth_ = !forth_;
    settle();
  }

 private:
  /// Extents of at least `level_` tiles are the first `members_`.
  __device__ __forceinline__ void admit() {
    while (members_ < extents_.count && extents_.tiles(members_) >= level_) ++members_;
  }
  __device__ __forceinline__ void settle() {
    while (level_ > 0 && at_ >= members_ * heads_) {
      at_ -= members_ * heads_;
      --level_;
      admit();
    }
  }

  const TiledExtents& extents_;
  int heads_;
  int level_;
  int members_ = 0;
  int at_ = 0;         // among the items of this level
  bool forth_ = true;  // direction of the deal
};

}  // namespace lolcats::hopper
