// The fused forward pass: sizes, shared memory and the products that its roles share.
#pragma once

#include <lolcats/ops/attention/hopper/forward_plan.cuh>
#include <lolcats/ops/attention/hopper/sink_rows.cuh>

#include <numbers>

namespace lolcats::hopper::forward_pass {

/// A swizzled tile (Rows, Columns) of bf16 in shared memory, panel by panel of 64 columns.
template <int Rows, int Columns>
struct alignas(1024) SharedTile {
  static constexpr int bytes = Rows * Columns * 2;
  std::byte memory[bytes];

  __device__ __forceinline__ std::uint32_t address() const { return shared_address(memory); }
  __device__ __forceinline__ std::byte* panel(int p) { return memory + p * (Rows * panel_row_bytes); }

  /// One thread fetches rows [row, row + Rows), columns [column, column + Columns) of `map`; `full` counts the bytes.
  __device__ __forceinline__ void load(const CUtensorMap& map, int row, int column, Barrier& full) {
#pragma unroll
    for (int p = 0; p < Columns / panel_columns; ++p) load_box(panel(p), map, row, column + p * panel_columns, full);
  }
};

/// `Stages` tiles that the producer fills and others empty, one after the other.
template <class Tile, int Stages>
struct Ring {
  Tile tiles[Stages];

  /// The tile of use `i` (0, 1, ...) of the ring.
  __device__ __forceinline__ Tile& at(int i) { return tiles[i % Stages]; }

  struct Barriers {
    Barrier full[Stages], empty[Stages];
    __device__ __forceinline__ void init(int readers) {
      for (int s = 0; s < Stages; ++s) full[s].init(1), empty[s].init(readers);
    }
    /// Waits until use `i` has been filled.
    __device__ __forceinline__ void wait_full(int i) const { full[i % Stages].wait((i / Stages) & 1); }
    __device__ __forceinline__ void release(int i) { empty[i % Stages].arrive(); }
    /// The producer waits until use i - Stages has been read by all.
    __device__ __forceinline__ void wait_empty(int i) const {
      if (i >= Stages) empty[i % Stages].wait((i / Stages - 1) & 1);
    }
  };

  /// The producer fetches use `i`.
  __device__ __forceinline__ void load(int i, Barriers& barriers, const CUtensorMap& map, int row, int column) {
    Barrier& full = barriers.full[i % Stages];
    full.arrive_expecting(Tile::bytes);
    at(i).load(map, row, column, full);
  }
};

/// Sizes that a map, a head size and a window give: f columns of W, F features, D.
template <class Map_, class Window_, int Size>
struct Sizes {
  using Map = Map_;
  using Window = Window_;
  using Tiles = WindowTiles<Window>;
  static constexpr int D = Size;
  static constexpr int f = static_cast<int>(Map::projected);
  static constexpr int F = f * Map::count;
  static_assert((f == 64 || f == 128) && (F == 64 || F == 128) && (D == 64 || D == 128));
  static constexpr int lag = Tiles::lag;
  static constexpr bool near = Window::has_near;
  static constexpr int sinks = static_cast<int>(sinks_of<Window>);
  static constexpr int state_floats = F * D + F;

  // Shared memory holds the weights first; what is left decides the stages.
  static constexpr bool wide = f == 128 && D == 128;
  static constexpr int q_stages = wide ? 1 : 2;
  // Without a previous tile an output warpgroup reads every other use of a ring: an even number keeps it to its own slots,
  // or it could take the phase before the last for the one it waits for.
  static constexpr int k_stages = lag == 1 ? 3 : 2;
  static constexpr int v_stages = wide ? 2 : lag == 1 ? 3 : 4;
};

/// The normalizer z (F) as a factor (F, 8) of products: columns 0, 1, 2 hold bf16 parts that add up to z in fp32, the
/// others zeros.  Without swizzle: 8 x 8 cores, column by column of 8 features.
template <int F>
struct SplitNormalizer {
  std::uint16_t parts[F / 8][8][8];  // (feature / 8, column, feature % 8)

  __device__ __forceinline__ std::uint64_t descriptor(int s) const {
    return plain_descriptor(shared_address(parts[2 * s]), 128, 128);
  }
  __device__ __forceinline__ void store(int feature, float z) {
    float rest = z;
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      const std::uint32_t part = pack_bf16(rest, 0.0F);
      parts[feature / 8][c][feature % 8] = static_cast<std::uint16_t>(part);
      rest -= low_bf16(part);
    }
  }
};

