// Causal softmax attention on Hopper: backward.
//
//   p_nj = exp(s_nj - c_n) / den_n      g_nj = dy_n.v_j - dy_n.y_n      ds_nj = p_nj g_nj
//   dv_j = sum_n p_nj dy_n              dk_j = sum_n ds_nj q_n / sqrt(D)      dq_n = sum_j ds_nj k_j / sqrt(D)
//
// One block holds a tile of 128 keys of a key/value head and walks over the query tiles that see it, all query heads of
// the group at each.  dk and dv stay in registers (two warpgroups, 64 keys each) and no key is repeated.  Its share of dq
// goes through shared memory to fp32 sums in device memory; the key tiles of a query tile add in order, each waiting
// for its turn, so that the sums do not depend on timing.  Sinks: softmax_backward_sinks.cuh.
// After FlashAttention-3: Shah et al. 2024, arXiv:2407.08608.
#pragma once

#include <lolcats/ops/attention/hopper/softmax_backward_sinks.cuh>
#include <lolcats/ops/attention/hopper/softmax_backward_steps.cuh>
#include <lolcats/ops/attention/hopper/softmax_forward.cuh>

#include <numbers>

namespace lolcats::hopper {

namespace detail {

template <int D, bool Queries, class W>
__device__ __forceinline__ void consume_softmax_backward(const SoftmaxBackwardArguments<W>& a,
                                                         SoftmaxBackwardShared<D>& shared, int consumer) {
  using Shared = SoftmaxBackwardShared<D>;
  constexpr int exchange = 1;  // named barrier of both warpgroups
  constexpr float log2_e = std::numbers::log2e_v<float>;
  constexpr std::uint32_t query_bytes = softmax_query_tile * D * sizeof(bf16);
  constexpr std::uint32_t ds_bytes = softmax_tile * softmax_query_tile * sizeof(bf16);
  // Of dq each warpgroup computes 64 columns; where there are only 64, both compute them, as a product in a branch
  // would serialise all, and pass it on in turns.
  constexpr bool turns = D == 64;
  const float scale_log2 = a.scale * log2_e;
  const int thread = static_cast<int>(threadIdx.x) % warpgroup, warp = thread / 32;
  const std::uint32_t own =
      64 * panel_row_bytes * static_cast<std::uint32_t>(consumer);  // this warpgroup's rows in a panel of keys
  const std::uint32_t k_tile = shared_address(shared.k), v_tile = shared_address(shared.v);
  const std::uint32_t q_tiles = shared_address(shared.q), dy_tiles = shared_address(shared.dy),
                      ds_tiles = shared_address(shared.ds);
  RingPosition<Shared::stages> at;
  RingPosition<1> keys_at;
  RingPosition<Shared::dq_buffers> dq_at;
  int step = 0;
  // Every warp releases a slot once its own products have read it; where threads read or write numbers themselves (rows,
  // dq, staged dk and dv), each of them does.
  const auto release = [&](Barrier& empty) {
    __syncwarp();
    if (lane_id() == 0) empty.arrive();
  };

  for (DearestFirst item(a.extents, a.key_heads); item; item.advance()) {
    const auto& extent = item.extent();
    const QueryTiles tiles(a.window, extent.length, item.key_tile());
    const int steps = (tiles.last - tiles.first + 1) * a.group;
    const int top_key = item.key_tile() * softmax_tile + 64 * consumer;  // first key of this warpgroup

    float dk[D / 2], dv[D / 2];  // (64 keys, D)
    float s[32], dp[32];         // scores and weights; gradients of weights (64 keys, 64 queries)
    std::uint32_t p_words[16], ds_words[16];
#pragma unroll
    for (int i = 0; i < D / 2; ++i) dk[i] = dv[i] = 0;

    const auto begin_scores = [&](const RingPosition<Shared::stages>& from) {  // s = k q^T
      shared.q_full[from.stage].wait(from.phase);
      const std::uint32_t q_tile = q_tiles + static_cast<std::uint32_t>(from.stage) * query_bytes;
      wgmma_fence();
#pragma unroll
      for (int i = 0; i < D / 16; ++i) {
        wgmma<Contiguous::k, Contiguous::k>(s, columns_descriptor<softmax_tile>(k_tile + own, i),
                                            columns_descriptor<softmax_query_tile>(q_tile, i), i > 0);
      }
      wgmma_commit();
    };

    shared.keys_full.wait(keys_at.phase);
    begin_scores(at);
    wgmma_wait<0>();
    pin(s);
    int tile = tiles.last, heads_left = a.group;
#pragma unroll 1
    for (int left = steps; left > 0; --left) {
      const std::uint32_t q_tile = q_tiles + static_cast<std::uint32_t>(at.stage) * query_bytes;
      const std::uint32_t dy_tile = dy_tiles + static_cast<std::uint32_t>(at.stage) * query_bytes;
      const std::uint32_t ds_tile = ds_tiles + static_cast<std::uint32_t>(step & 1) * ds_bytes;
      const SoftmaxRows& rows = shared.rows[at.stage];

      shared.dy_full[at.stage].wait(at.phase);
      wgmma_fence();
#pragma unroll
      for (int i = 0; i < D / 16; ++i) {  // dp = v dy^T
        wgmma<Contiguous::k, Contiguous::k>(dp, columns_descriptor<softmax_tile>(v_tile + own, i),
                                            columns_descriptor<softmax_query_tile>(dy_tile, i), i > 0);
      }
      wgmma_commit();
      {
        const int lane = lane_id();
        const int query = tile * softmax_query_tile;
        const auto* shift = reinterpret_cast<const float2*>(rows.shift) + (lane & 3);
#pragma unroll
        for (int b = 0; b < 8; ++b) {
          const float2 x = shift[4 * b];
#pragma unroll
          for (int i = 4 * b; i < 4 * b + 4; ++i) s[i] = cuda::exp2_approx(fmaf(s[i], scale_log2, -((i & 1) ? x.y : x.x)));
        }
        const bool whole = top_key + 63 <= query && query + softmax_query_tile <= extent.length &&
                           a.window.begin(query + softmax_query_tile - 1) <= top_key;
        if (!whole) {
          const int own_key = top_key + 16 * warp + (lane >> 2);
#pragma unroll
          for (int c = 0; c < 16; ++c) {  // the thread's columns
            const int n = query + 8 * (c >> 1) + 2 * (lane & 3) + (c & 1);
            const int begin = n < extent.length ? static_cast<int>(a.window.begin(n)) : std::numeric_limits<int>::max();
#pragma unroll
            for (int r = 0; r < 2; ++r) {
              const int key = own_key + 8 * r;
              if (key > n || key < begin) s[4 * (c >> 1) + 2 * r + (c & 1)] = 0;
            }
          }
        }
      }
#pragma unroll
      for (int i = 0; i < 16; ++i) p_words[i] = pack_bf16(s[2 * i], s[2 * i + 1]);
      wgmma_wait<0>();
      pin(dp);
      wgmma_fence();
#pragma unroll
      for (int i = 0; i < 4; ++i)
        wgmma<Contiguous::mn>(dv, p_words + 4 * i, rows_descriptor<softmax_query_tile>(dy_tile, i));  // dv += p dy
      wgmma_commit();
      {
        const auto* delta = reinterpret_cast<const float2*>(rows.delta) + (lane_id() & 3);
#pragma unroll
        for (int b = 0; b < 8; ++b) {
          const float2 x = delta[4 * b];
#pragma unroll
          for (int i = 4 * b; i < 4 * b + 4; ++i) s[i] *= dp[i] - ((i & 1) ? x.y : x.x);
        }
      }
#pragma unroll
      for (int i = 0; i < 16; ++i) ds_words[i] = pack_bf16(s[2 * i], s[2 * i + 1]);
      if constexpr (Queries) {
        const int lane = lane_id(), matrix = lane >> 3;
        const int row = 64 * consumer + 16 * warp + (matrix & 1) * 8 + (lane & 7);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          store_matrices(ds_tile + swizzled(row, 2 * i + (matrix >> 1)), ds_words[4 * i], ds_words[4 * i + 1],
                         ds_words[4 * i + 2], ds_words[4 * i + 3]);
        }
        async_proxy_fence();
      }
      wgmma_wait<0>();
      pin(dv);
      release(shared.dy_empty[at.stage]);

      float dq[32];  // (64 queries, 64 columns)
      if constexpr (Queries) {
        named_barrier(exchange, 2 * warpgroup);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < softmax_tile / 16; ++i) {  // dq = ds k
          wgmma<Contiguous::mn, Contiguous::mn>(
              dq, rows_descriptor<softmax_tile>(ds_tile, i),
              rows_descriptor<softmax_tile>(k_tile + (turns ? 0 : consumer * softmax_tile * panel_row_bytes), i),
              i > 0);
        }
        wgmma_commit();
      }
      wgmma_fence();
#pragma unroll
      for (int i = 0; i < 4; ++i)
        wgmma<Contiguous::mn>(dk, ds_words + 4 * i, rows_descriptor<softmax_query_tile>(q_tile, i));  // dk += ds q
      wgmma_commit();
      // The next step's scores; in the last step these once more, which nobody reads: a branch here would cost more.
      RingPosition<Shared::stages> next = at;
      if (left > 1) next.advance();
      begin_scores(next);
      if constexpr (Queries) {
        wgmma_wait<2>();
        pin(dq);
        if (!turns || (step & 1) == consumer) {
          shared.dq_empty[dq_at.stage].wait(dq_at.phase ^ 1);
          auto* to = reinterpret_cast<float4*>(shared.dq[dq_at.stage]);
#pragma unroll
          for (int b = 0; b < 8; ++b) {
            to[fragment_order(turns ? 0 : consumer, b, thread)] =
                float4{dq[4 * b], dq[4 * b + 1], dq[4 * b + 2], dq[4 * b + 3]};
          }
          async_proxy_fence();
          shared.dq_full[dq_at.stage].arrive();
        }
        dq_at.advance();
      }
      wgmma_wait<1>();
      pin(dk);
      shared.q_empty[at.stage].arrive();
      wgmma_wait<0>();  // nothing may be in flight at the end of the loop's body, or ptxas serialises all (C7514)
      pin(s);
      at.advance();
      ++step;
      if (--heads_left == 0) {
        --tile;
        heads_left = a.group;
      }
    }

