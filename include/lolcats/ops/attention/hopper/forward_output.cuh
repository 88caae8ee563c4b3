// The fused forward pass: an output warpgroup, which computes every other tile of queries.
#pragma once

#include <lolcats/ops/attention/hopper/forward_scores.cuh>

#include <numbers>

namespace lolcats::hopper::forward_pass {

template <class S>
struct OutputRole {
  using W = typename S::Window;
  using Tiles = typename S::Tiles;
  using Scores = Fragment<tile>;
  static constexpr int D = S::D, F = S::F, f = S::f;
  /// Is there room for the queries' projection beside the scores?
  static constexpr bool early_projection = f == 64 && !Tiles::mixes;

  ForwardMemory<S>& memory;
  const Parameters<W>& p;
  const Walk& walk;  // in shared memory
  const int w;       // 0 or 1: this warpgroup takes tiles begin + w, begin + w + 2, ...
  int turn = 0;      // tiles done
  int folds = 0;     // key tiles handed to the state

  __device__ __forceinline__ static int warp() { return static_cast<int>(threadIdx.x / 32) % warps; }
  __device__ __forceinline__ static int head() { return static_cast<int>(blockIdx.x); }
  __device__ __forceinline__ int first_key_tile() const { return ::max(walk.begin - S::lag, 0); }

  __device__ __forceinline__ void run() {
    memory.weights_full.wait(0);
    // The tile before the chunk has one reader instead of two; the other warpgroup's arrivals are made here.
    if (S::lag == 1 && walk.begin > 0 && w == 1 && lane_id() == 0) {
      memory.k_barriers.wait_full(0);
      memory.k_barriers.release(0);
      memory.v_barriers.wait_full(0);
      memory.v_barriers.release(0);
    }
    __syncwarp();
#pragma unroll 1
    for (int t = walk.begin + w; t < walk.end; t += 2, ++turn) step(t);
  }

