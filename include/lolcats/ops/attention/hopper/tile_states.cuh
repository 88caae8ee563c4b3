// The walks of passes by tiles: sums S, z over key tiles (forward and backward) and R, r over query tiles (backward), left
// where the other side reads them.
#pragma once

#include <lolcats/ops/attention/hopper/tile_memory.cuh>

namespace lolcats::hopper::tile_pass {

/// Shared memory of a walk; small enough for two blocks on a multiprocessor.
template <class Map, int D>
struct StatesShared {
  using Sizes = TileSizes<Map, D>;
  alignas(1024) std::byte mapped[Sizes::tile_bytes];    // (64, D) k or q
  alignas(1024) std::byte values[Sizes::tile_bytes];    // (64, D) v or dy
  alignas(1024) std::byte weight[Sizes::weight_bytes];  // (D, f)
  /// (64, F) features while a tile is folded, then (F, D) sums on their way out.
  alignas(1024) std::byte image[Sizes::state_bytes];
  /// (64, 8) factors of the normalizer, unswizzled: columns 0 and 1 are the high and low halves, the others zero.
  alignas(128) std::byte unit[tile_rows * 8 * 2];
  Barrier mapped_full, values_full, weight_full;
};

/// Folds the tiles of one chunk of one head and sequence, from the first key tile on or from the last query tile back:
///
///   keys      S = sum phi_k v^T              z = sum phi_k
///   queries   R = sum (beta / den) phi_q dy^T,   r = sum (beta / den) phi_q (dy.y)
///
/// One warpgroup per block, grid (H, chunks, sequences).  Sums stay in registers, in fp32, and are published after each
/// tile.
template <Side side, class Map, int D, class W>
__global__ __launch_bounds__(group_threads, 2) void states_kernel(const __grid_constant__ TileArguments<W> a) {
  using Sizes = TileSizes<Map, D>;
  constexpr int F = Sizes::F, f = Sizes::f;
  constexpr bool exports = !WindowTiles<W>::pure;
  extern __shared__ __align__(1024) std::byte memory[];
  auto& shared = *reinterpret_cast<StatesShared<Map, D>*>(memory);
  const int thread = threadIdx.x, warp = thread / 32;
  const int head = blockIdx.x, chunk = blockIdx.y;
  const int map_head = side == Side::keys ? a.key_map_head(head) : head;
  TileTable::Tile tile = a.table.sequence(blockIdx.z);

  const int last = last_read<side>(a.window, tile);
  const int begin = chunk * a.state.chunk;
  const int end = min(begin + a.state.chunk, exports ? tile.tiles : last);
  if (begin >= end) return;

  const auto locate = [&](int step) { tile.index = side == Side::keys ? step : tile.tiles - 1 - step; };
  const auto load_mapped = [&] {
    shared.mapped_full.arrive_expecting(Sizes::tile_bytes);
    const int column = side == Side::keys ? head / a.group() * D : head * D;
    load_tile<tile_rows, D>(shared.mapped, side == Side::keys ? a.k : a.q, tile.first_row(), column,
                            shared.mapped_full);
  };
  const auto load_values = [&] {
    shared.values_full.arrive_expecting(Sizes::tile_bytes);
    const int column = side == Side::keys ? head / a.group() * D : head * D;
    load_tile<tile_rows, D>(shared.values, side == Side::keys ? a.v : a.dy, tile.first_row(), column,
                            shared.values_full);
  };
  locate(begin);
  if (thread == 0) {
    shared.mapped_full.init(1);
    shared.values_full.init(1);
    shared.weight_full.init(1);
    barrier_init_fence();
    load_mapped();
    load_values();
    shared.weight_full.arrive_expecting(Sizes::weight_bytes);
    load_tile<D, f>(shared.weight, side == Side::keys ? a.key_map : a.query_map, map_head * D, 0, shared.weight_full);
  }
  // Eight tokens are a core of (8, 8): token t of a core is its column t, factor n its row n.
  const auto set_unit = [&](int token, int n, std::uint16_t bits) {
    *reinterpret_cast<std::uint16_t*>(shared.unit + (token / 8) * 128 + n * 16 + token % 8 * 2) = bits;
  };
  reinterpret_cast<std::uint64_t*>(shared.unit)[thread] = 0;
  __syncthreads();
  if (side == Side::keys && thread < tile_rows) set_unit(thread, 0, 0x3F80);  // 1

  Fragment<D> sums[F / 64];     // (F, D)
  float normalizer[F / 64][4];  // (F, 8)
#pragma unroll
  for (int p = 0; p < F / 64; ++p) {
    sums[p] = Fragment<D>::from([](int) { return 0.0F; });
#pragma unroll
    for (float& x : normalizer[p]) x = 0;
  }

  shared.weight_full.wait(0);
#pragma unroll 1
  for (int step = begin; step < end; ++step) {
    const int parity = (step - begin) & 1;
    locate(step);
    PerRow factor{{1, 1}};
    float delta = 0;
    if constexpr (side == Side::queries) {
      const QueryStatistics& statistics = a.statistics[a.record(head, tile, tile.index)];
      factor = {{statistics.weight[fragment_row_in_tile(warp, 0)], statistics.weight[fragment_row_in_tile(warp, 1)]}};
      delta = statistics.delta[thread & (tile_rows - 1)];
    }
    shared.mapped_full.wait(parity);
    if (tile.valid() < tile_rows) {
      shared.values_full.wait(parity);
      zero_tail<D>(shared.mapped, tile.valid(), thread);
      zero_tail<D>(shared.values, tile.valid(), thread);
      __syncthreads();
    }

    std::uint32_t phi[F / 4];
    {
      Fragment<f> z;  // (64, f)
      wgmma_fence();
#pragma unroll
      for (int s = 0; s < D / 16; ++s) {
        wgmma<Contiguous::k, Contiguous::mn>(z.x, columns_descriptor<tile_rows>(shared_address(shared.mapped), s),
                                             rows_descriptor<D>(shared_address(shared.weight), s), s > 0);
      }
      wgmma_commit();
      wgmma_wait();
      pin(z.x);
      add_bias<Map>(z, side == Side::keys ? a.key_bias : a.query_bias, map_head);
      if constexpr (side == Side::keys) {
        pack_features<Map>(z, phi);
        drop_sinks<W>(phi, tile, warp);
      } else {
        pack_scaled_features<Map>(z, factor, phi);
      }
    }
    if (thread == 0) wait_for_stores();
    __syncthreads();  // `mapped` has been read, and the image has left
    const bool more = step + 1 < end;
    if (thread == 0 && more) {
      locate(step + 1);
      load_mapped();
      locate(step);
    }
    store_tile<tile_rows, F>(shared.image, 0, phi, warp);
    if (side == Side::queries && thread < tile_rows) {
      const std::uint32_t high = pack_bf16(delta, 0);
      set_unit(thread, 0, static_cast<std::uint16_t>(high));
      set_unit(thread, 1, static_cast<std::uint16_t>(pack_bf16(delta - low_bf16(high), 0)));
    }
    async_proxy_fence();
    __syncthreads();
    if (exports && thread == 0) {
      store_linear(a.state.features + a.record(head, tile, tile.index) * Sizes::phi_bytes, shared.image,
                   Sizes::phi_bytes);
    }

    shared.values_full.wait(parity);
    wgmma_fence();
#pragma unroll
    for (int s = 0; s < tile_rows / 16; ++s) {
#pragma unroll
      for (int p = 0; p < F / 64; ++p) {
        const auto features = rows_descriptor<tile_rows>(shared_address(shared.image), s, p);
        wgmma<Contiguous::mn, Contiguous::mn>(sums[p].x, features,
                                              rows_descriptor<tile_rows>(shared_address(shared.values), s));
        wgmma<Contiguous::mn, Contiguous::k>(normalizer[p], features,
                                             plain_descriptor(shared_address(shared.unit) + s * 256, 128, 128));
      }
    }
    wgmma_commit();
    wgmma_wait();
#pragma unroll
    for (int p = 0; p < F / 64; ++p) {
      pin(sums[p].x);
      pin(normalizer[p]);
    }
    if (exports && thread == 0) wait_for_stores();
    __syncthreads();  // `values` and the features have been read
    if (thread == 0 && more) {
      locate(step + 1);
      load_values();
      locate(step);
    }

    const int folded = step + 1;
    if (folded <= last) {
      const Index record = a.record(head, tile, folded);
#pragma unroll
      for (int p = 0; p < F / 64; ++p) {
        std::uint32_t words[D / 4];
        pack(sums[p], words);
        store_tile<F, D>(shared.image, 64 * p, words, warp);
        if ((lane_id() & 3) == 0) {
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            a.state.normalizers[record * F + 64 * p + fragment_row_in_tile(warp, r)] =
                normalizer[p][2 * r] + normalizer[p][2 * r + 1];
          }
        }
      }
      async_proxy_fence();
      __syncthreads();
      if (thread == 0) store_linear(a.state.states + record * Sizes::state_bytes, shared.image, Sizes::state_bytes);
    }
  }
  if (thread == 0) wait_for_stores();
}

