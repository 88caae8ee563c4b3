// The column of the largest entry of each row on CUDA: a block per row.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/arg_max/arg_max.hpp>

namespace lolcats {

namespace cuda {

/// An entry on its way through a reduction.  `column` is -1 once a number that is not finite was met.
struct Largest {
  float value;
  std::int32_t column;
};

/// The larger of two, the first of equals.
__device__ inline Largest larger(const Largest& a, const Largest& b) {
  if (a.column < 0 || b.column < 0) return {0, -1};
  return b.value > a.value || (b.value == a.value && b.column < a.column) ? b : a;
}

template <int Threads, int Width, class T>
__global__ void __launch_bounds__(Threads) arg_max(const T* x, Index cols, std::int32_t* column) {
  const T* row = x + static_cast<Index>(blockIdx.x) * cols;
  Largest best{-INFINITY, INT32_MAX};
  bool finite = true;
#pragma unroll 4
  for (Index i = threadIdx.x * Index{Width}; i < cols; i += Threads * Width) {
    const auto pack = load_pack<Width>(row + i);
#pragma unroll
    for (int e = 0; e < Width; ++e) {
      const float value = pack[e];
      finite = finite && isfinite(value);
      if (value > best.value) best = {value, static_cast<std::int32_t>(i) + e};  // columns grow: the first of equals
    }
  }
  if (!finite) best.column = -1;
  const auto reduce = [&best] {
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      best = larger(best, {__shfl_xor_sync(~0U, best.value, lanes), __shfl_xor_sync(~0U, best.column, lanes)});
    }
  };
  reduce();
  __shared__ Largest warps[Threads / 32];
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  best = threadIdx.x < Threads / 32 ? warps[threadIdx.x] : Largest{-INFINITY, INT32_MAX};
  reduce();
  if (threadIdx.x == 0) column[blockIdx.x] = best.column;
}

}  // namespace cuda

template <class T>
struct ArgMaxKernel<Cuda<T>> {
  static void forward(const Cuda<T>& backend, View<const T> x, View<std::int32_t> column) {
    if (x.rows() == 0) return;
    constexpr int threads = 1024;
    const auto run = [&]<int Width>() {
      cuda::launch("arg_max", cuda::arg_max<threads, Width, T>,
                   {static_cast<unsigned>(x.rows()), threads, backend.stream()}, x.data, x.cols(), column.data);
    };
    if (cuda::packs_fit(x.cols(), x.data))
      run.template operator()<cuda::widest<T>>();
    else
      run.template operator()<1>();
  }
};

}  // namespace lolcats