/// How near and far keys of one head are mixed: gamma = sigmoid(x) beside 1, or beside beta = 1 - gamma.
///
/// Far weights enter as they are; with beta the whole row is divided by it, which only the denominator notices.
struct Mixing {
  float log2_near;     // log2 of gamma, or of gamma / beta = e^x
  float inverse_beta;  // 1, or 1 / beta = 1 + e^x

  __device__ __forceinline__ void find(const bf16* factors, int h, bool affine) {
    constexpr float log2_e = std::numbers::log2e_v<float>;
    log2_near = 0, inverse_beta = 1;
    if (!factors) return;
    const float x = factors[h];
    if (affine) {
      const float bounded = fminf(x, 60);  // far keys weigh nothing beside e^60
      log2_near = bounded * log2_e;
      inverse_beta = 1 + expf(bounded);
    } else {
      log2_near = -log2_e * (x > 0 ? log1pf(expf(-x)) : log1pf(expf(x)) - x);
    }
  }
};

/// Keys and values of sinks, for tiles of queries that do not compare the first tile of keys.
template <int D, bool Sinks>
struct SinkMemory {};
template <int D>
struct SinkMemory<D, true> {
  SinkRows<D> k, v;

  template <class W>
  __device__ __forceinline__ void find(const Parameters<W>& p, const Walk& walk, int h) {
    const int stride = p.heads / p.group * D, counted = ::min(static_cast<int>(sinks_of<W>), walk.length);
    const Index first = static_cast<Index>(walk.row) * stride + h / p.group * D;
    k = {p.k + first, stride, counted};
    v = {p.v + first, stride, counted};
  }
};

/// Shared memory of the forward kernel.  What a block finds out once is here, too: the roles have no registers for it.
template <class S>
struct ForwardMemory {
  SharedTile<S::D, S::f> query_map, key_map;      // (D, f)
  SharedTile<tile, S::D> q[S::q_stages];          // (64, D)
  Ring<SharedTile<tile, S::D>, S::k_stages> k;    // (64, D)
  Ring<SharedTile<tile, S::D>, S::v_stages> v;    // (64, D)
  SharedTile<S::F, S::D> sums;                    // S (F, D)
  SharedTile<tile, S::F> phi[2];                  // phi_k (64, F), one per output warpgroup; later its outputs
  alignas(128) SplitNormalizer<S::F> normalizer;  // z
  alignas(128) std::uint16_t ones[16 * 8];        // (16, 8), without swizzle
  bf16 query_bias[S::f], key_bias[S::f];
  Walk walk;
  Mixing mixing;
  typename decltype(k)::Barriers k_barriers;
  typename decltype(v)::Barriers v_barriers;
  Barrier weights_full;
  Barrier q_full[2], q_empty[S::q_stages];  // full: one per output warpgroup, which waits for each of its phases
  Barrier phi_full[2], phi_empty[2];
  Barrier sums_full[2], sums_empty;
  SinkMemory<S::D, (S::sinks > 0)> sinks;
};

/// The tensor maps of a launch: boxes of 64 rows of q (M, H * D), k and v (M, G * D), and of D rows of the maps (H * D, f).
struct TensorMaps {
  CUtensorMap q, k, v, query_map, key_map;
};

/// Registers per thread of the roles; they start with 128 each.
inline constexpr int producer_registers = 24;
inline constexpr int state_registers = 168;
inline constexpr int output_registers = 160;
static_assert(producer_registers + state_registers + 2 * output_registers <= 512);

/// Warps that arrive at a barrier for a warpgroup: one lane each.
inline constexpr int warps = 4;

/// The rows of a thread in a tile of 64.
struct Rows {
  int first;  // in the tile; the other is first + 8
  __device__ __forceinline__ Rows() : first(16 * (static_cast<int>(threadIdx.x / 32) % warps) + lane_id() / 4) {}
  __device__ __forceinline__ int of(int r) const { return first + 8 * r; }
};

