// What the whole-model benchmarks on a GPU share: random weights, there or in host memory, and the rate of its products.
#pragma once

#include "cuda_timing.cuh"
#include "measure.hpp"

#include <lolcats/cuda.cuh>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

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

/// Weights of `block` layers, which every block has, the embedding and what else is asked for, in host memory; made when they are first
/// asked for.
class HostWeights {
 public:
  explicit HostWeights(Index block) : block_(block) {}

  lolcats::Tensor<lolcats::bf16> operator()(const std::string& name, const lolcats::Shape& shape) {
    const std::string own = in_block(name);
    auto found = made_.find(own);
    if (found == made_.end()) found = made_.emplace(own, make(shape)).first;
    return found->second;
  }

 private:
  /// "model.layers.5.mlp..." is "model.layers.1.mlp..." of blocks of 4.
  std::string in_block(const std::string& name) const {
    const std::string prefix = "model.layers.";
    if (!name.starts_with(prefix)) return name;
    std::size_t digits = 0;
    const Index layer = std::stoll(name.substr(prefix.size()), &digits);
    return fmt::format("{}{}{}", prefix, layer % block_, name.substr(prefix.size() + digits));
  }
  static lolcats::Tensor<lolcats::bf16> make(const lolcats::Shape& shape) {
    lolcats::Tensor<lolcats::bf16> host(shape);
    if (shape.rank() == 1) {
      std::fill_n(host.data(), host.size(), lolcats::bf16(1.0F));
    } else {
      const auto values = normal(shape, 0.02);
      lolcats::download(Gpu{}, values.data(), host.data(), host.size());
    }
    return host;
  }

  Index block_;
  std::map<std::string, lolcats::Tensor<lolcats::bf16>> made_;
};

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
