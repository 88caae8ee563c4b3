// The fused forward pass for windows that forward.cuh does not take: any window, tile by tile.
//
// The sums over far keys before each tile come from the walk that the backward pass makes, too (tile_states.cuh); then all tiles
// of queries are independent.  About half the speed of forward.cuh, whose sums never leave the chip.
#pragma once

#include <lolcats/ops/attention/hopper/tile_features.cuh>
#include <lolcats/ops/attention/hopper/tile_walks.cuh>

#include <climits>
#include <vector>

namespace lolcats::hopper {

namespace tile_pass {

/// Where the kernel writes; y (M, H * D), the statistics (M, H) or null.
struct Outputs {
  bf16* y = nullptr;
  float* largest = nullptr;
  float* inverse_denominator = nullptr;
  std::int32_t* largest_at = nullptr;
};

template <class Map, int D>
struct TilesShared {
  using Sizes = TileSizes<Map, D>;
  alignas(1024) std::byte q[Sizes::tile_bytes];        // (64, D); y at the end
  alignas(1024) std::byte map[Sizes::weight_bytes];    // (D, f)
  alignas(1024) std::byte slot[2][Sizes::pair_bytes];  // what a step reads: k and v, a state, or phi_k and v
  alignas(16) float normalizer[2][Sizes::F];
  Barrier q_full, map_full, slot_full[2];
};

/// What a tile of queries reads, one after the other: pairs of near tiles, parts of the state, pairs of mixed tiles.
template <class W>
struct Steps {
  Partners partners;
  __device__ __forceinline__ int near() const { return partners.template near_and_sinks<W>(); }
  __device__ __forceinline__ int mixed() const { return ::max(0, partners.mixed_end - partners.mixed_begin); }
  __device__ __forceinline__ int count() const { return near() + partners.state_parts() + mixed(); }
};

/// y (64, D) of tiles of one head, one warpgroup per block, grid (H, parts); a block takes every `parts`-th tile:
///
///   near   p = gamma exp(q.k / sqrt(D) - c), c the largest so far; y += p v
///   far    y += beta phi_q S, and for mixed tiles beta (phi_q phi_k^T) v; both over the sum of all weights
///
/// One thread fetches two steps ahead, across tiles.
template <class Map, int D, class W>
__global__ __launch_bounds__(group_threads, 2) void tiles_kernel(const __grid_constant__ TileArguments<W> a,
                                                                 Outputs out) {
  using Sizes = TileSizes<Map, D>;
  constexpr int F = Sizes::F, f = Sizes::f;
  extern __shared__ __align__(1024) std::byte memory[];
  auto& shared = *reinterpret_cast<TilesShared<Map, D>*>(memory);
  const int thread = threadIdx.x, warp = thread / 32, lane = lane_id();
  const int head = blockIdx.x, parts = gridDim.y;
  const int key_column = head / a.group() * D;
  const Index stride = static_cast<Index>(a.query_heads) * D;

  const auto tile_at = [&](int i) { return a.table.ordered(Side::queries, i); };
  const auto steps_of = [&](const TileTable::Tile& tile) {
    return Steps<W>{partners_of<Side::queries>(a.window, tile, a.state.chunk)};
  };
  const auto load_q = [&](int i) {
    shared.q_full.arrive_expecting(Sizes::tile_bytes);
    load_tile<tile_rows, D>(shared.q, a.q, tile_at(i).first_row(), head * D, shared.q_full);
  };
  // The next step to fetch; only one thread's counts.
  int fetch_tile = blockIdx.y, fetch_step = 0, fetched = 0;
  const auto fetch = [&] {
    if (fetch_tile >= a.tiles()) return;
    const TileTable::Tile tile = tile_at(fetch_tile);
    const auto steps = steps_of(tile);
    const Partners& p = steps.partners;
    std::byte* const slot = shared.slot[fetched & 1];
    Barrier& full = shared.slot_full[fetched & 1];
    int step = fetch_step;
    if (step < steps.near()) {
      const int row = tile.row + p.template near_or_sinks<W>(step) * tile_rows;
      full.arrive_expecting(2 * Sizes::tile_bytes);
      load_tile<tile_rows, D>(slot, a.k, row, key_column, full);
      load_tile<tile_rows, D>(slot + Sizes::tile_bytes, a.v, row, key_column, full);
    } else if ((step -= steps.near()) < p.state_parts()) {
      const Index record = step == 0 ? a.record(head, tile, p.folded) : a.prefix(head, tile, p.chunk);
      const std::byte* const states = step == 0 ? a.state.states : a.state.prefixes;
      const float* const normalizers = step == 0 ? a.state.normalizers : a.state.prefix_normalizers;
      full.arrive_expecting(Sizes::state_bytes + Sizes::normalizer_bytes);
      load_linear(slot, states + record * Sizes::state_bytes, Sizes::state_bytes, full);
      load_linear(shared.normalizer[fetched & 1], normalizers + record * F, Sizes::normalizer_bytes, full);
    } else {
      const int j = p.mixed_begin + step - p.state_parts();
      full.arrive_expecting(Sizes::phi_bytes + Sizes::tile_bytes);
      load_linear(slot, a.state.features + a.record(head, tile, j) * Sizes::phi_bytes, Sizes::phi_bytes, full);
      load_tile<tile_rows, D>(slot + Sizes::phi_bytes, a.v, tile.row + j * tile_rows, key_column, full);
    }
    ++fetched;
    if (++fetch_step < steps.count()) return;
    // A tile that reads nothing has no step: the first tile of a window without near keys is its own mixed one.
    fetch_step = 0;
    fetch_tile += parts;
  };

  if (thread == 0) {
    shared.q_full.init(1);
    shared.map_full.init(1);
    for (Barrier& b : shared.slot_full) b.init(1);
    barrier_init_fence();
    load_q(blockIdx.y);
    fetch();
    fetch();
    shared.map_full.arrive_expecting(Sizes::weight_bytes);
    load_tile<D, f>(shared.map, a.query_map, head * D, 0, shared.map_full);
  }
  __syncthreads();
  const float beta = a.beta(head), log2_gamma = a.log2_gamma(head);
  shared.map_full.wait(0);

  int used = 0, q_parity = 0;  // steps so far
#pragma unroll 1
  for (int i = blockIdx.y; i < a.tiles(); i += parts) {
    const TileTable::Tile tile = tile_at(i);
    const Partners p = steps_of(tile).partners;
    int begin[2], end[2];  // of the near keys of this thread's rows
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int n = tile.position() + fragment_row_in_tile(warp, r);
      begin[r] = static_cast<int>(a.window.window.begin(n));
      end[r] = n + 1;
    }
    auto y = Fragment<D>::from([](int) { return 0.0F; });  // (64, D)
    PerRow weight{{0, 0}};                                 // this thread's part of the sum of weights
    PerRow largest{{-1e30F, -1e30F}};                      // of q.k
    int largest_at[2] = {0, 0};

    // The next step's slot; rows of values past the end of the sequence become zero, as 0 * NaN is NaN.
    const auto wait_for_step = [&](int values, int j) {
      shared.slot_full[used & 1].wait((used >> 1) & 1);
      std::byte* const slot = shared.slot[used & 1];
      if (values >= 0 && tile.length - j * tile_rows < tile_rows) {
        zero_tail<D>(slot + values, tile.length - j * tile_rows, thread);
        __syncthreads();
      }
      return slot;
    };
    const auto finish_step = [&] {
      __syncthreads();  // all have read it
      ++used;
      if (thread == 0) fetch();
    };

    shared.q_full.wait(q_parity);
    q_parity ^= 1;
    if constexpr (W::has_near) {
#pragma unroll 1
      for (int i_near = 0; i_near < p.template near_and_sinks<W>(); ++i_near) {
        const int j = p.template near_or_sinks<W>(i_near);
        std::byte* const keys = wait_for_step(Sizes::tile_bytes, j);
        Fragment<tile_rows> s;  // (64, 64), q.k, then weights
        wgmma_fence();
        issue_product<D>(s, shared.q, keys, false);
        wgmma_commit();
        wgmma_wait();
        pin(s.x);
        float top[2] = {-INFINITY, -INFINITY};
#pragma unroll
        for (int e = 0; e < s.size; ++e) {
          const int r = fragment_row(e), key = j * tile_rows + fragment_column(e, lane);
          if ((key < begin[r] && key >= sinks_of<W>) || key >= end[r]) s.x[e] = -INFINITY;
          top[r] = fmaxf(top[r], s.x[e]);
        }
        float shrink[2], shift[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          top[r] = fmaxf(largest.of[r], quad_max(top[r]));
          shrink[r] = cuda::exp2_approx((largest.of[r] - top[r]) * score_exponent<D>);
          shift[r] = log2_gamma - top[r] * score_exponent<D>;
        }
        if (out.largest_at) {  // the first key that has it
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            int at = INT_MAX;
#pragma unroll
            for (int e = s.size - 1; e >= 0; --e) {
              if (fragment_row(e) == r && s.x[e] == top[r]) at = j * tile_rows + fragment_column(e, lane);
            }
            at = ::min(at, __shfl_xor_sync(~0U, at, 1));
            at = ::min(at, __shfl_xor_sync(~0U, at, 2));
            if (top[r] > largest.of[r]) largest_at[r] = at;
          }
        }
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          largest.of[r] = top[r];
          weight.of[r] *= shrink[r];
        }
#pragma unroll
        for (int e = 0; e < s.size; ++e) {
          const int r = fragment_row(e);
          s.x[e] = cuda::exp2_approx(fmaf(s.x[e], score_exponent<D>, shift[r]));
          weight.of[r] += s.x[e];
        }
#pragma unroll
        for (int e = 0; e < y.size; ++e) y.x[e] *= shrink[fragment_row(e)];
        std::uint32_t words[tile_rows / 4];
        pack(s, words);
        wgmma_fence();
        issue_row_product<tile_rows>(y, words, keys + Sizes::tile_bytes);
        wgmma_commit();
        wgmma_wait();
        pin(y.x);
        finish_step();
      }
    }

