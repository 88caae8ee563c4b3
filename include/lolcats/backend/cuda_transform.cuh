// Loops over all elements of arrays, and sums of them: what memory-bound operations share.
#pragma once

#include <lolcats/backend/cuda_memory.cuh>
#include <lolcats/backend/cuda_numbers.cuh>
#include <lolcats/backend/cuda_runtime.cuh>

#include <algorithm>
#include <cstdint>

namespace lolcats::cuda {

/// Where an output goes: nowhere, written or added to.
template <class T>
struct Output {
  T* data = nullptr;
  bool add = false;
};

template <class T, int N>
struct Inputs {
  const T* data[N > 0 ? N : 1] = {};
};
template <class T, int N>
struct Outputs {
  Output<T> to[N];
};

namespace detail {

template <class T, int N, int M, class F>
__global__ void transform(Inputs<T, N> x, Outputs<T, M> y, Index n, bool packed, F f) {
  constexpr int width = widest<T>;
  const Index first = (static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x) * width;
  if (first >= n) return;
  float in[N > 0 ? N : 1];
  float out[M];
  if (packed && first + width <= n) {
    Pack<T> from[N > 0 ? N : 1];
    float results[M][width];
#pragma unroll
    for (int a = 0; a < N; ++a) from[a] = load_pack<width>(x.data[a] + first);
#pragma unroll
    for (int i = 0; i < width; ++i) {
#pragma unroll
      for (int a = 0; a < N; ++a) in[a] = from[a][i];
      f(first + i, in, out);
#pragma unroll
      for (int b = 0; b < M; ++b) results[b][i] = out[b];
    }
#pragma unroll
    for (int b = 0; b < M; ++b) {  // one after the other: two outputs may be the same array
      if (!y.to[b].data) continue;
      Pack<T> to;
      if (y.to[b].add) {
        to = load_pack<width>(y.to[b].data + first);
#pragma unroll
        for (int i = 0; i < width; ++i) results[b][i] += to[i];
      }
#pragma unroll
      for (int i = 0; i < width; ++i) to.set(i, results[b][i]);
      store_pack<width>(y.to[b].data + first, to);
    }
  } else {
    for (Index i = first; i < n && i < first + width; ++i) {
#pragma unroll
      for (int a = 0; a < N; ++a) in[a] = to_float(x.data[a][i]);
      f(i, in, out);
#pragma unroll
      for (int b = 0; b < M; ++b) {
        if (!y.to[b].data) continue;
        y.to[b].data[i] = from_float<T>(y.to[b].add ? to_float(y.to[b].data[i]) + out[b] : out[b]);
      }
    }
  }
}

template <int Threads, class T, int N, class F>
__global__ void partial_sums(Inputs<T, N> x, Index n, bool packed, F f, double* partial) {
  constexpr int width = widest<T>;
  const Index step = static_cast<Index>(gridDim.x) * Threads * width;
  double total = 0;
  for (Index first = (static_cast<Index>(blockIdx.x) * Threads + threadIdx.x) * width; first < n; first += step) {
    float in[N];
    if (packed && first + width <= n) {
      Pack<T> from[N];
#pragma unroll
      for (int a = 0; a < N; ++a) from[a] = load_pack<width>(x.data[a] + first);
      float here = 0;
#pragma unroll
      for (int i = 0; i < width; ++i) {
#pragma unroll
        for (int a = 0; a < N; ++a) in[a] = from[a][i];
        here += f(in);
      }
      total += static_cast<double>(here);
    } else {
      for (Index i = first; i < n && i < first + width; ++i) {
#pragma unroll
        for (int a = 0; a < N; ++a) in[a] = to_float(x.data[a][i]);
        total += static_cast<double>(f(in));
      }
    }
  }
  total = block_sum<Threads>(total);
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

template <int Threads, class = void>
__global__ void finish_sum(const double* partial, int count, double factor, float* y) {
  double total = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += Threads) total += partial[i];
  total = block_sum<Threads>(total);
  if (threadIdx.x == 0) *y = static_cast<float>(factor * total);
}

template <class T>
bool aligned(const T* data) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
}

}  // namespace detail

/// f(i, in, out) computes the M outputs of element i from its N inputs, in fp32; it must not keep state.
template <class T, int N, int M, class F>
void transform(const char* name, cudaStream_t stream, Index n, const Inputs<T, N>& x, const Outputs<T, M>& y, const F& f) {
  bool packed = true;
  for (int a = 0; a < N; ++a) packed = packed && detail::aligned(x.data[a]);
  for (int b = 0; b < M; ++b) packed = packed && detail::aligned(y.to[b].data);
  constexpr int threads = 256;
  launch(name, detail::transform<T, N, M, F>, {blocks_for(n, threads * widest<T>), threads, stream}, x, y, n, packed, f);
}

/// y = factor * the sum of f(in) over all n elements, in double and in an order that depends on n alone.
template <class T, int N, class F>
void sum(const char* name, cudaStream_t stream, Index n, const Inputs<T, N>& x, double factor, float* y, const F& f) {
  constexpr int threads = 256;
  bool packed = true;
  for (int a = 0; a < N; ++a) packed = packed && detail::aligned(x.data[a]);
  const Index blocks = std::clamp<Index>(n / (threads * widest<T> * 4), 1, 1024);
  Scratch<double> partial(blocks, stream);
  launch(name, detail::partial_sums<threads, T, N, F>, {static_cast<unsigned>(blocks), threads, stream}, x, n, packed, f,
         partial.data());
  launch(name, detail::finish_sum<threads>, {1, threads, stream}, partial.data(), static_cast<int>(blocks), factor, y);
}

}  // namespace lolcats::cuda
