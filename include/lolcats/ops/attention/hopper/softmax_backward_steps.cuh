// Causal softmax attention on Hopper: the steps of the backward pass, what feeds them and what takes dq away.
//
// A step is one query tile of one query head against the block's key tile.  The producer warp, the thread that adds dq
// and the warpgroups that compute (softmax_backward.cuh) walk through the same steps.
#pragma once

#include <lolcats/ops/attention/hopper/softmax_backward_rows.cuh>
#include <lolcats/ops/attention/hopper/softmax_pipeline.cuh>

namespace lolcats::hopper {

/// Shared memory of the backward kernel; tiles are panels of 64 columns, swizzled.
template <int D>
struct SoftmaxBackwardShared {
  static constexpr int stages = D == 64 ? 4 : 2;  // of queries
  static constexpr int dq_buffers = 2;            // shares of dq on their way out
  bf16 k[softmax_tile * D], v[softmax_tile * D];  // (128, D)
  bf16 q[stages][softmax_query_tile * D];         // (64, D)
  bf16 dy[stages][softmax_query_tile * D];        // (64, D)
  bf16 ds[2][softmax_tile * softmax_query_tile];  // (128 keys, 64 queries), of even and odd steps
  float dq[dq_buffers][softmax_query_tile * D];   // in the order of fragments
  SoftmaxRows rows[stages];
  Barrier keys_full, keys_empty, raw;
  Barrier q_full[stages], q_empty[stages], dy_full[stages], dy_empty[stages];
  Barrier dq_full[dq_buffers], dq_empty[dq_buffers];
};

template <class W>
struct SoftmaxBackwardArguments {
  TiledExtents extents;
  W window;
  int key_heads, group;
  float scale;  // 1 / sqrt(D)
  SoftmaxScratch scratch;
  bf16 *dk, *dv;  // (M, G * D) or null
  bool add_k, add_v;
};

namespace detail {

/// The query tiles that see a key tile: `last` down to `first`.
struct QueryTiles {
  int first, last;