  __device__ __forceinline__ void step(int t) {
    const int own = t - first_key_tile();  // use of the rings for key tile t
    const int mapped = own - S::lag;       // for key tile t - lag, mapped here
    const bool folded = mapped >= 0 && t + 1 < walk.end;
    const bool maps_keys = folded || (Tiles::mixes && mapped >= 0);
    const bool previous = S::lag == 1 && t > 0;
    const std::uint32_t q = memory.q[q_slot(t)].address();

    memory.q_full[w].wait(turn & 1);
    Fragment<f> z;                                                    // (64, f), of the queries
    Scores own_scores, previous_scores;                               // (64, 64)
    Fragment<8> sink_scores;                                          // (64, 8)
    std::uint32_t sink_weights[2];                                    // (64, 8)
    std::uint32_t sink_values[D / 8];                                 // (8, D)
    std::uint32_t phi[F / 4];                                         // (64, F), of the queries
    std::uint32_t own_weights[tile / 4], previous_weights[tile / 4];  // (64, 64)
    PerRow near_sum{{0, 0}};
    const Rows rows;

    if constexpr (Tiles::mixes) {
      // Far keys among those compared one by one: their weights need the features first.
      if (maps_keys)
        map_keys(mapped, [&] { start_projection(z, q); });
      else
        start_projection(z, q);
      finish(z);
      map_queries(z, phi);
      if constexpr (S::near) start_scores(own_scores, q, own);
    } else {
      // The scores of the own tile are computed while the keys are mapped, the others while those are masked; the queries
      // are mapped last, when the scores have become weights.
      if (maps_keys)
        map_keys(mapped, [&] { start_scores(own_scores, q, own); });
      else
        start_scores(own_scores, q, own);
    }
    if constexpr (S::sinks > 0) memory.sinks.k.multiply(sink_scores, q, rows.first);  // beside the products under way
    if constexpr (S::lag == 1) start_scores(previous_scores, q, previous ? own - 1 : own);
    if constexpr (early_projection) start_projection(z, q);
    if constexpr (S::near) {
      PerRow largest{{-1e30F, -1e30F}};
      finish<S::lag + early_projection>(own_scores);
      keep_near<S, Tiles::mixes_own, true>(own_scores, p.window, rows, t, t);
      raise(largest, own_scores);
      if constexpr (S::sinks > 0) {
        keep_sinks<S>(sink_scores, t > S::lag);
        raise(largest, sink_scores);
      }
      if constexpr (S::lag == 1) {
        finish<early_projection>(previous_scores);
        if (previous) {
          keep_near<S, Tiles::mixes_previous, false>(previous_scores, p.window, rows, t, t - 1);
          raise(largest, previous_scores);
        } else {
          previous_scores = Scores::from([](int) { return -INFINITY; });
        }
      }
      release_keys(own, previous);
      largest = {{quad_max(largest.of[0]), quad_max(largest.of[1])}};
      if (p.largest_at) save_largest(t, rows, largest, sink_scores, previous_scores, own_scores);
      const float to_log2 = std::numbers::log2e_v<float> * p.score_scale;
      const float log2_near = memory.mixing.log2_near;
      const PerRow shift{{log2_near - largest.of[0] * to_log2, log2_near - largest.of[1] * to_log2}};
      weigh(own_scores, shift, to_log2, near_sum);
      if constexpr (S::lag == 1) weigh(previous_scores, shift, to_log2, near_sum);
      if constexpr (S::sinks > 0) {
        weigh(sink_scores, shift, to_log2, near_sum);
        pack(sink_scores, sink_weights);
      }
    } else {
      release_keys(own, previous);
    }
    if constexpr (Tiles::mixes) {
      if (maps_keys) memory.phi_full[w].wait(folds & 1);  // all warps have stored theirs
    }
    if constexpr (Tiles::mixes_own) add_far(own_scores, phi, t, t, true, near_sum);
    pack(own_scores, own_weights);
    if constexpr (Tiles::mixes_previous) add_far(previous_scores, phi, t, t - 1, previous, near_sum);
    if constexpr (S::lag == 1) pack(previous_scores, previous_weights);
    if constexpr (!Tiles::mixes) {
      if constexpr (!early_projection) start_projection(z, q);
      finish(z);
    }
    if (lane_id() == 0) memory.q_empty[q_slot(t)].arrive();
    if constexpr (S::sinks > 0) memory.sinks.v.fetch(sink_values);
    if constexpr (!Tiles::mixes) {
      if (t > S::lag || p.resumed) {
        map_queries(z, phi);
      } else {  // the sums are still zeros
#pragma unroll
        for (std::uint32_t& word : phi) word = 0;
      }
    }

    // Numerator and denominator.  The sums are read first: the state waits to publish the next.
    float y[D / 2];       // (64, D)
    float normalizer[4];  // (64, 8)
    if constexpr (S::sinks > 0) {
#pragma unroll
      for (float& sum : y) sum = 0;
      memory.sinks.v.mix(y, sink_weights, sink_values);
    }
    memory.v_barriers.wait_full(own);
    if (previous) memory.v_barriers.wait_full(own - 1);
    if ((t + 1) * tile > walk.length) clear_tail<D>(memory.v.at(own), walk.length - t * tile, 1 + w);
    memory.sums_full[w].wait(turn & 1);
    wgmma_fence();
#pragma unroll
    for (int s = 0; s < F / 16; ++s) {
      wgmma<Contiguous::mn>(y, phi + 4 * s, rows_descriptor<F>(memory.sums.address(), s), S::sinks > 0 || s > 0);
      wgmma<Contiguous::k>(normalizer, phi + 4 * s, memory.normalizer.descriptor(s), s > 0);
    }
    wgmma_commit();
    add_values(y, own_weights, memory.v.at(own).address());
    if constexpr (S::lag == 1) add_values(y, previous_weights, memory.v.at(previous ? own - 1 : own).address());
    wgmma_commit();
    wgmma_wait<1>();
    pin(normalizer);
    arrive_per_warp(memory.sums_empty);
    PerRow inverse;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float denominator = quad_sum(near_sum.of[r] + normalizer[2 * r] + normalizer[2 * r + 1]);
      if constexpr (!S::near) denominator += static_cast<float>(linear_epsilon);
      inverse.of[r] = cuda::reciprocal_approx(denominator);
    }
    wgmma_wait();
    pin(y);
    if (lane_id() == 0) {
      memory.v_barriers.release(own);
      if (previous) memory.v_barriers.release(own - 1);
    }
    if (folded) memory.phi_empty[w].wait(folds++ & 1);
    if constexpr (Tiles::mixes) named_barrier(1 + w, 128);  // all warps have read phi
    store_outputs(t, rows, y, inverse);
  }

