// Device memory from a pool that keeps it, and pinned staging between host and device.
#pragma once

#include <lolcats/backend/cuda_runtime.cuh>
#include <lolcats/tensor/tensor.hpp>

#include <algorithm>
#include <cstring>
#include <span>

namespace lolcats::cuda {

/// The memory pool of the current device.  What is freed stays in it, so equal steps ask the driver for nothing.
class Pool {
 public:
  static Pool& current() { return per_device<Pool>(); }

  /// Uninitialised memory, usable by work that is put on `stream` from now on.
  void* allocate(std::size_t bytes, cudaStream_t stream) {
    void* memory = nullptr;
    cudaError_t status = cudaMallocFromPoolAsync(&memory, bytes, pool_, stream);
    if (status == cudaErrorMemoryAllocation) {  // once more, with what the pool holds in pieces given back
      cudaGetLastError();
      check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
      check(cudaMemPoolTrimTo(pool_, 0), "cudaMemPoolTrimTo");
      status = cudaMallocFromPoolAsync(&memory, bytes, pool_, stream);
    }
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      std::size_t free = 0, total = 0;
      cudaMemGetInfo(&free, &total);
      constexpr double mib = 1024.0 * 1024.0;
      fail<CudaError>(
          "out of GPU memory: {:.1f} MiB wanted, {:.1f} MiB of {:.1f} MiB free, {:.1f} MiB held by this program; smaller "
          "or fewer sequences per step, checkpointed layers, or streaming blocks of layers need less",
          static_cast<double>(bytes) / mib, static_cast<double>(free) / mib, static_cast<double>(total) / mib,
          static_cast<double>(reserved_bytes()) / mib);
    }
    check(status, "cudaMallocFromPoolAsync");
    return memory;
  }

  static void release(void* memory, cudaStream_t stream) noexcept { cudaFreeAsync(memory, stream); }

  /// Bytes that the driver has given to this pool; constant in a steady training step.
  std::size_t reserved_bytes() const { return attribute(cudaMemPoolAttrReservedMemCurrent); }

 private:
  friend Pool& per_device<Pool>();

  Pool() {
    cudaMemPoolProps properties{};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location.type = cudaMemLocationTypeDevice;
    properties.location.id = device().ordinal;
    check(cudaMemPoolCreate(&pool_, &properties), "cudaMemPoolCreate");
    unsigned long long keep = ~0ULL;
    check(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep), "cudaMemPoolSetAttribute");
  }
  std::size_t attribute(cudaMemPoolAttr which) const {
    unsigned long long value = 0;
    check(cudaMemPoolGetAttribute(pool_, which, &value), "cudaMemPoolGetAttribute");
    return static_cast<std::size_t>(value);
  }

  cudaMemPool_t pool_ = nullptr;
};

/// The memory space of arrays.  Allocation and release are ordered on the legacy default stream, and so with every
/// stream that is not created as non-blocking: an array may be freed while kernels of any backend still use it.
struct DeviceSpace {
  static void* allocate(std::size_t bytes) { return Pool::current().allocate(bytes, cudaStreamLegacy); }
  static void release(void* memory) noexcept { Pool::release(memory, cudaStreamLegacy); }
};

