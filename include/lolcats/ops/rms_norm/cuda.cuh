// y = x / sqrt(mean(x^2) + eps) * w on CUDA: a block per row, or a few lanes per short row, read from memory once.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/backend/cuda_columns.cuh>
#include <lolcats/ops/rms_norm/rms_norm.hpp>

namespace lolcats {

namespace cuda {

constexpr int norm_threads = 256;

/// A thread keeps `Held` packs of a row in registers; what is beyond is read again.
template <int Width, int Held, class T>
__global__ void __launch_bounds__(norm_threads)
    rms_norm_forward(const T* x, const T* w, float eps, float* inverse, T* y, Index cols) {
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
__global__ void __launch_bounds__(norm_threads)
    rms_norm_backward(const T* dy, const T* x, const T* w, const float* inverse, T* dx, bool to_add, Index cols) {
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

/// Rows that fit into one pack per lane, as heads do: `Lanes` lanes of a warp take one, so that a warp has several.
template <int Width, int Lanes, class T>
__global__ void __launch_bounds__(norm_threads)
    rms_norm_forward_short(const T* x, const T* w, float eps, float* inverse, T* y, Index rows, Index cols) {
  const Index row = static_cast<Index>(blockIdx.x) * (norm_threads / Lanes) + threadIdx.x / Lanes;
  const Index c = static_cast<Index>(threadIdx.x % Lanes) * Width;
  const bool here = row < rows && c < cols;
  Pack<T, Width> held;
  float squares = 0;
  if (here) {
    held = load_pack<Width>(x + row * cols + c);
#pragma unroll
    for (int i = 0; i < Width; ++i) squares += held[i] * held[i];
  }
  squares = lanes_sum<Lanes>(squares);
  const float by = rsqrtf(squares / static_cast<float>(cols) + eps);
  if (!here) return;
  if (c == 0) inverse[row] = by;
  const auto weight = load_pack<Width>(w + c);
  Pack<T, Width> result;
#pragma unroll
  for (int i = 0; i < Width; ++i) result.set(i, by * held[i] * weight[i]);
  store_pack(y + row * cols + c, result);
}

/// The gradient of the same.
template <int Width, int Lanes, class T>
__global__ void __launch_bounds__(norm_threads)
    rms_norm_backward_short(const T* dy, const T* x, const T* w, const float* inverse, T* dx, bool to_add, Index rows,
                            Index cols) {
  const Index row = static_cast<Index>(blockIdx.x) * (norm_threads / Lanes) + threadIdx.x / Lanes;
  const Index c = static_cast<Index>(threadIdx.x % Lanes) * Width;
  const bool here = row < rows && c < cols;
  Pack<T, Width> up, held, weight;
  float dot = 0;
  if (here) {
    up = load_pack<Width>(dy + row * cols + c);
    held = load_pack<Width>(x + row * cols + c);
    weight = load_pack<Width>(w + c);
#pragma unroll
    for (int i = 0; i < Width; ++i) dot += up[i] * weight[i] * held[i];
  }
  dot = lanes_sum<Lanes>(dot);
  if (!here) return;
  const float by = inverse[row];
  const float pull = by * by * by * dot / static_cast<float>(cols);
  Pack<T, Width> result;
  if (to_add) result = load_pack<Width>(dx + row * cols + c);
#pragma unroll
  for (int i = 0; i < Width; ++i) {
    const float value = by * up[i] * weight[i] - pull * held[i];
    result.set(i, to_add ? result[i] + value : value);
  }
  store_pack(dx + row * cols + c, result);
}

template <class T>
struct NormWeightTerm {
  const T* dy;
  const T* x;
  const float* inverse;
  Index cols;
  __device__ float operator()(Index m, Index c) const {
    return inverse[m] * to_float(dy[m * cols + c]) * to_float(x[m * cols + c]);
  }
};

}  // namespace cuda

template <class T>
struct RmsNormKernel<Cuda<T>> {
  using B = Cuda<T>;

  static void forward(const B& backend, View<const T> x, View<const T> w, double eps, View<float> inverse, View<T> y) {
    const auto by = static_cast<float>(eps);
    const bool packed = cuda::packs_fit(x.cols(), x.data, w.data, y.data);
    if (is_short(x.cols(), packed)) {
      with_lanes(x.cols(), [&]<int Lanes>() {
        cuda::launch("rms_norm, short rows", cuda::rms_norm_forward_short<cuda::widest<T>, Lanes, T>,
                     {cuda::blocks_for(x.rows(), cuda::norm_threads / Lanes), cuda::norm_threads, backend.stream()},
                     x.data, w.data, by, inverse.data, y.data, x.rows(), x.cols());
      });
      return;
    }
    with_width(x.cols(), packed, [&]<int Width, int Held>() {
      cuda::launch("rms_norm", cuda::rms_norm_forward<Width, Held, T>,
                   {static_cast<unsigned>(x.rows()), cuda::norm_threads, backend.stream()}, x.data, w.data, by,
                   inverse.data, y.data, x.cols());
    });
  }

  static void backward(const B& backend, View<const T> dy, View<const T> x, View<const T> w, View<const float> inverse,
                       Sink<T> dx, View<float> dw) {
    const Index rows = x.rows(), cols = x.cols();
    if (dx.gradient) input_gradient(backend, dy, x, w, inverse, dx);
    if (!dw) return;
    cuda::add_column_sums("rms_norm weight gradient", backend.stream(), rows, cols,
                          cuda::NormWeightTerm<T>{dy.data, x.data, inverse.data, cols}, dw.data);
  }

 private:
  static void input_gradient(const B& backend, View<const T> dy, View<const T> x, View<const T> w,
                             View<const float> inverse, Sink<T> dx) {
    const Index rows = x.rows(), cols = x.cols();
    const bool packed = cuda::packs_fit(cols, dy.data, x.data, w.data, dx.gradient.data);
    if (is_short(cols, packed)) {
      with_lanes(cols, [&]<int Lanes>() {
        cuda::launch("rms_norm backward, short rows", cuda::rms_norm_backward_short<cuda::widest<T>, Lanes, T>,
                     {cuda::blocks_for(rows, cuda::norm_threads / Lanes), cuda::norm_threads, backend.stream()},
                     dy.data, x.data, w.data, inverse.data, dx.gradient.data, dx.add, rows, cols);
      });
      return;
    }
    with_width(cols, packed, [&]<int Width, int Held>() {
      cuda::launch("rms_norm backward", cuda::rms_norm_backward<Width, Held, T>,
                   {static_cast<unsigned>(rows), cuda::norm_threads, backend.stream()}, dy.data, x.data, w.data,
                   inverse.data, dx.gradient.data, dx.add, cols);
    });
  }

  /// One pack per lane is enough for a row: 256 numbers in bf16, 128 in fp32.
  static bool is_short(Index cols, bool packed) { return packed && cols <= 32 * cuda::widest<T>; }

  /// Calls f with the lanes that a short row takes.
  template <class F>
  static void with_lanes(Index cols, F&& f) {
    constexpr int width = cuda::widest<T>;
    if (cols <= 8 * width)
      f.template operator()<8>();
    else if (cols <= 16 * width)
      f.template operator()<16>();
    else
      f.template operator()<32>();
  }

  /// Calls f with the packs that fit the rows: a few registers where rows are short, because then more blocks fit.
  template <class F>
  static void with_width(Index cols, bool packed, F&& f) {
    constexpr int width = cuda::widest<T>;
    if (!packed)
      f.template operator()<1, 2>();
    else if (cols <= cuda::norm_threads * width)
      f.template operator()<width, 1>();
    else if (cols <= 2 * cuda::norm_threads * width)
      f.template operator()<width, 2>();
    else
      f.template operator()<width, 4>();
  }
};

}  // namespace lolcats