 private:
  __device__ __forceinline__ int q_slot(int t) const { return (t - walk.begin) % S::q_stages; }

  /// Issues z (64, f) of the queries.
  __device__ __forceinline__ void start_projection(Fragment<f>& z, std::uint32_t q) const {
    wgmma_fence();
    project<D, f>(z, q, memory.query_map.address());
    wgmma_commit();
  }
  /// Issues the scores against use `i` of the ring of keys.
  __device__ __forceinline__ void start_scores(Scores& scores, std::uint32_t q, int i) const {
    memory.k_barriers.wait_full(i);
    wgmma_fence();
    score<D>(scores, q, memory.k.at(i).address());
    wgmma_commit();
  }
  template <int Pending = 0, int Columns>
  static __device__ __forceinline__ void finish(Fragment<Columns>& x) {
    wgmma_wait<Pending>();
    pin(x.x);
  }

  /// Features of use `i` of the ring of keys, for the state; `start_next` issues products to run behind the projection.
  template <class StartNext>
  __device__ __forceinline__ void map_keys(int i, StartNext&& start_next) const {
    memory.k_barriers.wait_full(i);
    Fragment<f> z;  // (64, f)
    wgmma_fence();
    project<D, f>(z, memory.k.at(i).address(), memory.key_map.address());
    wgmma_commit();
    start_next();
    finish<1>(z);
    std::uint32_t phi[F / 4];  // (64, F)
    add_bias<typename S::Map>(z, memory.key_bias);
    pack_features<typename S::Map>(z, phi);
    drop_sinks<S>(phi, Rows(), first_key_tile() + i);
    store_rows<tile, F>(memory.phi[w].address(), 16 * warp(), phi);
    publish(memory.phi_full[w]);
  }
  __device__ __forceinline__ void map_queries(Fragment<f>& z, std::uint32_t (&phi)[F / 4]) const {
    add_bias<typename S::Map>(z, memory.query_bias);
    pack_features<typename S::Map>(z, phi);
  }

  /// This warp has read the keys that its scores need.
  __device__ __forceinline__ void release_keys(int own, bool previous) const {
    if (lane_id() != 0) return;
    memory.k_barriers.release(own);
    if (previous) memory.k_barriers.release(own - 1);
  }
  /// y (64, D) += weights (64, 64) v (64, D); issued, not waited for.
  static __device__ __forceinline__ void add_values(float (&y)[D / 2], const std::uint32_t* weights, std::uint32_t v) {
#pragma unroll
    for (int s = 0; s < tile / 16; ++s) wgmma<Contiguous::mn>(y, weights + 4 * s, rows_descriptor<tile>(v, s));
  }

  /// Puts phi_q.phi_k at the keys of this tile that are far; `weights` is zero there, or unset where nothing is near.
  __device__ __forceinline__ void add_far(Scores& weights, const std::uint32_t* phi, int t, int key_tile, bool exists,
                                          PerRow& sum) {
    Scores products;  // (64, 64)
    wgmma_fence();
#pragma unroll
    for (int s = 0; s < F / 16; ++s) {
      wgmma<Contiguous::k>(products.x, phi + 4 * s, columns_descriptor<tile>(memory.phi[w].address(), s), s > 0);
    }
    wgmma_commit();
    wgmma_wait();
    pin(products.x);
    const Rows rows;
    RowBounds bounds[2];
    find_bounds(bounds, p.window, rows, t, key_tile);
    const int lane = lane_id();
#pragma unroll
    for (int i = 0; i < Scores::size; ++i) {
      const RowBounds& b = bounds[fragment_row(i)];
      const int column = fragment_column(i, lane);
      const bool is_far = exists && column < ::min(b.near_begin, b.near_end) && !is_sink<S>(key_tile, column);
      if constexpr (S::near) {
        if (is_far) weights.x[i] = products.x[i];
      } else {
        weights.x[i] = is_far ? products.x[i] : 0.0F;
      }
      if (is_far) sum.of[fragment_row(i)] += products.x[i];
    }
  }