/// Device memory for the work between its construction and its destruction on one stream.
template <class T>
class Scratch {
 public:
  Scratch(Index size, cudaStream_t stream)
      : data_(size ? static_cast<T*>(Pool::current().allocate(sizeof(T) * static_cast<std::size_t>(size), stream))
                   : nullptr),
        size_(size),
        stream_(stream) {}
  Scratch(Scratch&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(other.size_), stream_(other.stream_) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch() {
    if (data_) Pool::release(data_, stream_);
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  Index size() const { return size_; }

 private:
  T* data_;
  Index size_;
  cudaStream_t stream_;
};

/// Pinned host memory that transfers pass through: two halves, one filled by the host while the other is in flight.
class Staging {
 public:
  static constexpr std::size_t half_bytes = std::size_t{8} << 20;

  static Staging& current() { return per_device<Staging>(); }

  Staging() {
    for (Half& half : halves_) {
      void* memory = nullptr;
      check(cudaHostAlloc(&memory, half_bytes, cudaHostAllocPortable), "cudaHostAlloc");
      half.memory = static_cast<std::byte*>(memory);
      check(cudaEventCreateWithFlags(&half.in_flight, cudaEventDisableTiming), "cudaEventCreate");
    }
  }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging() {
    for (const Half& half : halves_) {
      cudaEventSynchronize(half.in_flight);
      cudaEventDestroy(half.in_flight);
      cudaFreeHost(half.memory);
    }
  }

  /// Copies `bytes` to the device; `fill(offset, count, memory)` writes bytes [offset, offset + count) to memory.
  /// `unit` divides every offset.  The host may change its data as soon as this returns.
  template <class Fill>
  void upload(void* to, std::size_t bytes, std::size_t unit, cudaStream_t stream, Fill fill) {
    const std::lock_guard lock(mutex_);
    for (std::size_t first = 0; first < bytes;) {
      const std::size_t count = std::min(bytes - first, half_bytes / unit * unit);
      std::byte* memory = reserve(count, stream);
      fill(first, count, memory);
      check(cudaMemcpyAsync(static_cast<std::byte*>(to) + first, memory, count, cudaMemcpyHostToDevice, stream),
            "cudaMemcpyAsync (to the device)");
      check(cudaEventRecord(half().in_flight, stream), "cudaEventRecord");
      first += count;
    }
  }

  /// Copies `bytes` from the device; `drain(offset, count, memory)` reads them.  Waits for the stream.
  template <class Drain>
  void download(const void* from, std::size_t bytes, std::size_t unit, cudaStream_t stream, Drain drain) {
    const std::lock_guard lock(mutex_);
    const std::size_t step = half_bytes / unit * unit;
    struct Piece {
      std::size_t first = 0, count = 0;
      std::byte* memory = nullptr;
      cudaEvent_t arrived = nullptr;
    } before;
    const auto finish = [&](const Piece& piece) {
      if (!piece.count) return;
      check(cudaEventSynchronize(piece.arrived), "cudaEventSynchronize");
      drain(piece.first, piece.count, piece.memory);
    };
    for (std::size_t first = 0; first < bytes; first += step) {
      Piece piece{first, std::min(bytes - first, step)};
      piece.memory = reserve_whole_half();
      check(cudaMemcpyAsync(piece.memory, static_cast<const std::byte*>(from) + first, piece.count,
                            cudaMemcpyDeviceToHost, stream),
            "cudaMemcpyAsync (to the host)");
      check(cudaEventRecord(half().in_flight, stream), "cudaEventRecord");
      piece.arrived = half().in_flight;
      finish(std::exchange(before, piece));
    }
    finish(before);
  }

 private:
  struct Half {
    std::byte* memory = nullptr;
    cudaEvent_t in_flight = nullptr;  // recorded behind the last transfer
    std::size_t used = 0;
    cudaStream_t stream = nullptr;
  };

  Half& half() { return halves_[at_]; }

  /// `bytes` that no transfer uses.  Small uploads to one stream share a half, so that they rarely wait.
  std::byte* reserve(std::size_t bytes, cudaStream_t stream) {
    if (half().used + bytes > half_bytes || (half().used && half().stream != stream)) reserve_whole_half();
    std::byte* memory = half().memory + half().used;
    half().used += (bytes + 255) / 256 * 256;
    half().stream = stream;
    return memory;
  }
  std::byte* reserve_whole_half() {
    at_ = 1 - at_;
    check(cudaEventSynchronize(half().in_flight), "cudaEventSynchronize");
    half().used = 0;
    return half().memory;
  }

  std::mutex mutex_;
  std::array<Half, 2> halves_;
  std::size_t at_ = 0;
};

/// A copy of a few host values on the device; the host may change them at once.
template <class T>
Scratch<T> to_device(std::span<const T> values, cudaStream_t stream) {
  static_assert(std::is_trivially_copyable_v<T>);
  Scratch<T> copy(static_cast<Index>(values.size()), stream);
  const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
  Staging::current().upload(copy.data(), values.size_bytes(), sizeof(T), stream,
                            [bytes](std::size_t first, std::size_t count, std::byte* memory) {
                              std::memcpy(memory, bytes + first, count);
                            });
  return copy;
}

}  // namespace lolcats::cuda
