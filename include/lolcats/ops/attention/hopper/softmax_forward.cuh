// Causal softmax attention on Hopper: forward.
//
//   y_n = sum_j p_nj v_j / den_n,    p_nj = exp(s_nj - c_n),    j in [begin(n), n] or among the sinks
//   s_nj = q_n.k_j / sqrt(D),        c_n = max_j s_nj
//
// One block walks over (query tile, head): two warpgroups hold 64 query rows each, y in registers, and meet the key
// tiles from the diagonal down with a running maximum; a producer warp feeds rings of key and value tiles.  The
// warpgroups take turns: one has the tensor cores while the other exponentiates.  Within a warpgroup the scores of the
// next tile are computed beside the product of this one's weights with its values.
// After FlashAttention-3: Shah et al. 2024, arXiv:2407.08608.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/attention/hopper/fragment.cuh>
#include <lolcats/ops/attention/hopper/softmax_producer.cuh>

#include <cmath>
#include <limits>
#include <numbers>

namespace lolcats::hopper {

namespace detail {

/// Row maxima, weights and row sums of one warpgroup's 64 rows, tile after tile.
struct RunningSoftmax {
  float largest[2];  // of raw scores q.k
  float sum[2];      // this thread's share

  /// Scores (64, 128) become weights exp((s - largest) scale); returns what earlier sums must be multiplied with.
  template <bool First>
  __device__ __forceinline__ PerRow weigh(float (&s)[64], float scale_log2) {
    float top[2] = {s[0], s[2]};
#pragma unroll
    for (int i = 0; i < 64; ++i) top[fragment_row(i)] = fmaxf(top[fragment_row(i)], s[i]);
    PerRow shrink{{0, 0}};
    float shift[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      top[r] = quad_max(top[r]);
      if constexpr (!First) {
        top[r] = fmaxf(top[r], largest[r]);
        shrink.of[r] = cuda::exp2_approx((largest[r] - top[r]) * scale_log2);
      }
      largest[r] = top[r];
      shift[r] = top[r] * scale_log2;
      sum[r] = First ? 0 : sum[r] * shrink.of[r];
    }
#pragma unroll
    for (int i = 0; i < 64; ++i) {
      s[i] = cuda::exp2_approx(fmaf(s[i], scale_log2, -shift[fragment_row(i)]));
      sum[fragment_row(i)] += s[i];
    }
    return shrink;
  }
};

template <int D, class W>
__device__ __forceinline__ void consume_softmax_forward(const SoftmaxForwardArguments<W>& a,
                                                        SoftmaxForwardShared<D>& shared, int consumer) {
  using Shared = SoftmaxForwardShared<D>;
  constexpr int turn = 1, staging = 3;  // named barriers: turn + consumer, staging + consumer
  constexpr float log2_e = std::numbers::log2e_v<float>;
  constexpr int tile_bytes = Shared::tile_size * static_cast<int>(sizeof(bf16));
  const float scale_log2 = a.scale * log2_e;
  const int warp = (static_cast<int>(threadIdx.x) % warpgroup) / 32;
  const std::uint32_t q_tiles = shared_address(shared.q), k_tiles = shared_address(shared.k),
                      v_tiles = shared_address(shared.v);
  RingPosition<2> q_at;
  RingPosition<Shared::stages> k_at, v_at;

  const auto take_turn = [&] { named_barrier(turn + consumer, 2 * warpgroup); };
  const auto pass_turn = [&] { named_barrier_arrive(turn + (1 - consumer), 2 * warpgroup); };
  const auto release = [&](Barrier& empty) {
    if (lane_id() == 0) empty.arrive();
  };
  if (consumer == 1) pass_turn();  // warpgroup 0 begins

  for (DearestFirst item(a.extents, a.query_heads); item; item.advance()) {
    if (SoftmaxQueries(a, item.extent()).skip(item.query_tile())) continue;
    const int last = item.query_tile();
    const KeyTiles tiles(a.window, last);
    const int top_row = last * softmax_tile + 64 * consumer;     // first query of this warpgroup
    const int own_row = top_row + 16 * warp + (lane_id() >> 2);  // first query of this thread; the other is 8 below
    const int begin[2] = {static_cast<int>(a.window.begin(own_row)), static_cast<int>(a.window.begin(own_row + 8))};
    const int edge =
        static_cast<int>(a.window.begin(top_row + 63));  // tiles that start before it have keys outside some window
    const std::uint32_t q_tile = q_tiles + static_cast<std::uint32_t>(q_at.stage * tile_bytes) +
                                 64 * panel_row_bytes * static_cast<std::uint32_t>(consumer);

    float s[64];          // scores, then weights (64, 128)
    float y[D / 2];       // (64, D)
    std::uint32_t p[32];  // weights as factors (64, 128)
    RunningSoftmax softmax;
#pragma unroll
    for (int i = 0; i < D / 2; ++i) y[i] = 0;

    const auto begin_scores = [&] {  // s = q k^T
      shared.k_full[k_at.stage].wait(k_at.phase);
      const std::uint32_t k_tile = k_tiles + static_cast<std::uint32_t>(k_at.stage * tile_bytes);
      wgmma_fence();
#pragma unroll
      for (int i = 0; i < D / 16; ++i) {
        wgmma<Contiguous::k, Contiguous::k>(s, columns_descriptor<softmax_tile>(q_tile, i),
                                            columns_descriptor<softmax_tile>(k_tile, i), i > 0);
      }
      wgmma_commit();
    };
    const auto begin_values = [&] {  // y += p v
      shared.v_full[v_at.stage].wait(v_at.phase);
      const std::uint32_t v_tile = v_tiles + static_cast<std::uint32_t>(v_at.stage * tile_bytes);
      wgmma_fence();
#pragma unroll
      for (int i = 0; i < softmax_tile / 16; ++i)
        wgmma<Contiguous::mn>(y, p + 4 * i, rows_descriptor<softmax_tile>(v_tile, i));
      wgmma_commit();
    };
    const auto end_scores = [&] {
      pin(s);
      release(shared.k_empty[k_at.stage]);
      k_at.advance();
    };
    const auto end_values = [&] {
      wgmma_wait<0>();
      pin(y);
      release(shared.v_empty[v_at.stage]);
      v_at.advance();
    };
    const auto mask = [&](int tile) {
      const int key = tile * softmax_tile;
      if (key + softmax_tile - 1 <= top_row && key >= edge) return;
      const int lane = lane_id();
      const int sinks_end = tiles.starts_with_sinks(tile) ? key + KeyTiles<W>::sinks : 0;
#pragma unroll
      for (int i = 0; i < 64; ++i) {
        const int r = fragment_row(i), at = key + fragment_column(i, lane);
        if (at > own_row + 8 * r || (at < begin[r] && at >= sinks_end)) s[i] = -std::numeric_limits<float>::infinity();
      }
    };
    const auto pack_weights = [&] {
#pragma unroll
      for (int i = 0; i < 32; ++i) p[i] = pack_bf16(s[2 * i], s[2 * i + 1]);
    };

    shared.q_full[q_at.stage].wait(q_at.phase);
    take_turn();
    begin_scores();
    pass_turn();
    wgmma_wait<0>();
    end_scores();
    mask(last);
    softmax.weigh<true>(s, scale_log2);
    pack_weights();
#pragma unroll 1
    for (int tile = tiles.behind(last); tiles.has(tile); tile = tiles.behind(tile)) {
      take_turn();
      begin_scores();
      begin_values();
      pass_turn();
      wgmma_wait<1>();
      end_scores();
      mask(tile);
      const PerRow shrink = softmax.weigh<false>(s, scale_log2);
      end_values();
#pragma unroll
      for (int i = 0; i < D / 2; ++i) y[i] *= shrink.of[fragment_row(i)];
      pack_weights();
    }
    begin_values();
    end_values();

    // Out: through this warp's rows of the query tile, which nobody reads any more.
    const auto& extent = item.extent();
    const SoftmaxQueries queries(a, extent);  // found again: there are no registers to keep it in
    const float sum[2] = {quad_sum(softmax.sum[0]), quad_sum(softmax.sum[1])};
    const PerRow inverse{{1 / sum[0], 1 / sum[1]}};
    if (a.largest && (lane_id() & 3) == 0) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (own_row + 8 * r >= extent.length) continue;
        const Index at = static_cast<Index>(extent.row + own_row + 8 * r) * a.query_heads + item.head();
        a.largest[at] = softmax.largest[r] * a.scale;
        a.inverse_denominator[at] = inverse.of[r];
      }
    }
    named_barrier(staging + consumer, warpgroup);
    const int warp_row = top_row + 16 * warp;
    const Index stride = static_cast<Index>(a.query_heads) * D;
    store_rows<softmax_tile, D>(y, inverse.of[0], inverse.of[1],
                                q_tiles + static_cast<std::uint32_t>(q_at.stage * tile_bytes),
                                64 * consumer + 16 * warp, a.y + (queries.row + warp_row) * stride + item.head() * D,
                                stride, extent.length - warp_row, false, queries.first - warp_row);
    async_proxy_fence();
    __syncwarp();
    release(shared.q_empty[q_at.stage]);
    q_at.advance();
  }
}

