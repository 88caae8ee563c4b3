// What the general attention kernels know of a call: its sequences, its heads, its window as plain numbers.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/attention/attention.hpp>
#include <lolcats/ops/attention/cuda_tiles.cuh>

#include <cstddef>
#include <limits>
#include <optional>
#include <vector>

namespace lolcats::general {

/// One sequence.  Key j and query i count from the first that this call reads; key j is in the past of query i where
/// j <= offset + i.  Sinks come first, those that lie apart from the kept keys, too; query i's own key is number offset + i.
struct Segment {
  int q_row = 0;  // its first row in q and y
  int k_row = 0;  // its first row in k and v
  int queries = 0;
  int keys = 0;
  int offset = 0;      // keys before the first query's own
  int apart = 0;       // of these, sinks and cached keys that were kept apart: there may be gaps behind them
  int position = 0;    // of the first query in the sequence
  int query_tile = 0;  // its first tile of 64 queries, counted over all segments
  int key_tile = 0;    // the same for keys
  int chunk = 0;       // its first chunk of tiles, see Plan::split
  int leaving = 0;     // keys that a decoding state takes up when the call ends

  __host__ __device__ int query_tiles() const { return (queries + tile - 1) / tile; }
  __host__ __device__ int key_tiles() const { return (keys + tile - 1) / tile; }
};

/// Segments in device memory, or a single one as it is, as kernels take them.
struct Segments {
  const Segment* data = nullptr;
  int count = 0;
  Segment only;  // without data

  /// Rows [0, rows) as one sequence.
  static Segments one(Index rows) {
    const int n = static_cast<int>(rows);
    return {nullptr, 1, Segment{.queries = n, .keys = n}};
  }
  __device__ __forceinline__ Segment operator[](int index) const { return data ? data[index] : only; }

  /// Number of the segment whose tiles (or chunks), by the member that counts them, hold number `index`.
  __device__ __forceinline__ int index_of(int index, int Segment::*first) const {
    int low = 0, high = count;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (data[middle].*first <= index ? low : high) = middle;
    }
    return low;
  }
  __device__ __forceinline__ Segment find(int index, int Segment::*first) const {
    return (*this)[index_of(index, first)];
  }
};

/// Heads that a launch works on: all, or some key/value heads with their query heads.  `head` counts them from 0.
struct HeadRange {
  int queries = 0;   // H
  int keys = 0;      // G
  int group = 1;     // H / G
  int size = 0;      // D
  int features = 0;  // F
  int first = 0;     // query head number of head 0
  int count = 0;     // query heads

  __host__ __device__ int query_head(int head) const { return first + head; }
  __host__ __device__ int key_head(int head) const { return (first + head) / group; }
  __host__ __device__ int first_key_head() const { return first / group; }
  __host__ __device__ int key_heads() const { return count / group; }
};

/// Several device arrays in one allocation: `add` them, `allocate` once, read their addresses.
class Workspace {
 public:
  explicit Workspace(cudaStream_t stream) : stream_(stream) {}

  template <class T>
  class Piece {
   public:
    T* data() const { return space_ && size_ > 0 ? reinterpret_cast<T*>(space_->memory_->data() + offset_) : nullptr; }
    Index size() const { return size_; }

   private:
    friend Workspace;
    Workspace* space_ = nullptr;
    std::size_t offset_ = 0;
    Index size_ = 0;
  };

