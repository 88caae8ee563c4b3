// y = x / sqrt(mean(x^2) + eps) * w on CUDA: a block per row, which it reads from memory once.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/ops/rms_norm/rms_norm.hpp>

#include <algorithm>

namespace lolcats {

namespace cuda {

constexpr int norm_threads = 256;

/// A thread keeps `Held` packs of a row in registers; what is beyond is read again.
template <int Width, int Held, class T>
__global__ void __launch_bounds__(norm_threads) rms_norm_forward(const T* x, const T* w, float eps, float* inverse, T* y,
                                                                 Index cols) {
  x += static_cast<Index>(blockIdx.x) * cols;
  y += static_cast<Index>(blockIdx.x) * cols;
  constexpr Index step = norm_threads * Width;
  const Index first = static_cast<Index>(threadIdx.x) * Width;
  Pack<T, Width> held[Held];
  float squares = 0;
  const auto add = [&](const Pack<T, Width>& pack) {
#pragma unroll
    for (int i = 0; i < Width; ++i) squares += pack[i] * pack[i];
  };
#pragma unroll
  for (int k = 0; k < Held; ++k) {
    if (first + k * step < cols) held[k] = load_pack<Width>(x + first + k * step);
  }
#pragma unroll
  for (int k = 0; k < Held; ++k) {
    if (first + k * step < cols) add(held[k]);
  }
  for (Index c = first + Held * step; c < cols; c += step) add(load_pack<Width>(x + c));
  squares = block_sum<norm_threads>(squares);
  const float by = rsqrtf(squares / static_cast<float>(cols) + eps);
  if (threadIdx.x == 0) inverse[blockIdx.x] = by;

  const auto put = [&](Index c, const Pack<T, Width>& pack) {
    const auto weight = load_pack<Width>(w + c);
    Pack<T, Width> result;
#pragma unroll
    for (int i = 0; i < Width; ++i) result.set(i, by * pack[i] * weight[i]);
    store_pack(y + c, result);
  };
#pragma unroll
  for (int k = 0; k < Held; ++k) {
    if (first + k * step < cols) put(first + k * step, held[k]);
  }
  for (Index c = first + Held * step; c < cols; c += step) put(c, load_pack<Width>(x + c));
}

/// dx = or += inverse dy w - inverse^3 mean(dy w x) x.
template <int Width, int Held, class T>
__global__ void __launch_bounds__(norm_threads) rms_norm_backward(const T* dy, const T* x, const T* w,
                                                                  const float* inverse, T* dx, bool to_add, Index cols) {
  dy += static_cast<Index>(blockIdx.x) * cols;
  x += static_cast<Index>(blockIdx.x) * cols;
  dx += static_cast<Index>(blockIdx.x) * cols;
  constexpr Index step = norm_threads * Width;
  const Index first = static_cast<Index>(threadIdx.x) * Width;
  Pack<T, Width> held_dy[Held], held_x[Held];
  float dot = 0;
  const auto add = [&](Index c, const Pack<T, Width>& up, const Pack<T, Width>& row) {
    const auto weight = load_pack<Width>(w + c);
#pragma unroll
    for (int i = 0; i < Width; ++i) dot += up[i] * weight[i] * row[i];
  };
#pragma unroll
  for (int k = 0; k < Held; ++k) {
    if (first + k * step >= cols) continue;
    held_dy[k] = load_pack<Width>(dy + first + k * step);
    held_x[k] = load_pack<Width>(x + first + k * step);
  }
#pragma unroll
  for (int k = 0; k < Held; ++k) {
    if (first + k * step < cols) add(first + k * step, held_dy[k], held_x[k]);
  }
  for (Index c = first + Held * step; c < cols; c += step) add(c, load_pack<Width>(dy + c), load_pack<Width>(x + c));
  dot = block_sum<norm_threads>(dot);
  const float by = inverse[blockIdx.x];
  const float pull = by * by * by * dot / static_cast<float>(cols);

  const auto put = [&](Index c, const Pack<T, Width>& up, const Pack<T, Width>& row) {
    const auto weight = load_pack<Width>(w + c);
    Pack<T, Width> result;
    if (to_add) result = load_pack<Width>(dx + c);
#pragma unroll
    for (int i = 0; i < Width; ++i) {
      const float value = by * up[i] * weight[i] - pull * row[i];
      result.set(i, to_add ? result[i] + value : value);
    }
    store_pack(dx + c, result);
  };
#pragma unroll
  for (int k = 0; k < Held; ++k) {
    if (first + k * step < cols) put(first + k * step, held_dy[k], held_x[k]);
  }
  for (Index c = first + Held * step; c < cols; c += step) put(c, load_pack<Width>(dy + c), load_pack<Width>(x + c));
}

/// partial (parts, C): sums of inverse dy x over the rows of each part.
template <class T>
__global__ void rms_norm_weight_partials(const T* dy, const T* x, const float* inverse, float* partial, Index rows,
                                         Index cols, Index rows_per_part) {
  const Index c = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= cols) return;
  const Index begin = blockIdx.y * rows_per_part;
  const Index end = begin + rows_per_part < rows ? begin + rows_per_part : rows;
  float sum = 0;
  for (Index m = begin; m < end; ++m) sum += inverse[m] * to_float(dy[m * cols + c]) * to_float(x[m * cols + c]);
  partial[blockIdx.y * cols + c] = sum;
}

/// to (C) += the rows of partial (parts, C), in order.
template <class = void>
__global__ void add_partials(const float* partial, float* to, Index parts, Index cols) {
  const Index c = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= cols) return;
  float sum = 0;
  for (Index part = 0; part < parts; ++part) sum += partial[part * cols + c];
  to[c] += sum;
}

}  // namespace cuda