template <int D, class W>
__global__ __launch_bounds__(3 * warpgroup,
                             1) void softmax_forward_kernel(const __grid_constant__ SoftmaxForwardArguments<W> a,
                                                            const __grid_constant__ CUtensorMap q,
                                                            const __grid_constant__ KeyBoxes<(sinks_of<W> > 0)> k,
                                                            const __grid_constant__ KeyBoxes<(sinks_of<W> > 0)> v) {
  using Shared = SoftmaxForwardShared<D>;
  extern __shared__ __align__(1024) std::uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) {
    constexpr int warps = 8;  // that read a tile
    for (int i = 0; i < 2; ++i) {
      shared.q_full[i].init(1);
      shared.q_empty[i].init(warps);
    }
    for (int i = 0; i < Shared::stages; ++i) {
      shared.k_full[i].init(1);
      shared.v_full[i].init(1);
      shared.k_empty[i].init(warps);
      shared.v_empty[i].init(warps);
    }
    shared.raw.init(1);
    barrier_init_fence();
  }
  __syncthreads();
  const int role = static_cast<int>(threadIdx.x) / warpgroup;
  if (role == 0) {
    shrink_registers<40>();
    if (threadIdx.x < 32) feed_softmax_forward<D>(a, q, k, v, shared);
  } else {
    grow_registers<232>();
    consume_softmax_forward<D>(a, shared, role - 1);
  }
}

