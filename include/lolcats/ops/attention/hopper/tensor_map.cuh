// Tensor maps: how the copy engine sees a matrix in device memory.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/tensor/bf16.hpp>

#include <cuda.h>
#include <cuda_runtime.h>

namespace lolcats::hopper {

/// A box of a shared-memory tile is this many bf16 columns wide: 128 bytes, the span of the swizzle.
inline constexpr int panel_columns = 64;
inline constexpr int panel_row_bytes = 128;

namespace detail {

using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                 const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                                 CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/// The driver's encoder, found through the runtime so that programs need not link with the driver's library.
inline EncodeTiled encode_tiled() {
  static const EncodeTiled function = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found{};
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found);
    require<CudaError>(error == cudaSuccess && found == cudaDriverEntryPointSuccess && entry,
                       "tensor_map: the driver has no cuTensorMapEncodeTiled ({})", cudaGetErrorString(error));
    return reinterpret_cast<EncodeTiled>(entry);
  }();
  return function;
}

}  // namespace detail

/// Can the copy engine reach all of these?
template <class... T>
bool aligned_for_boxes(const T*... data) {
  return ((reinterpret_cast<std::uintptr_t>(data) % 16 == 0) && ...);
}

/// The row-major matrix data (rows, cols) as boxes of `box_rows` rows by one panel of 64 columns, swizzled over 128 bytes.
///
/// Rows past the end read as zeros and are not written.  `cols` is a multiple of 8, `data` aligned to 16 bytes.  Pass the
/// result to kernels as `const __grid_constant__ CUtensorMap`.
inline CUtensorMap tensor_map(const bf16* data, Index rows, Index cols, int box_rows) {
  require<ShapeError>(
      rows > 0 && cols > 0 && cols % 8 == 0 && box_rows > 0 && box_rows <= 256,
      "tensor_map: a matrix ({}, {}) in boxes of {} rows, expected columns in eights and at most 256 rows", rows, cols,
      box_rows);
  require<ShapeError>(aligned_for_boxes(data), "tensor_map: data is not aligned to 16 bytes");
  const cuuint64_t extents[2] = {static_cast<cuuint64_t>(cols), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(cols) * sizeof(bf16)};
  const cuuint32_t box[2] = {panel_columns, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  CUtensorMap map;
  const CUresult result =
      detail::encode_tiled()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<bf16*>(data), extents, strides, box,
                             steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  require<CudaError>(result == CUDA_SUCCESS,
                     "tensor_map: cuTensorMapEncodeTiled returns {} for ({}, {}), boxes of {} rows",
                     static_cast<int>(result), rows, cols, box_rows);
  return map;
}

}  // namespace lolcats::hopper