    // Out: through this warp's rows of the key and value tiles, once nobody reads them any more.
    named_barrier(exchange, 2 * warpgroup);
    const int warp_key = top_key + 16 * warp, valid = extent.length - warp_key;
    const Index stride = static_cast<Index>(a.key_heads) * D;
    const Index first = (extent.row + warp_key) * stride + item.head() * D;
    if (a.dk)
      store_rows<softmax_tile, D, true>(dk, a.scale, a.scale, k_tile, 64 * consumer + 16 * warp, a.dk + first, stride,
                                        valid, a.add_k);
    if (a.dv)
      store_rows<softmax_tile, D, true>(dv, 1, 1, v_tile, 64 * consumer + 16 * warp, a.dv + first, stride, valid,
                                        a.add_v);
    async_proxy_fence();
    shared.keys_empty.arrive();
    keys_at.advance();
  }
}

template <int D, bool Queries, class W>
__global__ __launch_bounds__(3 * warpgroup,
                             1) void softmax_backward_kernel(const __grid_constant__ SoftmaxBackwardArguments<W> a,
                                                             const __grid_constant__ CUtensorMap q,
                                                             const __grid_constant__ CUtensorMap k,
                                                             const __grid_constant__ CUtensorMap v,
                                                             const __grid_constant__ CUtensorMap dy) {
  using Shared = SoftmaxBackwardShared<D>;
  extern __shared__ __align__(1024) std::uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) {
    constexpr int warps = 8, threads = 32 * warps;  // that read a tile
    shared.keys_full.init(1);
    shared.keys_empty.init(threads);
    shared.raw.init(1);
    for (int i = 0; i < Shared::stages; ++i) {
      shared.q_full[i].init(1);
      shared.dy_full[i].init(1);
      shared.q_empty[i].init(threads);
      shared.dy_empty[i].init(warps);
    }
    for (int i = 0; i < Shared::dq_buffers; ++i) {
      shared.dq_full[i].init(D == 64 ? warpgroup : threads);
      shared.dq_empty[i].init(1);
    }
    barrier_init_fence();
  }
  __syncthreads();
  const int role = static_cast<int>(threadIdx.x) / warpgroup;
  if (role == 0) {
    shrink_registers<24>();
    if (threadIdx.x < 32) feed_softmax_backward<D>(a, q, k, v, dy, shared);
    if (Queries && threadIdx.x == 32) add_softmax_dq<D>(a, shared);
  } else {
    grow_registers<240>();
    consume_softmax_backward<D, Queries>(a, shared, role - 1);
  }
}

}  // namespace detail

