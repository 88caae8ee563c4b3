// What the whole-model benchmarks on a GPU share: random weights made there, and the rate of its products.
#pragma once

#include "cuda_timing.cuh"
#include "measure.hpp"

#include <lolcats/cuda.cuh>

namespace bench {

/// A model with normal matrices of deviation 0.02 and norms of 1, all made on the card.
template <class Model>
Model random_model(const lolcats::LlamaConfig& config) {
  const Gpu gpu;
  const auto source = [&](const std::string&, const lolcats::Shape& shape) {
    if (shape.rank() == 1) {
      return lolcats::detail::make_parameter<Gpu>(gpu, shape, std::vector<double>(static_cast<std::size_t>(shape.size()), 1.0));
    }
    return lolcats::Parameter<Gpu>(normal(shape, 0.02));
  };
  return Model(config, source);
}

/// FLOP/s of an 8192^3 product of random bf16 numbers: what a step made of products cannot exceed.
inline double product_rate_on_gpu() {
  using namespace lolcats;
  const Gpu gpu;
  constexpr Index n = 8192;
  const Array<Gpu> a = normal({n, n}), b = normal({n, n});
  Array<Gpu> c({n, n});
  const auto product = [&] { LinearKernel<Gpu>::forward(gpu, a.view(), b.view(), {c.view(), false}); };
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