template <class T>
struct RmsNormKernel<Cuda<T>> {
  using B = Cuda<T>;

  static void forward(const B& backend, View<const T> x, View<const T> w, double eps, View<float> inverse, View<T> y) {
    with_width(x.cols(), cuda::packs_fit(x.cols(), x.data, w.data, y.data), [&]<int Width, int Held>() {
      cuda::launch("rms_norm", cuda::rms_norm_forward<Width, Held, T>,
                   {static_cast<unsigned>(x.rows()), cuda::norm_threads, backend.stream()}, x.data, w.data,
                   static_cast<float>(eps), inverse.data, y.data, x.cols());
    });
  }

  static void backward(const B& backend, View<const T> dy, View<const T> x, View<const T> w, View<const float> inverse,
                       Sink<T> dx, View<float> dw) {
    const Index rows = x.rows(), cols = x.cols();
    if (dx.gradient) {
      with_width(cols, cuda::packs_fit(cols, dy.data, x.data, w.data, dx.gradient.data), [&]<int Width, int Held>() {
        cuda::launch("rms_norm backward", cuda::rms_norm_backward<Width, Held, T>,
                     {static_cast<unsigned>(rows), cuda::norm_threads, backend.stream()}, dy.data, x.data, w.data,
                     inverse.data, dx.gradient.data, dx.add, cols);
      });
    }
    if (!dw || rows == 0) return;
    constexpr unsigned threads = 128;
    const Index rows_per_part = std::max<Index>(16, (rows + 127) / 128);
    const Index parts = (rows + rows_per_part - 1) / rows_per_part;
    const unsigned across = cuda::blocks_for(cols, threads);
    cuda::Scratch<float> partial(parts * cols, backend.stream());
    cuda::launch("rms_norm weight gradient", cuda::rms_norm_weight_partials<T>,
                 {dim3(across, static_cast<unsigned>(parts)), threads, backend.stream()}, dy.data, x.data, inverse.data,
                 partial.data(), rows, cols, rows_per_part);
    cuda::launch("rms_norm weight gradient", cuda::add_partials<>, {across, threads, backend.stream()}, partial.data(),
                 dw.data, parts, cols);
  }

 private:
  /// Calls f with the packs that fit the rows: a few registers where rows are short, because then more blocks fit.
  template <class F>
  static void with_width(Index cols, bool packed, F&& f) {
    constexpr int width = cuda::widest<T>;
    if (!packed) f.template operator()<1, 2>();
    else if (cols <= cuda::norm_threads * width) f.template operator()<width, 1>();
    else if (cols <= 2 * cuda::norm_threads * width) f.template operator()<width, 2>();
    else f.template operator()<width, 4>();
  }
};

}  // namespace lolcats
