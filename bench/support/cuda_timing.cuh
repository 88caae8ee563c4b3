// What benchmarks on a GPU share: random numbers made there, the median time of repeated runs, the part a profiler reads.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/core/rng.hpp>

#include <cuda_profiler_api.h>

#include <algorithm>
#include <vector>

namespace bench {

using Gpu = lolcats::Cuda<lolcats::bf16>;

/// Timed runs take these sets of inputs in turn, so that none finds its own in the cache.
inline constexpr int input_sets = 3;

/// Normal numbers with the given deviation, by Box-Muller over hashed counters.
template <class = void>
__global__ void fill_normal(lolcats::bf16* x, lolcats::Index n, float deviation, std::uint64_t seed) {
  const lolcats::Index i = static_cast<lolcats::Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const std::uint64_t bits = lolcats::mix_bits(static_cast<std::uint64_t>(i) * 0x9e3779b97f4a7c15ULL + seed);
  const float u = (static_cast<float>(bits >> 40) + 1.0F) * 0x1p-24F,
              angle = static_cast<float>(bits & 0xffffffU) * 0x1p-24F;
  x[i] = lolcats::cuda::from_float<lolcats::bf16>(deviation * sqrtf(-2 * logf(u)) * cospif(2 * angle));
}

/// An array of fresh normal numbers.
inline lolcats::Array<Gpu> normal(const lolcats::Shape& shape, double deviation = 1) {
  static std::uint64_t seed = 0;
  lolcats::Array<Gpu> x(shape);
  lolcats::cuda::launch("fill_normal", fill_normal<>,
                        {lolcats::cuda::blocks_for(shape.size(), 256), 256, Gpu{}.stream()}, x.data(), shape.size(),
                        static_cast<float>(deviation), lolcats::mix_bits(++seed));
  return x;
}

/// While it lives, a profiler that was told to wait for the program records kernels (`ncu --profile-from-start off`, see
/// bench/profile_cuda.py); without a profiler it does nothing.
class Profiled {
 public:
  Profiled() { lolcats::cuda::check(cudaProfilerStart(), "cudaProfilerStart"); }
  ~Profiled() { cudaProfilerStop(); }
  Profiled(const Profiled&) = delete;
  Profiled& operator=(const Profiled&) = delete;
};

/// Median milliseconds of run(set of inputs) between events, after warming up.  A profiler sees one more run.
template <class F>
double milliseconds(int repeats, F&& run) {
  using lolcats::cuda::check;
  constexpr int warmup = 3;
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<float> times;
  for (int i = 0; i < repeats + warmup; ++i) {
    float ms = 0;
    check(cudaEventRecord(begin, Gpu{}.stream()), "cudaEventRecord");
    run(i % input_sets);
    check(cudaEventRecord(end, Gpu{}.stream()), "cudaEventRecord");
    check(cudaEventSynchronize(end), "cudaEventSynchronize");
    check(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
    if (i >= warmup) times.push_back(ms);
  }
  check(cudaEventDestroy(begin), "cudaEventDestroy");
  check(cudaEventDestroy(end), "cudaEventDestroy");
  {
    const Profiled profiled;
    run(0);
    Gpu{}.synchronize();
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace bench
