// What a memory's gate says about the tokens of a call, on a GPU: running sums of log a, and their gradient.
#pragma once

#include <lolcats/ops/attention/cuda_segments.cuh>

namespace lolcats::general {

/// z of every token and sum over far keys.
template <class T>
struct GateInputs {
  const T* bias = nullptr;  // (sums)
  const T* gate = nullptr;  // (M, sums), or null
  int sums = 0;

  __device__ __forceinline__ double z(std::int64_t row, int sum) const {
    const double own = gate ? static_cast<double>(cuda::to_float(gate[row * sums + sum])) : 0.0;
    return own + static_cast<double>(cuda::to_float(bias[sum]));
  }
};

/// G of every key, a running sum of log a from some start; null without a gate.  A far key j counts exp(G_n - G_j) for query n.
struct RunningDecay {
  const double* sums = nullptr;  // (key rows, sums)
  int stride = 0;                // sums
  int per = 1;                   // query heads that share one
  int first_head = 0;            // query head number of head 0 of the launch

  __device__ __forceinline__ explicit operator bool() const { return sums != nullptr; }
  __device__ __forceinline__ double of(std::int64_t key_row, int head) const {
    return sums[key_row * stride + (first_head + head) / per];
  }
};

/// Threads of a block that scans.
inline constexpr int scan_threads = 256;

/// Inclusive sums over the threads of a block, in order; `total` receives the last.  All threads take part.
__device__ __forceinline__ double block_scan(double x, double& total) {
  __shared__ double warps[scan_threads / 32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const double other = __shfl_up_sync(cuda::full_warp, x, offset);
    if (lane >= offset) x += other;
  }
  __syncthreads();  // an earlier scan may still be read
  if (lane == 31) warps[warp] = x;
  __syncthreads();
  total = 0;
  for (int w = 0; w < scan_threads / 32; ++w) {
    if (w == warp) x += total;
    total += warps[w];
  }
  return x;
}

/// log a of kept keys (capacity, sums): the key at position p is in row p % capacity.
struct DecayRing {
  const float* before = nullptr;  // as it is: null where nothing is kept
  float* after = nullptr;         // as it will be, perhaps the same memory
  int capacity_before = 0, capacity_after = 0;
  int position = 0;  // of the first kept key
  int from = 0;      // the first key that stays, counted from the first kept one
};

/// G (key rows, sums) of a pass, or, with rings, of kept keys and the ones behind them: that of the last token read before
/// is 0 then, and the rings take up what stays.  Grid: segments, sums; scan_threads threads.
template <GatePolicy Gate, class T>
__global__ void __launch_bounds__(scan_threads)
    run_decay(Segments segments, GateInputs<T> in, const DecayRing* rings, double* running) {
  const Segment s = segments[static_cast<int>(blockIdx.x)];
  const int sum = static_cast<int>(blockIdx.y), thread = static_cast<int>(threadIdx.x);
  const int kept = s.offset - s.apart;
  double* const own = running + static_cast<std::int64_t>(s.k_row) * in.sums + sum;
  const auto at = [&](int key) -> double& { return own[static_cast<std::int64_t>(key) * in.sums]; };
  const DecayRing ring = rings ? rings[blockIdx.x] : DecayRing{};
  const auto log_kept = [&](int key) {
    return static_cast<double>(ring.before[static_cast<std::int64_t>((ring.position + key) % ring.capacity_before) * in.sums + sum]);
  };
  const auto log_new = [&](int i) { return Gate::log_decay(in.z(static_cast<std::int64_t>(s.q_row) + i, sum)); };

  for (int key = thread; key < s.apart; key += scan_threads) at(key) = 0;  // near for everyone: nobody asks
  double before = 0;
  for (int first = 0; first < kept; first += scan_threads) {  // backwards from the last one, whose G is 0
    const int back = first + thread;
    double total = 0;
    const double sums = block_scan(back > 0 && back < kept ? log_kept(kept - back) : 0.0, total);
    if (back < kept) at(s.apart + kept - 1 - back) = -(before + sums);
    before += total;
  }
  before = 0;
  for (int first = 0; first < s.queries; first += scan_threads) {
    const int i = first + thread;
    double total = 0;
    const double sums = block_scan(i < s.queries ? log_new(i) : 0.0, total);
    if (i < s.queries) at(s.offset + i) = before + sums;
    before += total;
  }
  if (!ring.after) return;
  __syncthreads();
  for (int key = ring.from + thread; key < kept + s.queries; key += scan_threads) {
    if (key < kept && ring.before == ring.after) continue;
    ring.after[static_cast<std::int64_t>((ring.position + key) % ring.capacity_after) * in.sums + sum] =
        static_cast<float>(key < kept ? log_kept(key) : log_new(key - kept));
  }
}

/// dots (M, heads) of a (M, heads / per, size) and b (M, heads, size): phi_k . dphi_k of every query head.  Grid: tiles of keys,
/// heads; a warp per row.
template <class = void>
__global__ void key_dots(Segments segments, const float* a, const float* b, int per, int size, float* dots) {
  const Segment s = segments.find(static_cast<int>(blockIdx.x), &Segment::key_tile);
  const int first = (static_cast<int>(blockIdx.x) - s.key_tile) * tile, lane = static_cast<int>(threadIdx.x) % 32;
  const int head = static_cast<int>(blockIdx.y), heads = static_cast<int>(gridDim.y);
  for (int r = first + static_cast<int>(threadIdx.x) / 32; r < min(first + tile, s.keys); r += tile_threads / 32) {
    const std::int64_t row = static_cast<std::int64_t>(s.k_row) + r;
    const float* x = a + (row * (heads / per) + head / per) * size;
    const float* y = b + (row * heads + head) * size;
    float sum = 0;
    for (int c = lane; c < size; c += 32) sum = fmaf(x[c], y[c], sum);
    sum = cuda::warp_sum(sum);
    if (lane == 0) dots[row * heads + head] = sum;
  }
}

/// Gradients of what gates are made of, from dots (M, heads): dG_n is phi_q_n . dphi_q_n - phi_k_n . dphi_k_n over the heads that
/// share a sum, and log a of a token is in the G of all tokens from there on.  Grid: sums of these heads.
template <GatePolicy Gate, class T>
__global__ void __launch_bounds__(scan_threads)
    pull_decay(Segments segments, GateInputs<T> in, RunningDecay decay, int heads, const float* of_queries,
               const float* of_keys, T* gate_gradient, bool add, float* bias_gradient) {
  const int thread = static_cast<int>(threadIdx.x), first_head = static_cast<int>(blockIdx.x) * decay.per;
  const int sum = (decay.first_head + first_head) / decay.per;
  double bias = 0;
  for (int n = 0; n < segments.count; ++n) {
    const Segment s = segments[n];
    double behind = 0;
    for (int first = 0; first < s.queries; first += scan_threads) {  // from the last token backwards
      const int i = s.queries - 1 - first - thread;
      const std::int64_t row = static_cast<std::int64_t>(s.q_row) + i;
      double own = 0, total = 0;
      if (i >= 0) {
        for (int h = first_head; h < first_head + decay.per; ++h) {
          own += static_cast<double>(of_queries[row * heads + h]) - static_cast<double>(of_keys[row * heads + h]);
        }
      }
      const double d_log = behind + block_scan(own, total);
      behind += total;
      if (i < 0) continue;
      const double dz = d_log * Gate::slope(in.z(row, sum));
      bias += dz;
      if (gate_gradient) {
        T& to = gate_gradient[row * in.sums + sum];
        to = cuda::from_float<T>(static_cast<float>(add ? static_cast<double>(cuda::to_float(to)) + dz : dz));
      }
    }
  }
  bias = cuda::block_sum<scan_threads>(bias);
  if (thread == 0 && bias_gradient) bias_gradient[sum] += static_cast<float>(bias);
}

}  // namespace lolcats::general
