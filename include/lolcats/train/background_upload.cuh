// Weights that reach the GPU while it computes: BackgroundUpload<Cuda<T>>.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/train/layer_weights.hpp>

namespace lolcats {

/// Through pinned memory of its own, on a stream that waits for no other.
template <class T>
class BackgroundUpload<Cuda<T>> {
 public:
  BackgroundUpload() : ordinal_(cuda::device().ordinal) {
    cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    cuda::check(cudaEventCreateWithFlags(&allocated_, cudaEventDisableTiming), "cudaEventCreate");
  }
  BackgroundUpload(const BackgroundUpload&) = delete;
  BackgroundUpload& operator=(const BackgroundUpload&) = delete;
  ~BackgroundUpload() {
    cudaStreamSynchronize(stream_);
    cudaEventDestroy(allocated_);
    cudaStreamDestroy(stream_);
  }

  /// Arrays are allocated on the legacy stream, which a non-blocking one does not wait for by itself.
  void begin() {
    cuda::check(cudaEventRecord(allocated_, cudaStreamLegacy), "cudaEventRecord");
    cuda::check(cudaStreamWaitEvent(stream_, allocated_, 0), "cudaStreamWaitEvent");
  }

  void upload(const T* from, T* to, Index n) {
    cuda::check(cudaSetDevice(ordinal_), "cudaSetDevice");  // threads begin with the first one
    const auto* const bytes = reinterpret_cast<const std::byte*>(from);
    staging_.upload(to, sizeof(T) * static_cast<std::size_t>(n), sizeof(T), stream_,
                    [bytes](std::size_t first, std::size_t count, std::byte* memory) { std::memcpy(memory, bytes + first, count); });
  }

  void finish() { cuda::check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize"); }

 private:
  int ordinal_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t allocated_ = nullptr;
  cuda::Staging staging_;
};

}  // namespace lolcats
