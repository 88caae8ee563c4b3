// Training kernels on CUDA: one launch for all parameters of a model.
#pragma once

#include <lolcats/backend/cuda.cuh>
#include <lolcats/train/adamw.hpp>
#include <lolcats/train/gradients.hpp>

#include <span>
#include <vector>

namespace lolcats {

namespace cuda {

constexpr int part_threads = 256;
/// Elements of one parameter that a block works on.
constexpr Index part_block = 4096;

/// Which part a block works on, and where in it: `first_block` (parts + 1) counts the blocks before each part.
struct PartOfBlock {
  int part;
  Index begin, end;
};
__device__ inline PartOfBlock part_of_block(const Index* first_block, int parts, const Index* sizes) {
  const Index block = blockIdx.x;
  int low = 0, high = parts;  // first_block[low] <= block < first_block[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (first_block[middle] <= block) low = middle;
    else high = middle;
  }
  const Index begin = (block - first_block[low]) * part_block;
  const Index end = begin + part_block;
  return {low, begin, end < sizes[low] ? end : sizes[low]};
}

/// The division of parts of some sizes into blocks, on the device.
class PartTable {
 public:
  template <class Parts, class Size>
  PartTable(const Parts& parts, Size size_of, cudaStream_t stream)
      : PartTable(sizes_of(parts, size_of), stream) {}

  int parts() const { return parts_; }
  unsigned blocks() const { return blocks_; }
  const Index* first_block() const { return table_.data(); }
  const Index* sizes() const { return table_.data() + parts_ + 1; }

 private:
  PartTable(const std::vector<Index>& sizes, cudaStream_t stream)
      : parts_(static_cast<int>(sizes.size())), blocks_(count(sizes)), table_(build(sizes, stream)) {}

  template <class Parts, class Size>
  static std::vector<Index> sizes_of(const Parts& parts, Size size_of) {
    std::vector<Index> sizes;
    for (const auto& part : parts) sizes.push_back(size_of(part));
    return sizes;
  }
  static Index blocks_of(Index size) { return (size + part_block - 1) / part_block; }
  static unsigned count(const std::vector<Index>& sizes) {
    Index blocks = 0;
    for (const Index size : sizes) blocks += blocks_of(size);
    return static_cast<unsigned>(blocks);
  }
  static Scratch<Index> build(const std::vector<Index>& sizes, cudaStream_t stream) {
    std::vector<Index> table{0};
    for (const Index size : sizes) table.push_back(table.back() + blocks_of(size));
    table.insert(table.end(), sizes.begin(), sizes.end());
    return to_device(std::span<const Index>(table), stream);
  }