    if (p.far()) {
      std::uint32_t phi[F / 4];  // (64, F), times beta
      {
        Fragment<f> z;  // (64, f)
        wgmma_fence();
        issue_projection<D>(z, shared.q, shared.map);
        wgmma_commit();
        wgmma_wait();
        pin(z.x);
        add_bias<Map>(z, a.query_bias, head);
        pack_scaled_features<Map>(z, PerRow{{beta, beta}}, phi);
      }
#pragma unroll 1
      for (int part = 0; part < p.state_parts(); ++part) {
        const std::byte* const state = wait_for_step(-1, 0);
        wgmma_fence();
        issue_row_product<F>(y, phi, state);
        wgmma_commit();
        const float* const normalizer = shared.normalizer[used & 1];
#pragma unroll
        for (int j = 0; j < F / 8; ++j) {
          const float2 z = *reinterpret_cast<const float2*>(normalizer + 8 * j + 2 * (lane & 3));
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            weight.of[r] = fmaf(low_bf16(phi[2 * j + r]), z.x, weight.of[r]);
            weight.of[r] = fmaf(high_bf16(phi[2 * j + r]), z.y, weight.of[r]);
          }
        }
        wgmma_wait();
        pin(y.x);
        finish_step();
      }
#pragma unroll 1
      for (int j = p.mixed_begin; j < p.mixed_end; ++j) {
        const std::byte* const features = wait_for_step(Sizes::phi_bytes, j);
        Fragment<tile_rows> s;  // (64, 64), far weights
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < F / 16; ++k) {
          wgmma<Contiguous::k>(s.x, phi + 4 * k, columns_descriptor<tile_rows>(shared_address(features), k), k > 0);
        }
        wgmma_commit();
        wgmma_wait();
        pin(s.x);
#pragma unroll
        for (int e = 0; e < s.size; ++e) {
          const int r = fragment_row(e), key = j * tile_rows + fragment_column(e, lane);
          if (key >= begin[r] || key >= end[r]) s.x[e] = 0;
          weight.of[r] += s.x[e];
        }
        std::uint32_t words[tile_rows / 4];
        pack(s, words);
        wgmma_fence();
        issue_row_product<tile_rows>(y, words, features + Sizes::phi_bytes);
        wgmma_commit();
        wgmma_wait();
        pin(y.x);
        finish_step();
      }
    }

    PerRow inverse;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float denominator = quad_sum(weight.of[r]);
      if constexpr (!W::has_near) denominator += static_cast<float>(linear_epsilon);
      inverse.of[r] = 1 / denominator;
      const int row = fragment_row_in_tile(warp, r);
      if (out.inverse_denominator && (lane & 3) == 0 && row < tile.valid()) {
        const Index n = static_cast<Index>(tile.first_row() + row) * a.query_heads + head;
        out.inverse_denominator[n] = inverse.of[r];
        out.largest[n] = largest.of[r] * score_scale<D>;
        out.largest_at[n] = largest_at[r];
      }
    }
    std::uint32_t words[D / 4];
    pack(y * inverse, words);
    store_tile<tile_rows, D>(shared.q, 0, words, warp);
    __syncthreads();
    write_rows<D>(shared.q, out.y + static_cast<Index>(tile.first_row()) * stride + head * D, stride, tile.valid(),
                  false, thread);
    async_proxy_fence();
    __syncthreads();
    if (thread == 0 && i + parts < a.tiles()) load_q(i + parts);
  }
}

