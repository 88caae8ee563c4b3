// Matrix products by cuBLASLt: row-major, any strides, accumulated in fp32.
#pragma once

#include <lolcats/backend/cuda_memory.cuh>
#include <lolcats/tensor/bf16.hpp>

#include <cublasLt.h>

#include <algorithm>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>

namespace lolcats::cuda {

inline void check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) [[likely]] return;
  fail<CudaError>("{}: {}", what, cublasLtGetStatusString(status));
}

/// A factor of a product: op(X), where X is stored row by row, `stride` elements apart.  In a batch of products the next
/// X starts `batch_stride` elements later.
template <class T>
struct Factor {
  const T* data = nullptr;
  Index stride = 0;
  bool transposed = false;
  Index batch_stride = 0;
};

/// Where a product goes.
template <class T>
struct Product {
  T* data = nullptr;
  Index stride = 0;
  Index batch_stride = 0;
};

/// Rows and columns of the result, and the length of the sums.
struct ProductSize {
  Index rows = 0;
  Index cols = 0;
  Index depth = 0;
  Index batches = 1;
};

namespace detail {

/// What a plan depends on.
struct PlanKey {
  Index rows, cols, depth, batches;
  Index a_stride, b_stride, c_stride, a_batch, b_batch, c_batch;
  int transposes, types, a_alignment, b_alignment, c_alignment;
  bool adds;
  auto operator<=>(const PlanKey&) const = default;
};

/// Destroys what cuBLASLt created.
template <auto Destroy>
struct Destroyer {
  template <class T>
  void operator()(T* x) const {
    Destroy(x);
  }
};
using MatmulDescription = std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroyer<cublasLtMatmulDescDestroy>>;
using MatrixLayout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroyer<cublasLtMatrixLayoutDestroy>>;
using Preference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroyer<cublasLtMatmulPreferenceDestroy>>;

struct Plan {
  MatmulDescription description;
  MatrixLayout a, b, c;
  cublasLtMatmulAlgo_t algorithm;
  std::size_t workspace = 0;  // bytes
};

/// The largest power of two, up to 16, that divides an address and whole rows.
inline int alignment_of(const void* data, Index stride, Index batch_stride, std::size_t element) {
  const auto bits = reinterpret_cast<std::uintptr_t>(data) | static_cast<std::uintptr_t>(stride) * element |
                    static_cast<std::uintptr_t>(batch_stride) * element | 16U;
  return static_cast<int>(bits & (~bits + 1));
}

template <class T>
constexpr cudaDataType_t data_type = std::is_same_v<T, bf16> ? CUDA_R_16BF : CUDA_R_32F;

/// The handle and the plans of one device.
class Cublas {
 public:
  static constexpr std::size_t most_workspace = std::size_t{32} << 20;

  Cublas() { check(cublasLtCreate(&handle_), "cublasLtCreate"); }

  cublasLtHandle_t handle() const { return handle_; }