/// The launches; `resumed` is null, or has a member per extent in device memory.
template <class W>
void softmax_forward(const Cuda<bf16>& backend, const AttentionProblem<Cuda<bf16>, W>& p, std::span<const Extent> all,
                     const Resumed* resumed, View<bf16> y, const AttentionStatistics<Cuda<bf16>>& statistics) {
  const auto run = [&]<int D>() {
    const CUtensorMap q = tensor_map(p.q.data, p.q.rows(), p.q.cols(), softmax_tile);
    const auto k = key_boxes<W>(p.k), v = key_boxes<W>(p.v);
    for (const TiledExtents& extents : tiled_extents(all)) {
      const SoftmaxForwardArguments<W> arguments{.extents = extents,
                                                 .window = p.window,
                                                 .query_heads = static_cast<int>(p.heads.queries),
                                                 .group = static_cast<int>(p.heads.group()),
                                                 .scale = 1 / std::sqrt(static_cast<float>(D)),
                                                 .y = y.data,
                                                 .largest = statistics.largest.data,
                                                 .inverse_denominator = statistics.inverse_denominator.data,
                                                 .resumed = resumed};
      Index items = 0;
      for (int n = 0; n < extents.count; ++n) items += extents.tiles(n) * p.heads.queries;
      const auto blocks = static_cast<unsigned>(std::min<Index>(items, cuda::device().multiprocessors));
      cuda::launch("softmax_forward", detail::softmax_forward_kernel<D, W>,
                   {blocks, 3 * warpgroup, backend.stream(), sizeof(SoftmaxForwardShared<D>)}, arguments, q, k, v);
    }
  };
  if (p.heads.size == 128) {
    run.template operator()<128>();
  } else {
    run.template operator()<64>();
  }
}

}  // namespace detail

/// Can `softmax_forward` and `softmax_backward` do this problem?  Heads of 64 or 128, on a Hopper GPU; sinks beside a window.
template <class W>
bool softmax_takes(const AttentionProblem<Cuda<bf16>, W>& p) {
  return W::has_near && sinks_of<W> <= most_fused_sinks && p.window.span() > 0 && cuda::device().capability == 90 && takes_width(p.heads.size) &&
         p.q.rows() > 0 && p.q.rows() < std::numeric_limits<int>::max() - softmax_tile && aligned_for_boxes(p.q.data, p.k.data, p.v.data);
}

/// y (M, H * D) and, where the views are not null, `largest` and `inverse_denominator`.  `largest_at` stays unset:
/// without far keys the scale c_n cancels, no gradient flows through it and no backward pass asks where it was.
template <class W>
void softmax_forward(const Cuda<bf16>& backend, const AttentionProblem<Cuda<bf16>, W>& p, View<bf16> y,
                     const AttentionStatistics<Cuda<bf16>>& statistics) {
  if (p.sequences->padded()) backend.zero(y.data, y.size());
  detail::softmax_forward(backend, p, p.sequences->extents(), nullptr, y, statistics);
}

/// y (M, H * D) of sequences that go on behind tokens read before: as forward_resumed, without sums.
template <class W>
void softmax_forward_resumed(const Cuda<bf16>& backend, const AttentionProblem<Cuda<bf16>, W>& p,
                             std::span<const Extent> extents, const Resumed* resumed, View<bf16> y) {
  detail::softmax_forward(backend, p, extents, resumed, y, {});
}

}  // namespace lolcats::hopper
