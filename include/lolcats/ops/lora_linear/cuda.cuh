// y = x W^T + scale (mask(x) A^T) B^T on CUDA.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/dropout/cuda.cuh>
#include <lolcats/ops/linear/cuda.cuh>
#include <lolcats/ops/lora_linear/lora_linear.hpp>

namespace lolcats {

namespace cuda {

inline constexpr Index low_rows = 64;  // at most, as a decoding step has
inline constexpr int low_threads = 128;

/// t = x A^T (M, R) for few rows: where a product by tiles would occupy R columns of one tile.  Grid: R, M.
template <int Width, class T>
__global__ void __launch_bounds__(low_threads) project_few_rows(const T* x, const T* a, T* t, Index cols) {
  const T* from = x + static_cast<Index>(blockIdx.y) * cols;
  const T* by = a + static_cast<Index>(blockIdx.x) * cols;
  float sum = 0;
#pragma unroll 4
  for (Index i = threadIdx.x * Index{Width}; i < cols; i += low_threads * Width) {
    const auto u = load_pack<Width>(from + i), v = load_pack<Width>(by + i);
#pragma unroll
    for (int e = 0; e < Width; ++e) sum = fmaf(u[e], v[e], sum);
  }
  sum = block_sum<low_threads>(sum);
  if (threadIdx.x == 0) t[static_cast<Index>(blockIdx.y) * gridDim.x + blockIdx.x] = from_float<T>(sum);
}

}  // namespace cuda

/// The rank-R update is written first and the large product is added to it: so the update costs one pass over the result
/// instead of two, and it is the small term that is rounded to T.
template <class T>
struct LoraLinearKernel<Cuda<T>> {
  using B = Cuda<T>;

  static void forward(const B& backend, View<const T> x, View<const T> w, View<const T> a, View<const T> b, double scale,
                      const DropoutMask& mask, View<T> t, Sink<T> y) {
    with_mask(backend, x, mask, [&](View<const T> masked) { project(backend, masked, a, t); });
    cuda::multiply_transposed<T, T>(backend.stream(), t, b, y, scale);
    cuda::multiply_transposed<T, T>(backend.stream(), x, w, {y.gradient, true});
  }

  static void low_gradient(const B& backend, View<const T> dy, View<const T> b, double scale, View<T> dt) {
    cuda::multiply<T, T>(backend.stream(), dy, b, {dt, false}, scale);
  }

  static void b_gradient(const B& backend, View<const T> dy, View<const T> t, double scale, View<float> db) {
    cuda::add_transposed_product<T>(backend.stream(), dy, t, db, scale);
  }

  static void a_gradient(const B& backend, View<const T> dt, View<const T> x, const DropoutMask& mask, View<float> da) {
    with_mask(backend, x, mask, [&](View<const T> masked) {
      cuda::add_transposed_product<T>(backend.stream(), dt, masked, da);
    });
  }

  static void input_gradient(const B& backend, View<const T> dy, View<const T> dt, View<const T> w, View<const T> a,
                             const DropoutMask& mask, Sink<T> dx) {
    if (mask.active()) {
      cuda::Scratch<T> through(dx.gradient.size(), backend.stream());  // dt A (M, I)
      const View<T> low(through.data(), dx.gradient.shape);
      cuda::multiply<T, T>(backend.stream(), dt, a, {low, false});
      DropoutKernel<B>::apply(backend, low, mask, dx);
    } else {
      cuda::multiply<T, T>(backend.stream(), dt, a, dx);
    }
    cuda::multiply<T, T>(backend.stream(), dy, w, {dx.gradient, true});
  }

 private:
  static void project(const B& backend, View<const T> x, View<const T> a, View<T> t) {
    if (x.rows() > cuda::low_rows || a.rows() > cuda::low_rows)
      return cuda::multiply_transposed<T, T>(backend.stream(), x, a, {t, false});
    const auto run = [&]<int Width>() {
      const dim3 grid(static_cast<unsigned>(a.rows()), static_cast<unsigned>(x.rows()));
      cuda::launch("lora, few rows", cuda::project_few_rows<Width, T>, {grid, cuda::low_threads, backend.stream()}, x.data,
                   a.data, t.data, x.cols());
    };
    if (cuda::packs_fit(x.cols(), x.data, a.data))
      run.template operator()<cuda::widest<T>>();
    else
      run.template operator()<1>();
  }

  template <class F>
  static void with_mask(const B& backend, View<const T> x, const DropoutMask& mask, F&& f) {
    if (!mask.active()) return f(x);
    cuda::Scratch<T> masked(x.size(), backend.stream());
    const View<T> view(masked.data(), x.shape);
    DropoutKernel<B>::apply(backend, x, mask, {view, false});
    f(View<const T>(view));
  }
};

}  // namespace lolcats