  /// The plan for `key`: asked for once per shape.  Column-major cuBLAS sees a row-major matrix as its transpose, so it is
  /// given C^T = op(B)^T op(A)^T.
  const Plan& plan(const PlanKey& key, cudaDataType_t in, cudaDataType_t out) {
    const std::lock_guard lock(mutex_);
    Plan& plan = plans_[key];
    if (plan.description) return plan;
    Plan made;
    cublasLtMatmulDesc_t description = nullptr;
    check(cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    made.description.reset(description);
    const cublasOperation_t left = key.transposes & 2 ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t right = key.transposes & 1 ? CUBLAS_OP_T : CUBLAS_OP_N;
    set(description, CUBLASLT_MATMUL_DESC_TRANSA, left);
    set(description, CUBLASLT_MATMUL_DESC_TRANSB, right);
    const bool ta = key.transposes & 1, tb = key.transposes & 2;
    made.b = layout(in, tb ? key.depth : key.cols, tb ? key.cols : key.depth, key.b_stride, key.batches, key.b_batch);
    made.a = layout(in, ta ? key.rows : key.depth, ta ? key.depth : key.rows, key.a_stride, key.batches, key.a_batch);
    made.c = layout(out, key.cols, key.rows, key.c_stride, key.batches, key.c_batch);

    cublasLtMatmulPreference_t raw = nullptr;
    check(cublasLtMatmulPreferenceCreate(&raw), "cublasLtMatmulPreferenceCreate");
    const Preference preference(raw);
    prefer(raw, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, most_workspace);
    prefer(raw, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(key.b_alignment));
    prefer(raw, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(key.a_alignment));
    prefer(raw, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(key.c_alignment));
    prefer(raw, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(key.c_alignment));
    // Parts of a split sum meet in fp32, whatever the type of the output, and in a fixed order.
    prefer(raw, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle_, description, made.b.get(), made.a.get(),
                                                                 made.c.get(), made.c.get(), raw, 1, &best, &found);
    if (status != CUBLAS_STATUS_SUCCESS || found == 0) {
      fail<CudaError>("cuBLASLt has no algorithm for a ({}, {}) product of depth {}: {}", key.rows, key.cols, key.depth,
                      cublasLtGetStatusString(status));
    }
    made.algorithm = best.algo;
    made.workspace = best.workspaceSize;
    plan = std::move(made);
    return plan;
  }

 private:
  template <class T>
  static void set(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t which, const T& value) {
    check(cublasLtMatmulDescSetAttribute(description, which, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
  }
  template <class T>
  static void prefer(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t which, const T& value) {
    check(cublasLtMatmulPreferenceSetAttribute(preference, which, &value, sizeof value),
          "cublasLtMatmulPreferenceSetAttribute");
  }
  static MatrixLayout layout(cudaDataType_t type, Index rows, Index cols, Index stride, Index batches, Index batch) {
    cublasLtMatrixLayout_t raw = nullptr;
    check(cublasLtMatrixLayoutCreate(&raw, type, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols),
                                     stride),
          "cublasLtMatrixLayoutCreate");
    MatrixLayout made(raw);
    if (batches > 1) {
      const auto count = static_cast<std::int32_t>(batches);
      check(cublasLtMatrixLayoutSetAttribute(raw, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count),
            "cublasLtMatrixLayoutSetAttribute");
      check(cublasLtMatrixLayoutSetAttribute(raw, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &batch, sizeof batch),
            "cublasLtMatrixLayoutSetAttribute");
    }
    return made;
  }

  cublasLtHandle_t handle_ = nullptr;
  std::mutex mutex_;
  std::map<PlanKey, Plan> plans_;
};

}  // namespace detail

/// C (rows, cols) = alpha op(A) op(B) + beta C, batch by batch; op(A) is (rows, depth), op(B) (depth, cols).
///
/// bf16 or fp32 in (fp32 stays fp32: no TF32), bf16 or fp32 out, sums in fp32.  With beta = 0 old content of C is ignored.
template <class T, class Out>
void multiply(cudaStream_t stream, const ProductSize& size, Factor<T> a, Factor<T> b, Product<Out> c, double alpha = 1,
              double beta = 0) {
  static_assert(std::is_same_v<T, bf16> || std::is_same_v<Out, float>, "fp32 factors give an fp32 product");
  if (size.rows == 0 || size.cols == 0 || size.batches == 0) return;
  require<ShapeError>(size.depth > 0, "cuda::multiply: depth is {}, expected a positive number", size.depth);
  const bool batched = size.batches > 1;
  const detail::PlanKey key{size.rows,
                            size.cols,
                            size.depth,
                            size.batches,
                            a.stride,
                            b.stride,
                            c.stride,
                            batched ? a.batch_stride : 0,
                            batched ? b.batch_stride : 0,
                            batched ? c.batch_stride : 0,
                            (a.transposed ? 1 : 0) | (b.transposed ? 2 : 0),
                            static_cast<int>(sizeof(T) * 8 + sizeof(Out)),
                            detail::alignment_of(a.data, a.stride, batched ? a.batch_stride : 0, sizeof(T)),
                            detail::alignment_of(b.data, b.stride, batched ? b.batch_stride : 0, sizeof(T)),
                            detail::alignment_of(c.data, c.stride, batched ? c.batch_stride : 0, sizeof(Out)),
                            beta != 0};
  auto& cublas = per_device<detail::Cublas>();
  const detail::Plan& plan = cublas.plan(key, detail::data_type<T>, detail::data_type<Out>);
  Scratch<std::byte> workspace(static_cast<Index>(plan.workspace), stream);
  const auto by = static_cast<float>(alpha), keep = static_cast<float>(beta);
  const cublasStatus_t status =
      cublasLtMatmul(cublas.handle(), plan.description.get(), &by, b.data, plan.b.get(), a.data, plan.a.get(), &keep,
                     c.data, plan.c.get(), c.data, plan.c.get(), &plan.algorithm, workspace.data(), plan.workspace, stream);
  if (status != CUBLAS_STATUS_SUCCESS) {
    fail<CudaError>("cublasLtMatmul of a ({}, {}) product of depth {}: {}", size.rows, size.cols, size.depth,
                    cublasLtGetStatusString(status));
  }
}

}  // namespace lolcats::cuda