/// Gradients of q (M, H * D), k and v (M, G * D), those that have a sink, from y, dy and the forward pass's `largest`
/// and `inverse_denominator`; `largest_at` is not read (see softmax_forward).  Equal calls give equal bits.
template <class W>
void softmax_backward(Tape<Cuda<bf16>>& tape, const AttentionProblem<Cuda<bf16>, W>& p, View<const bf16> y,
                      View<const bf16> dy, const AttentionStatistics<Cuda<bf16>>& statistics,
                      const AttentionSinks<Cuda<bf16>>& sinks) {
  const Cuda<bf16>& backend = tape.backend();
  const Index rows = p.q.rows();
  const Heads& heads = p.heads;
  Index key_tiles = 0;
  for (const Extent& e : p.sequences->extents()) key_tiles += (e.length + softmax_tile - 1) / softmax_tile;
  for (const Sink<bf16>* sink : {&sinks.q, &sinks.k, &sinks.v}) {
    if (sink->gradient && !sink->add && p.sequences->padded()) backend.zero(sink->gradient.data, sink->gradient.size());
  }
  if (key_tiles == 0 || (!sinks.q.gradient && !sinks.k.gradient && !sinks.v.gradient)) return;

  const Tape<Cuda<bf16>>::Scope scope(tape);
  const auto run = [&]<int D, bool Queries>() {
    const Index tiles = 2 * key_tiles;
    SoftmaxScratch scratch{static_cast<int>(tiles), nullptr, nullptr, nullptr};
    scratch.rows = reinterpret_cast<SoftmaxRows*>(
        tape.template scratch<float>(
                Shape{heads.queries * tiles, static_cast<Index>(sizeof(SoftmaxRows) / sizeof(float))})
            .data);
    scratch.turn = tape.template scratch<int>(Shape{heads.queries, tiles}).data;
    if (Queries) scratch.dq = tape.template scratch<float>(Shape{heads.queries * tiles, softmax_query_tile * D}).data;
    const float scale = 1 / std::sqrt(static_cast<float>(D));
    constexpr Index count = sinks_of<W>;
    const bool keys = sinks.k.gradient || sinks.v.gradient;
    SinkShares shares{};
    if constexpr (count > 0) {
      shares.k = p.k.data;
      shares.v = p.v.data;
      if (Queries) shares.ds = tape.template scratch<float>(Shape{heads.queries * tiles, softmax_query_tile * count}).data;
      if (keys) shares.parts = tape.template scratch<float>(Shape{heads.keys * tiles, 2 * count * D}).data;
    }
    const CUtensorMap q = tensor_map(p.q.data, rows, p.q.cols(), softmax_query_tile);
    const CUtensorMap k = tensor_map(p.k.data, rows, p.k.cols(), softmax_tile);
    const CUtensorMap v = tensor_map(p.v.data, rows, p.v.cols(), softmax_tile);
    const CUtensorMap dy_map = tensor_map(dy.data, rows, dy.cols(), softmax_query_tile);
    const dim3 by_query_tile(static_cast<unsigned>(tiles), static_cast<unsigned>(heads.queries));
    for (const TiledExtents& extents : tiled_extents(p.sequences->extents())) {
      if constexpr (count > 0) {
        const dim3 by_group(static_cast<unsigned>(tiles), static_cast<unsigned>(heads.keys));
        cuda::launch("softmax_backward_begin", detail::softmax_backward_begin_with_sinks<D, W>,
                     {by_group, detail::sink_rows_threads, backend.stream()}, extents, p.window, p.q.data, y.data, dy.data,
                     statistics.largest.data, statistics.inverse_denominator.data, scratch, shares,
                     static_cast<int>(heads.group()), scale);
      } else {
        cuda::launch("softmax_backward_begin", detail::softmax_backward_begin<D, W>,
                     {by_query_tile, 256, backend.stream()}, extents, p.window, y.data, dy.data, statistics.largest.data,
                     statistics.inverse_denominator.data, scratch);
      }
      const SoftmaxBackwardArguments<W> arguments{.extents = extents,
                                                  .window = p.window,
                                                  .key_heads = static_cast<int>(heads.keys),
                                                  .group = static_cast<int>(heads.group()),
                                                  .scale = scale,
                                                  .scratch = scratch,
                                                  .dk = sinks.k.gradient.data,
                                                  .dv = sinks.v.gradient.data,
                                                  .add_k = sinks.k.add,
                                                  .add_v = sinks.v.add};
      Index items = 0;
      for (int n = 0; n < extents.count; ++n) items += extents.tiles(n) * heads.keys;
      const auto blocks = static_cast<unsigned>(std::min<Index>(items, cuda::device().multiprocessors));
      cuda::launch("softmax_backward", detail::softmax_backward_kernel<D, Queries, W>,
                   {blocks, 3 * warpgroup, backend.stream(), sizeof(SoftmaxBackwardShared<D>)}, arguments, q, k, v,
                   dy_map);
      if constexpr (Queries) {
        cuda::launch("softmax_backward_end", detail::softmax_backward_end<D, W>, {by_query_tile, 256, backend.stream()},
                     extents, p.window, scratch, shares, static_cast<int>(heads.keys), scale, sinks.q.gradient.data,
                     sinks.q.add);
      }
      if constexpr (count > 0) {
        const dim3 by_sink(static_cast<unsigned>(extents.count), static_cast<unsigned>(heads.keys),
                           static_cast<unsigned>(2 * count));
        if (keys) {
          cuda::launch("softmax_backward, sinks", detail::add_sinks<D, softmax_query_tile, W, TiledExtents>,
                       {by_sink, detail::sink_threads, backend.stream()}, extents, p.window, shares.parts, 1,
                       static_cast<int>(tiles), scale, sinks.k.gradient.data, sinks.v.gradient.data);
        }
      }
    }
  };
  const auto with_queries = [&]<int D>() {
    if (sinks.q.gradient) {
      run.template operator()<D, true>();
    } else {
      run.template operator()<D, false>();
    }
  };
  if (heads.size == 128) {
    with_queries.template operator()<128>();
  } else {
    with_queries.template operator()<64>();
  }
}

}  // namespace lolcats::hopper
