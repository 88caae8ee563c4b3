// The CUDA backend: arrays in the memory of one GPU, work on one stream.
#pragma once

#include <lolcats/backend/backend.hpp>
#include <lolcats/backend/cuda_memory.cuh>
#include <lolcats/backend/cuda_numbers.cuh>
#include <lolcats/backend/cuda_runtime.cuh>
#include <lolcats/core/parallel.hpp>

#include <bit>
#include <cstdint>
#include <string_view>

namespace lolcats {

namespace cuda {

/// A double rounded to nearest.  By way of float a tie could be rounded twice; rounding to odd there prevents that.
template <class T>
T round_to(double x) {
  if constexpr (std::is_same_v<T, bf16>) {
    const auto nearest = static_cast<float>(x);
    const auto back = static_cast<double>(nearest);
    if (back == x || x != x || nearest - nearest != 0.0F) return bf16(nearest);
    auto bits = std::bit_cast<std::uint32_t>(nearest);
    if ((back < 0 ? -back : back) > (x < 0 ? -x : x)) --bits;  // towards zero
    return bf16(std::bit_cast<float>(bits | 1U));
  } else {
    return static_cast<T>(x);
  }
}

/// Within host memory, by several threads: one is slower than the bus to the device.
inline void copy_bytes(const std::byte* from, std::byte* to, std::size_t count) {
  parallel_ranges(static_cast<Index>(count), Index{1} << 20,
                  [&](Index first, Index last) { std::memcpy(to + first, from + first, static_cast<std::size_t>(last - first)); });
}

template <class From, class To>
__global__ void convert(const From* from, To* to, Index n) {
  const Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) to[i] = from_float<To>(to_float(from[i]));
}

}  // namespace cuda

/// Arrays of T in the memory of the current GPU.  Losses, statistics, weight gradients and optimizer state are float.
///
/// Work is put on one stream and the host goes on; `to_host`, `download` and `synchronize` wait for it.  Without a
/// stream of its own a backend uses one that the process shares.  Another stream must be a blocking one
/// (cudaStreamCreate), which orders it with the release of arrays.
template <class T>
  requires std::same_as<T, float> || std::same_as<T, bf16>
struct Cuda {
  using Scalar = T;
  using Real = float;
  using Space = cuda::DeviceSpace;

  Cuda() = default;
  explicit Cuda(cudaStream_t stream) : stream_(stream) {}

  static constexpr std::string_view name() { return std::is_same_v<T, float> ? "cuda<float>" : "cuda<bf16>"; }

  cudaStream_t stream() const { return stream_ ? stream_ : cuda::default_stream(); }
  void synchronize() const { cuda::check(cudaStreamSynchronize(stream()), "Cuda::synchronize"); }

  template <class U>
  void zero(U* data, Index n) const {
    if (n == 0) return;
    cuda::check(cudaMemsetAsync(data, 0, bytes<U>(n), stream()), "Cuda::zero");
  }

  /// Within the device; between float and bf16 it rounds to nearest.
  template <class From, class To>
  void copy(const From* from, To* to, Index n) const {
    if (n == 0) return;
    if constexpr (std::is_same_v<From, To>) {
      cuda::check(cudaMemcpyAsync(to, from, bytes<From>(n), cudaMemcpyDeviceToDevice, stream()), "Cuda::copy");
    } else {
      cuda::launch("convert", cuda::convert<From, To>, {cuda::blocks_for(n, 256), 256, stream()}, from, to, n);
    }
  }

  /// To doubles in host memory, exact; waits for the stream.
  template <class U>
  void to_host(const U* from, double* to, Index n) const {
    cuda::Staging::current().download(from, bytes<U>(n), sizeof(U), stream(),
                                      [to](std::size_t first, std::size_t count, const std::byte* memory) {
                                        const auto* values = reinterpret_cast<const U*>(memory);
                                        double* into = to + first / sizeof(U);
                                        for (std::size_t i = 0; i < count / sizeof(U); ++i) into[i] = values[i];
                                      });
  }

  /// From doubles in host memory, rounded to nearest.  The host may change them as soon as this returns.
  template <class U>
  void from_host(const double* from, U* to, Index n) const {
    cuda::Staging::current().upload(to, bytes<U>(n), sizeof(U), stream(),
                                    [from](std::size_t first, std::size_t count, std::byte* memory) {
                                      auto* values = reinterpret_cast<U*>(memory);
                                      const double* source = from + first / sizeof(U);
                                      for (std::size_t i = 0; i < count / sizeof(U); ++i) {
                                        values[i] = cuda::round_to<U>(source[i]);
                                      }
                                    });
  }

  /// Elements as they are, to host memory; waits for the stream.
  template <class U>
  void download(const U* from, U* to, Index n) const {
    cuda::Staging::current().download(from, bytes<U>(n), sizeof(U), stream(),
                                      [to](std::size_t first, std::size_t count, const std::byte* memory) {
                                        cuda::copy_bytes(memory, reinterpret_cast<std::byte*>(to) + first, count);
                                      });
  }

  /// Elements as they are, from host memory; the host may change them as soon as this returns.
  template <class U>
  void upload(const U* from, U* to, Index n) const {
    cuda::Staging::current().upload(to, bytes<U>(n), sizeof(U), stream(),
                                    [from](std::size_t first, std::size_t count, std::byte* memory) {
                                      cuda::copy_bytes(reinterpret_cast<const std::byte*>(from) + first, memory, count);
                                    });
  }

  friend bool operator==(const Cuda&, const Cuda&) = default;

 private:
  template <class U>
  static std::size_t bytes(Index n) {
    return sizeof(U) * static_cast<std::size_t>(n);
  }

  cudaStream_t stream_ = nullptr;
};

static_assert(Backend<Cuda<float>> && Backend<Cuda<bf16>>);

}  // namespace lolcats