  /// Saves the largest near score and the first key that has it.
  __device__ __forceinline__ void save_largest(int t, const Rows& rows, const PerRow& largest,
                                               const Fragment<8>& sink_scores, const Scores& previous_scores,
                                               const Scores& own_scores) const {
    const int lane = lane_id();
    int at[2] = {INT_MAX, INT_MAX};
#pragma unroll
    for (int i = Scores::size - 1; i >= 0; --i) {
      const int r = fragment_row(i);
      if (own_scores.x[i] == largest.of[r]) at[r] = t * tile + fragment_column(i, lane);
    }
    if constexpr (S::lag == 1) {
#pragma unroll
      for (int i = Scores::size - 1; i >= 0; --i) {
        const int r = fragment_row(i);
        if (previous_scores.x[i] == largest.of[r]) at[r] = (t - 1) * tile + fragment_column(i, lane);
      }
    }
    if constexpr (S::sinks > 0) {
#pragma unroll
      for (int i = 3; i >= 0; --i) {
        if (sink_scores.x[i] == largest.of[fragment_row(i)]) at[fragment_row(i)] = fragment_column(i, lane);
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      at[r] = ::min(at[r], __shfl_xor_sync(~0U, at[r], 1));
      at[r] = ::min(at[r], __shfl_xor_sync(~0U, at[r], 2));
      const int n = t * tile + rows.of(r);
      if ((lane & 3) == 0 && n < walk.length) {
        const Index row = static_cast<Index>(walk.row + n) * p.heads + head();
        p.largest_at[row] = at[r];
        p.largest[row] = largest.of[r] * p.score_scale;
      }
    }
  }

  /// Each warp stores its 16 rows, coalesced by way of its part of this warpgroup's phi.
  __device__ __forceinline__ void store_outputs(int t, const Rows& rows, const float (&y)[D / 2],
                                                const PerRow& inverse) const {
    const int lane = lane_id();
    const int row0 = t * tile + 16 * warp();
    const std::uint32_t stage = memory.phi[w].address();
    const Index width = static_cast<Index>(p.heads) * D;
    bf16* to = p.y + (walk.query_row + row0 + lane / 8) * width + head() * D + (lane & 7) * 8;
#pragma unroll
    for (int panel = 0; panel < D / panel_columns; ++panel) {
      std::uint32_t words[16];  // (64, 64)
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        const int at = 32 * panel + 2 * i;
        words[i] = pack_bf16(y[at] * inverse.of[i & 1], y[at + 1] * inverse.of[i & 1]);
      }
      __syncwarp();
      store_rows<tile, panel_columns>(stage, 16 * warp(), words);
      __syncwarp();
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = 4 * i + lane / 8;
        const uint4 piece = load_shared_16(stage + swizzled(16 * warp() + row, lane & 7));
        if (row0 + row >= walk.first_query && row0 + row < walk.length)
          *reinterpret_cast<uint4*>(to + 4 * i * width + panel * panel_columns) = piece;
      }
    }
    if (p.inverse_denominator && (lane & 3) == 0) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int n = t * tile + rows.of(r);
        if (n < walk.length) {
          p.inverse_denominator[static_cast<Index>(walk.row + n) * p.heads + head()] =
              inverse.of[r] * memory.mixing.inverse_beta;
        }
      }
    }
  }
};

}  // namespace lolcats::hopper::forward_pass