  int parts_;
  unsigned blocks_;
  Scratch<Index> table_;  // first_block (parts + 1), sizes (parts)
};

/// AdamWCoefficients in fp32.
struct AdamWNumbers {
  float beta1, keep1, beta2, keep2, epsilon, shrink, rate, root;
};

template <class T>
__global__ void __launch_bounds__(part_threads)
    adamw(const AdamWPart<Cuda<T>>* parts, const Index* first_block, const Index* sizes, int count, AdamWNumbers c) {
  const PartOfBlock at = part_of_block(first_block, count, sizes);
  const float* gradient = parts[at.part].gradient.data;
  float* first = parts[at.part].first.data;
  float* second = parts[at.part].second.data;
  float* master = parts[at.part].master.data;
  T* value = parts[at.part].value.data;
  for (Index i = at.begin + threadIdx.x; i < at.end; i += part_threads) {
    const float g = gradient[i];
    const float m = first[i] = c.beta1 * first[i] + c.keep1 * g;
    const float v = second[i] = c.beta2 * second[i] + c.keep2 * g * g;
    const float x = master[i];
    // One difference instead of two: the master is rounded once.
    const float updated = master[i] = x - (c.shrink * x + c.rate * m / (sqrtf(v) * c.root + c.epsilon));
    if (value) value[i] = from_float<T>(updated);
  }
}

template <class = void>
__global__ void __launch_bounds__(part_threads)
    partial_squares(const View<float>* parts, const Index* first_block, const Index* sizes, int count, double* partial) {
  const PartOfBlock at = part_of_block(first_block, count, sizes);
  const float* x = parts[at.part].data;
  double total = 0;
  for (Index i = at.begin + threadIdx.x; i < at.end; i += part_threads) {
    total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  total = block_sum<part_threads>(total);
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

/// sums[part] = the sum of the blocks of that part; a block per part.
template <class = void>
__global__ void __launch_bounds__(part_threads)
    finish_squares(const double* partial, const Index* first_block, double* sums) {
  double total = 0;
  for (Index i = first_block[blockIdx.x] + threadIdx.x; i < first_block[blockIdx.x + 1]; i += part_threads) {
    total += partial[i];
  }
  total = block_sum<part_threads>(total);
  if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

/// x = factor x, or 0 (also where x is NaN) if `clear`.
template <class = void>
__global__ void __launch_bounds__(part_threads)
    scale_parts(const View<float>* parts, const Index* first_block, const Index* sizes, int count, float factor,
                bool clear) {
  const PartOfBlock at = part_of_block(first_block, count, sizes);
  float* x = parts[at.part].data;
  for (Index i = at.begin + threadIdx.x; i < at.end; i += part_threads) x[i] = clear ? 0.0F : factor * x[i];
}

}  // namespace cuda

template <class T>
struct AdamWKernel<Cuda<T>> {
  static void update(const Cuda<T>& backend, const AdamWCoefficients& c, std::span<const AdamWPart<Cuda<T>>> parts) {
    const auto f = [](double x) { return static_cast<float>(x); };
    const cuda::AdamWNumbers numbers{f(c.beta1), f(1 - c.beta1), f(c.beta2), f(1 - c.beta2),
                                     f(c.epsilon), f(c.shrink), f(c.rate), f(c.root)};
    const cudaStream_t stream = backend.stream();
    const cuda::PartTable table(parts, [](const auto& part) { return part.master.size(); }, stream);
    const auto there = cuda::to_device(parts, stream);
    cuda::launch("adamw", cuda::adamw<T>, {table.blocks(), cuda::part_threads, stream}, there.data(),
                 table.first_block(), table.sizes(), table.parts(), numbers);
  }
};

template <class T>
struct GradientKernel<Cuda<T>> {
  using Gradients = std::span<const View<float>>;

  static void zero(const Cuda<T>& backend, Gradients gradients) { change(backend, gradients, 0, true); }
  static void scale(const Cuda<T>& backend, Gradients gradients, double factor) {
    change(backend, gradients, factor, false);
  }

  /// Waits for the device once.
  static std::vector<double> sums_of_squares(const Cuda<T>& backend, Gradients gradients) {
    std::vector<double> sums(gradients.size());
    if (gradients.empty()) return sums;
    const cudaStream_t stream = backend.stream();
    const cuda::PartTable table(gradients, [](const auto& g) { return g.size(); }, stream);
    const auto there = cuda::to_device(gradients, stream);
    cuda::Scratch<double> partial(table.blocks(), stream), totals(table.parts(), stream);
    cuda::launch("gradient norm", cuda::partial_squares<>, {table.blocks(), cuda::part_threads, stream}, there.data(),
                 table.first_block(), table.sizes(), table.parts(), partial.data());
    cuda::launch("gradient norm", cuda::finish_squares<>,
                 {static_cast<unsigned>(table.parts()), cuda::part_threads, stream}, partial.data(), table.first_block(),
                 totals.data());
    backend.download(totals.data(), sums.data(), totals.size());
    return sums;
  }

 private:
  static void change(const Cuda<T>& backend, Gradients gradients, double factor, bool clear) {
    const cudaStream_t stream = backend.stream();
    const cuda::PartTable table(gradients, [](const auto& g) { return g.size(); }, stream);
    const auto there = cuda::to_device(gradients, stream);
    cuda::launch("scale gradients", cuda::scale_parts<>, {table.blocks(), cuda::part_threads, stream}, there.data(),
                 table.first_block(), table.sizes(), table.parts(), static_cast<float>(factor), clear);
  }
};

}  // namespace lolcats
