// Calls of the CUDA runtime with typed errors: check, launch, and what is wrong with a device.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <cuda_runtime.h>

#include <array>
#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>

namespace lolcats::cuda {

/// Throws CudaError "what: reason" unless `status` is success.
inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) [[likely]] return;
  cudaGetLastError();  // an error that is reported once should not be found again by the next call
  fail<CudaError>("{}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status));
}

/// "13.0" for 13000.
inline std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

/// What kernels and launchers want to know about a device.
struct DeviceInfo {
  int ordinal = 0;
  int capability = 0;        // 90 for compute capability 9.0
  int multiprocessors = 0;
  std::size_t shared_per_block = 0;  // bytes of shared memory that one block may ask for
  std::size_t memory = 0;            // bytes
  std::string name;
};

namespace detail {

template <class = void>
__global__ void probe() {}

/// Asks the runtime about device `ordinal` and refuses, with a reason, one that cannot run this program.
inline DeviceInfo inspect(int ordinal) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
  DeviceInfo info{ordinal,
                  10 * properties.major + properties.minor,
                  properties.multiProcessorCount,
                  properties.sharedMemPerBlockOptin,
                  properties.totalGlobalMem,
                  properties.name};
  cudaFuncAttributes attributes{};
  const cudaError_t found = cudaFuncGetAttributes(&attributes, probe<>);
  if (found == cudaErrorNoKernelImageForDevice || found == cudaErrorInvalidDeviceFunction) {
    cudaGetLastError();
    fail<CudaError>("CUDA device {} ({}) has compute capability {}.{}, for which this program was not compiled; expected "
                    "9.0 (H100, H200) unless CMAKE_CUDA_ARCHITECTURES said otherwise; Cpu<float> runs without",
                    ordinal, info.name, properties.major, properties.minor);
  }
  check(found, "cudaFuncGetAttributes");
  return info;
}

inline int count_devices() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver) {
    cudaGetLastError();
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) fail<CudaError>("no CUDA driver found; programs for the GPU need one, Cpu<float> does not");
    fail<CudaError>("the CUDA driver is too old: it supports CUDA {}, this program needs {}; update the driver",
                    version_text(driver), version_text(runtime));
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
    cudaGetLastError();
    fail<CudaError>("no CUDA device found (is CUDA_VISIBLE_DEVICES empty?); Cpu<float> runs without one");
  }
  check(status, "cudaGetDeviceCount");
  return count;
}

}  // namespace detail

/// The current device; the first call looks for it and throws a CudaError that says why there is none.
inline const DeviceInfo& device() {
  static const int count = detail::count_devices();
  static std::mutex mutex;
  static std::array<DeviceInfo, 64> known;  // by ordinal
  int ordinal = 0;
  check(cudaGetDevice(&ordinal), "cudaGetDevice");
  require<CudaError>(ordinal < count && ordinal < static_cast<int>(known.size()), "CUDA device {} of {}", ordinal,
                     count);
  const std::lock_guard lock(mutex);
  DeviceInfo& info = known[static_cast<std::size_t>(ordinal)];
  if (info.capability == 0) info = detail::inspect(ordinal);
  return info;
}

/// Is there a device that can run this program?  If not, `reason` says why.
inline bool available(std::string* reason = nullptr) {
  try {
    device();
    return true;
  } catch (const CudaError& error) {
    if (reason) *reason = error.what();
    return false;
  }
}

/// The one T of the current device, made at the first call and never destroyed: static objects may outlive the driver.
template <class T>
T& per_device() {
  static std::mutex mutex;
  static std::array<T*, 64> made{};
  const auto ordinal = static_cast<std::size_t>(device().ordinal);
  const std::lock_guard lock(mutex);
  if (!made[ordinal]) made[ordinal] = new T;
  return *made[ordinal];
}

namespace detail {
struct DefaultStream {
  DefaultStream() { check(cudaStreamCreate(&stream), "cudaStreamCreate"); }
  cudaStream_t stream = nullptr;
};
}  // namespace detail

/// The stream of a backend that was given none.  It synchronises with the legacy default stream, on which arrays are
/// allocated and freed (cuda_memory.cuh).
inline cudaStream_t default_stream() { return per_device<detail::DefaultStream>().stream; }

/// Grid, block, dynamic shared memory and stream of a launch.
struct Launch {
  dim3 grid;
  dim3 block;
  cudaStream_t stream = nullptr;
  std::size_t shared = 0;  // bytes
};

/// Launches `kernel` and checks the launch; an empty grid is no work.
///
/// Errors inside a kernel surface at a later call; with LOLCATS_CUDA_SYNCHRONIZE=1 in the environment each launch waits,
/// and they are reported under the name of the kernel that caused them.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const Launch& how, Arguments&&... arguments) {
  if (how.grid.x == 0 || how.grid.y == 0 || how.grid.z == 0) return;
  if (how.shared > 16 * 1024) {  // 48 KiB come unasked for, together with what the kernel declares
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(how.shared)), name);
  }
  kernel<<<how.grid, how.block, how.shared, how.stream>>>(std::forward<Arguments>(arguments)...);
  cudaError_t status = cudaGetLastError();
  static const bool synchronize = [] {
    const char* text = std::getenv("LOLCATS_CUDA_SYNCHRONIZE");
    return text && *text == '1';
  }();
  if (synchronize && status == cudaSuccess) status = cudaStreamSynchronize(how.stream);
  if (status == cudaSuccess) [[likely]] return;
  fail<CudaError>("{}: launch of ({}, {}, {}) blocks of ({}, {}, {}) threads with {} bytes of shared memory: {} ({})",
                  name, how.grid.x, how.grid.y, how.grid.z, how.block.x, how.block.y, how.block.z, how.shared,
                  cudaGetErrorString(status), cudaGetErrorName(status));
}

/// Blocks of `per_block` items that cover `count`.
constexpr unsigned blocks_for(Index count, Index per_block) {
  return static_cast<unsigned>((count + per_block - 1) / per_block);
}

}  // namespace lolcats::cuda