/// Sums over the chunks before each chunk.  The sum over a whole chunk is what its walk published last.
/// Grid (parts of a state, sequences, H); a thread has eight entries of S or four of z.
template <Side side, class Map, int D, class W>
__global__ void state_prefixes_kernel(const __grid_constant__ TileArguments<W> a) {
  using Sizes = TileSizes<Map, D>;
  constexpr int words = Sizes::state_bytes / 16, quads = Sizes::F / 4;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= words + quads) return;
  const int n = blockIdx.y, head = blockIdx.z;
  const TileTable::Tile tile = a.table.sequence(n);
  const int last = last_read<side>(a.window, tile);
  const StateBuffers& s = a.state;
  float sum[8] = {};
  for (int chunk = 1; chunk * s.chunk < last; ++chunk) {
    const Index from = a.record(head, tile, chunk * s.chunk), to = a.prefix(head, tile, chunk);
    if (i < words) {
      const uint4 x = reinterpret_cast<const uint4*>(s.states)[from * words + i];
      const std::uint32_t pairs[4] = {x.x, x.y, x.z, x.w};
      std::uint32_t out[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        sum[2 * j] += low_bf16(pairs[j]);
        sum[2 * j + 1] += high_bf16(pairs[j]);
        out[j] = pack_bf16(sum[2 * j], sum[2 * j + 1]);
      }
      reinterpret_cast<uint4*>(s.prefixes)[to * words + i] = uint4{out[0], out[1], out[2], out[3]};
    } else {
      const float4 x = reinterpret_cast<const float4*>(s.normalizers)[from * quads + i - words];
      sum[0] += x.x;
      sum[1] += x.y;
      sum[2] += x.z;
      sum[3] += x.w;
      reinterpret_cast<float4*>(s.prefix_normalizers)[to * quads + i - words] = float4{sum[0], sum[1], sum[2], sum[3]};
    }
  }
}

}  // namespace lolcats::hopper::tile_pass
