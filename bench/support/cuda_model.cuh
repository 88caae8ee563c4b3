// What the whole-model benchmarks on a GPU share: random weights made there, and the rate of its products.
#pragma once

#include "measure.hpp"

#include <lolcats/cuda.cuh>

namespace bench {

using Gpu = lolcats::Cuda<lolcats::bf16>;

/// Normal numbers with the given deviation, by Box-Muller over hashed counters.
__global__ void fill_normal(lolcats::bf16* x, Index n, float deviation, std::uint64_t seed) {
  const Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const std::uint64_t bits = lolcats::mix_bits(static_cast<std::uint64_t>(i) * 0x9e3779b97f4a7c15ULL + seed);
  const float u = (static_cast<float>(bits >> 40) + 1.0F) * 0x1p-24F, angle = static_cast<float>(bits & 0xffffffU) * 0x1p-24F;
  x[i] = lolcats::cuda::from_float<lolcats::bf16>(deviation * sqrtf(-2 * logf(u)) * cospif(2 * angle));
}

/// A model with normal matrices of deviation 0.02 and norms of 1, all made on the card.
template <class Model>
Model random_model(const lolcats::LlamaConfig& config) {
  const Gpu gpu;
  std::uint64_t seed = 0;
  const auto source = [&](const std::string&, const lolcats::Shape& shape) {
    if (shape.rank() == 1) {
      return lolcats::detail::make_parameter<Gpu>(gpu, shape, std::vector<double>(static_cast<std::size_t>(shape.size()), 1.0));
    }
    lolcats::Array<Gpu> array(shape);
    lolcats::cuda::launch("fill_normal", fill_normal, {lolcats::cuda::blocks_for(shape.size(), 256), 256, gpu.stream()},
                          array.data(), shape.size(), 0.02F, lolcats::mix_bits(++seed));
    return lolcats::Parameter<Gpu>(std::move(array));
  };
  return Model(config, source);
}

/// FLOP/s of an 8192^3 product of random bf16 numbers: what a step made of products cannot exceed.
inline double product_rate_on_gpu() {
  using namespace lolcats;
  const Gpu gpu;
  constexpr Index n = 8192;
  Array<Gpu> a(Shape{n, n}), b(Shape{n, n}), c(Shape{n, n});
  for (Array<Gpu>* x : {&a, &b}) {
    cuda::launch("fill_normal", fill_normal, {cuda::blocks_for(x->size(), 256), 256, gpu.stream()}, x->data(), x->size(), 1.0F,
                 mix_bits(reinterpret_cast<std::uintptr_t>(x)));
  }
  const auto product = [&] { LinearKernel<Gpu>::forward(gpu, std::as_const(a).view(), std::as_const(b).view(), c.view()); };
  for (int i = 0; i < 5; ++i) product();
  constexpr int repeats = 20;
  gpu.synchronize();
  const Instant start = Instant::now();
  for (int i = 0; i < repeats; ++i) product();
  gpu.synchronize();
  return 2.0 * n * n * n * repeats / (Instant::now() - start).wall;
}

/// Bytes that the process holds on the card.
inline std::size_t gpu_bytes() {
  std::size_t free = 0, total = 0;
  lolcats::cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return total - free;
}

/// Fills in what every line says.
inline Json gpu_line(const char* bench, const std::string& shape) {
  return {{"bench", bench}, {"implementation", "lolcats"}, {"device", lolcats::cuda::device().name}, {"model_shape", shape}};
}

}  // namespace bench