/// z (64, f) = x (64, D) W (D, f); issued, not waited for.
template <int D, int f>
__device__ __forceinline__ void project(Fragment<f>& z, std::uint32_t x, std::uint32_t w) {
#pragma unroll
  for (int s = 0; s < D / 16; ++s) {
    wgmma<Contiguous::k, Contiguous::mn>(z.x, columns_descriptor<tile>(x, s), rows_descriptor<D>(w, s), s > 0);
  }
}

/// scores (64, 64) = q (64, D) k (64, D)^T; issued, not waited for.
template <int D>
__device__ __forceinline__ void score(Fragment<tile>& scores, std::uint32_t q, std::uint32_t k) {
#pragma unroll
  for (int s = 0; s < D / 16; ++s) {
    wgmma<Contiguous::k, Contiguous::k>(scores.x, columns_descriptor<tile>(q, s), columns_descriptor<tile>(k, s),
                                        s > 0);
  }
}

/// Takes the sinks, the first keys of tile `key_tile`, out of its packed features (64, F): they are far for nobody.
template <class S>
__device__ __forceinline__ void drop_sinks(std::uint32_t (&phi)[S::F / 4], const Rows& rows, int key_tile) {
  if constexpr (S::sinks > 0) {
    if (key_tile > 0) return;
#pragma unroll
    for (int j = 0; j < S::F / 4; ++j) {
      if (rows.of(j & 1) < S::sinks) phi[j] = 0;
    }
  }
}

/// The block's threads fetch the bias of map `head`: (f), or one number for all.
template <class Map>
__device__ __forceinline__ void load_bias(bf16* to, const bf16* bias, int head, int thread, int threads) {
  if constexpr (Map::bias != Bias::none) {
    constexpr int f = static_cast<int>(Map::projected);
    for (int i = thread; i < f; i += threads) to[i] = bias[Map::bias == Bias::vector ? head * f + i : head];
  }
}
/// z + b.
template <class Map>
__device__ __forceinline__ void add_bias(Fragment<Map::projected>& z, const bf16* bias) {
  if constexpr (Map::bias != Bias::none) {
    const int first = 2 * (lane_id() & 3);
#pragma unroll
    for (int j = 0; j < Map::projected / 8; ++j) {
      const auto pair = *reinterpret_cast<const std::uint32_t*>(bias + 8 * j + first);
      const float b[2] = {low_bf16(pair), high_bf16(pair)};
#pragma unroll
      for (int i = 0; i < 4; ++i) z.x[4 * j + i] += b[i & 1];
    }
  }
}

/// A warp stores its 16 rows, from `row` on, of packed fragments (64, Columns) into a swizzled tile of `Rows` rows.
template <int Rows, int Columns>
__device__ __forceinline__ void store_rows(std::uint32_t tile_address, int row, const std::uint32_t* words) {
  const int lane = lane_id();
  const std::uint32_t at = tile_address + swizzled(row + (lane & 15), lane >> 4);
#pragma unroll
  for (int i = 0; i < Columns / 16; ++i) {
    store_matrices(
        (at ^ static_cast<std::uint32_t>((i & 3) << 5)) + static_cast<std::uint32_t>((i >> 2) * Rows * panel_row_bytes),
        words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
  }
}

/// A warpgroup zeroes the rows of v from `valid` on, which are behind the sequence: their weights are zero, but they may
/// hold NaN.  Its named barrier is `barrier`.
template <int D>
__device__ __forceinline__ void clear_tail(SharedTile<tile, D>& v, int valid, int barrier) {
  const int thread = static_cast<int>(threadIdx.x) % 128;
  for (int i = valid * 8 + thread; i < tile * 8; i += 128) {
#pragma unroll
    for (int panel = 0; panel < D / panel_columns; ++panel) {
      *reinterpret_cast<uint4*>(v.panel(panel) + i * 16) = uint4{0, 0, 0, 0};
    }
  }
  async_proxy_fence();
  named_barrier(barrier, 128);
}

/// Shared memory that this warp wrote is ready for the tensor cores: one arrival per warp.
__device__ __forceinline__ void publish(Barrier& barrier) {
  async_proxy_fence();
  __syncwarp();
  if (lane_id() == 0) barrier.arrive();
}
/// This warp has read what `barrier` guards.
__device__ __forceinline__ void arrive_per_warp(Barrier& barrier) {
  if (lane_id() == 0) barrier.arrive();
}

}  // namespace lolcats::hopper::forward_pass