  template <class W>
  __device__ __forceinline__ QueryTiles(const W& window, int length, int key_tile)
      : first(key_tile * (softmax_tile / softmax_query_tile)), last((length - 1) / softmax_query_tile) {
    const Index end = static_cast<Index>(key_tile + 1) * softmax_tile;
    int blind = last + 1;  // first tile that sees nothing of it; begin never decreases
    last = first;
    while (blind - last > 1) {
      const int middle = (last + blind) / 2;
      (window.begin(static_cast<Index>(middle) * softmax_query_tile) < end ? last : blind) = middle;
    }
  }
};

/// Calls begin(item) for all items of a block, and after it step(item, query head, query tile) for its steps.
///
/// Tiles outside, heads inside: so the key tiles of a head, whose walks differ in length, pass the same query tile at
/// about the same time and in the order in which they may add to its dq.
template <class W, class Begin, class Step>
__device__ __forceinline__ void for_softmax_backward(const SoftmaxBackwardArguments<W>& a, Begin&& begin, Step&& step) {
  for (DearestFirst item(a.extents, a.key_heads); item; item.advance()) {
    const QueryTiles tiles(a.window, item.extent().length, item.key_tile());
    begin(item);
    for (int tile = tiles.last; tile >= tiles.first; --tile) {
      for (int head = item.head() * a.group; head < (item.head() + 1) * a.group; ++head) step(item, head, tile);
    }
  }
}

/// One thread writes, or adds, `bytes` of shared memory, a multiple of 16, to device memory.
__device__ __forceinline__ void store_floats(float* to, const float* from, int bytes, bool add) {
  if (add) {
    asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to),
                 "r"(shared_address(from)), "r"(bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(shared_address(from)),
                 "r"(bytes)
                 : "memory");
  }
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

template <int D, class W>
__device__ __forceinline__ void feed_softmax_backward(const SoftmaxBackwardArguments<W>& a, const CUtensorMap& q,
                                                      const CUtensorMap& k, const CUtensorMap& v, const CUtensorMap& dy,
                                                      SoftmaxBackwardShared<D>& shared) {
  using Shared = SoftmaxBackwardShared<D>;
  constexpr int query_bytes = softmax_query_tile * D * static_cast<int>(sizeof(bf16));
  const bool leader = lane_id() == 0;
  RingPosition<Shared::stages> at;
  RingPosition<1> keys_at;
  int raw_phase = 0;
  const auto await_raw = [&] {
    shared.raw.wait(raw_phase);
    raw_phase ^= 1;
  };
  const auto begin = [&](const DearestFirst& item) {
    const int row = item.extent().row + item.key_tile() * softmax_tile, column = item.head() * D;
    const int valid = item.extent().length - item.key_tile() * softmax_tile;
    shared.keys_empty.wait(keys_at.phase ^ 1);
    Barrier& full = valid < softmax_tile ? shared.raw : shared.keys_full;
    if (leader) {
      full.arrive_expecting(2 * softmax_tile * D * static_cast<int>(sizeof(bf16)));
      load_panels<softmax_tile, D>(shared.k, k, row, column, full);
      load_panels<softmax_tile, D>(shared.v, v, row, column, full);
    }
    if (valid < softmax_tile) {
      await_raw();
      clear_tail<softmax_tile, D>(shared.k, valid);
      clear_tail<softmax_tile, D>(shared.v, valid);
      if (leader) shared.keys_full.arrive();
    }
    keys_at.advance();
  };
  const auto step = [&](const DearestFirst& item, int head, int tile) {
    const auto& extent = item.extent();
    const int row = extent.row + tile * softmax_query_tile, column = head * D;
    const int valid = extent.length - tile * softmax_query_tile;
    const bool whole = valid >= softmax_query_tile;
    shared.q_empty[at.stage].wait(at.phase ^ 1);
    if (leader) {
      Barrier& full = whole ? shared.q_full[at.stage] : shared.raw;
      full.arrive_expecting(query_bytes + static_cast<int>(sizeof(SoftmaxRows)));
      load_panels<softmax_query_tile, D>(shared.q[at.stage], q, row, column, full);
      load_linear(&shared.rows[at.stage], a.scratch.rows + a.scratch.at(head, extent, tile), sizeof(SoftmaxRows), full);
    }
    if (!whole) {
      await_raw();
      clear_tail<softmax_query_tile, D>(shared.q[at.stage], valid);
      if (leader) shared.q_full[at.stage].arrive();
    }
    shared.dy_empty[at.stage].wait(at.phase ^ 1);
    if (leader) {
      Barrier& full = whole ? shared.dy_full[at.stage] : shared.raw;
      full.arrive_expecting(query_bytes);
      load_panels<softmax_query_tile, D>(shared.dy[at.stage], dy, row, column, full);
    }
    if (!whole) {
      await_raw();
      clear_tail<softmax_query_tile, D>(shared.dy[at.stage], valid);
      if (leader) shared.dy_full[at.stage].arrive();
    }
    at.advance();
  };
  for_softmax_backward(a, begin, step);
}

/// One thread passes the block's shares of dq on, each when its turn has come.
template <int D, class W>
__device__ __forceinline__ void add_softmax_dq(const SoftmaxBackwardArguments<W>& a, SoftmaxBackwardShared<D>& shared) {
  RingPosition<SoftmaxBackwardShared<D>::dq_buffers> from;
  const auto step = [&](const DearestFirst& item, int head, int tile) {
    const Index at = a.scratch.at(head, item.extent(), tile);
    const int key_tile = item.key_tile();
    const int begin = static_cast<int>(a.window.begin(static_cast<Index>(tile) * softmax_query_tile) / softmax_tile);
    int* turn = a.scratch.turn + at;
    shared.dq_full[from.stage].wait(from.phase);
    int tries = 0;
    for (int now = begin; key_tile != begin;) {
      asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(now) : "l"(turn) : "memory");
      if (now == key_tile) break;
      if (tries_of_wait != 0 && ++tries > (1 << 22)) __trap();
    }
    asm volatile("fence.proxy.async;" ::: "memory");
    store_floats(a.scratch.dq + at * softmax_query_tile * D, shared.dq[from.stage],
                 softmax_query_tile * D * static_cast<int>(sizeof(float)), key_tile != begin);
    asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
    shared.dq_empty[from.stage].arrive();
    from.advance();
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
    asm volatile("fence.proxy.async;" ::: "memory");
    asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(turn), "r"(key_tile + 1) : "memory");
  };
  for_softmax_backward(
      a, [](const DearestFirst&) {}, step);
}

}  // namespace detail

}  // namespace lolcats::hopper