/// The launches for one batch of at most TileTable::capacity sequences.
template <class Map, int D, class W>
void launch(const Cuda<bf16>& backend, const AttentionProblem<Cuda<bf16>, W>& problem, const Outputs& out,
            std::span<const Extent> extents) {
  static_assert(sizeof(TilesShared<Map, D>) <= 232448, "more shared memory than Hopper has");
  const cudaStream_t stream = backend.stream();
  TileArguments<W> a = arguments_of<Map, D>(problem, extents);
  std::vector<cuda::Scratch<std::byte>> scratch;
  allocate_states<Map, D>(a, [&](Index n) { return scratch.emplace_back(n, stream).data(); });
  launch_walk<Side::keys, Map, D>(a, stream);
  const int parts = std::clamp(2 * cuda::device().multiprocessors / a.query_heads, 1, a.tiles());
  cuda::launch("attention forward by tiles", tiles_kernel<Map, D, W>,
               {dim3(a.query_heads, parts), group_threads, stream, sizeof(TilesShared<Map, D>)}, a, out);
}

}  // namespace tile_pass

/// AttentionKernel::forward for problems that `tile_pass::takes_tiles`.
template <class Map, class W>
void forward_by_tiles(const Cuda<bf16>& backend, const AttentionProblem<Cuda<bf16>, W>& problem, View<bf16> y,
                      const AttentionStatistics<Cuda<bf16>>& statistics) {
  if (problem.sequences->padded()) backend.zero(y.data, y.size());
  const tile_pass::Outputs out{y.data, statistics.largest.data, statistics.inverse_denominator.data,
                                statistics.largest_at.data};
  tile_pass::for_tile_tables(problem.sequences->extents(), [&](std::span<const Extent> extents) {
    if (problem.heads.size == 128)
      tile_pass::launch<Map, 128>(backend, problem, out, extents);
    else
      tile_pass::launch<Map, 64>(backend, problem, out, extents);
  });
}

}  // namespace lolcats::hopper