  template <class T>
  Piece<T> add(Index size) {
    Piece<T> piece;
    piece.space_ = this;
    piece.offset_ = bytes_;
    piece.size_ = size;
    bytes_ += (sizeof(T) * static_cast<std::size_t>(size) + 255) / 256 * 256;
    return piece;
  }
  void allocate() { memory_.emplace(static_cast<Index>(bytes_), stream_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

 private:
  std::optional<cuda::Scratch<std::byte>> memory_;
  cudaStream_t stream_;
  std::size_t bytes_ = 0;
};

/// The segments of a call on the host, and how many tiles they have.
class Plan {
 public:
  /// Every extent of a training pass or of the whole prompt: the keys are the queries' own.
  explicit Plan(const Sequences& sequences) {
    for (const Extent& e : sequences.extents()) {
      add(Segment{.q_row = static_cast<int>(e.row),
                  .k_row = static_cast<int>(e.row),
                  .queries = static_cast<int>(e.length),
                  .keys = static_cast<int>(e.length)});
    }
  }
  Plan() = default;

  void add(Segment segment) {
    require<ShapeError>(Index{segment.q_row} + segment.queries <= limit && Index{segment.k_row} + segment.keys <= limit,
                        "attention: {} rows, expected at most {} on a GPU", segment.k_row, limit);
    segment.query_tile = query_tiles;
    segment.key_tile = key_tiles;
    query_tiles += segment.query_tiles();
    key_tiles += segment.key_tiles();
    key_rows = std::max(key_rows, segment.k_row + segment.keys);
    segments.push_back(segment);
  }

  /// Cuts every segment into chunks of `tiles` tiles, which separate blocks work on.
  void split(int tiles) {
    chunk_tiles = tiles;
    chunks = 0;
    for (Segment& s : segments) {
      s.chunk = chunks;
      chunks += (std::max(s.query_tiles(), 1) + tiles - 1) / tiles;
    }
  }

  Workspace::Piece<Segment> reserve(Workspace& space) const {
    return space.add<Segment>(static_cast<Index>(segments.size()));
  }
  template <class T>
  Segments upload(const Cuda<T>& backend, const Workspace::Piece<Segment>& piece) const {
    backend.upload(segments.data(), piece.data(), static_cast<Index>(segments.size()));
    return {piece.data(), static_cast<int>(segments.size()), {}};
  }

  std::vector<Segment> segments;
  int query_tiles = 0;
  int key_tiles = 0;
  int chunk_tiles = 0;
  int chunks = 0;
  int key_rows = 0;  // rows that an array of one row per key needs

 private:
  static constexpr Index limit = std::numeric_limits<int>::max() / 2;
};

/// Where the block of at most 64 near keys ends that starts with key `block`: no block holds sinks and other keys.  `end`:
/// keys from there on are in everyone's future.
__device__ __forceinline__ int near_block_end(int block, int sinks, int end) {
  return min(block + tile, block < sinks ? min(sinks, end) : end);
}
/// Where the first such block starts, and the one behind a block that ended at `stop`; the window starts at `begin`.
__device__ __forceinline__ int first_near_block(int sinks, int begin) { return sinks > 0 ? 0 : begin; }
__device__ __forceinline__ int next_near_block(int stop, int sinks, int begin) {
  return stop < sinks ? stop : max(stop, begin);
}

/// The window as numbers, so that every other kernel is compiled once for all windows.  Sinks, the first sinks_of<W> keys of
/// a segment, are near for all queries, whatever these say.
///
/// By query row: keys before this are far, keys from it to the query's own are near.
template <class W>
__global__ void window_begins(Segments segments, W window, int* begins) {
  const Segment s = segments.find(static_cast<int>(blockIdx.x), &Segment::query_tile);
  const int i = (static_cast<int>(blockIdx.x) - s.query_tile) * tile + static_cast<int>(threadIdx.x);
  if (i >= s.queries) return;
  const Index first_key = static_cast<Index>(s.position) - s.offset;
  const Index begin = max(window.begin(static_cast<Index>(s.position) + i) - first_key, sinks_of<W>);
  begins[s.q_row + i] = static_cast<int>(min(max(begin, Index{0}), static_cast<Index>(s.offset) + i + 1));
}

/// By key row: queries from this on see the key as far; for backward passes only.
template <class W>
__global__ void window_ends(Segments segments, W window, int* ends) {
  const Segment s = segments.find(static_cast<int>(blockIdx.x), &Segment::key_tile);
  const int j = (static_cast<int>(blockIdx.x) - s.key_tile) * tile + static_cast<int>(threadIdx.x);
  if (j >= s.keys) return;
  const Index first_key = static_cast<Index>(s.position) - s.offset;
  int low = max(0, j - s.offset), high = s.queries;  // the first query whose begin is greater than j
  while (low < high) {
    const int middle = (low + high) / 2;
    if (window.begin(static_cast<Index>(s.position) + middle) - first_key > j)
      high = middle;
    else
      low = middle + 1;
  }
  ends[s.k_row + j] = low;
}

}  // namespace lolcats::general
