// A model with random weights, to be pretrained.
#pragma once

#include <lolcats/model/llama.hpp>

namespace lolcats {

/// Matrices are normal with the given deviation (0.02 is transformers' initializer_range), norms are 1, biases 0.
///
/// The two projections of a layer that write to the residual stream, o and down, have `residual_deviation` instead, if
/// it is positive: GPT-2 divides by sqrt(2 L), so that the stream does not grow with depth.  Every weight is a pure
/// function of the seed and its place in the model.  Throws ConfigError.
template <LlamaModel Model>
Model random_llama(const LlamaConfig& config, std::uint64_t seed = 0, double deviation = 0.02,
                   typename Model::Device backend = {}, double residual_deviation = 0) {
  using B = typename Model::Device;
  std::uint64_t stream = detail::base_streams;
  const auto source = [&](const std::string& name, const Shape& shape) {
    const bool residual = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
    const double spread = residual && residual_deviation > 0 ? residual_deviation : deviation;
    Rng rng(seed, stream++);
    std::vector<double> values(static_cast<std::size_t>(shape.size()), name.ends_with(".bias") ? 0.0 : 1.0);
    if (shape.rank() > 1) {
      for (double& value : values) value = spread * rng.normal();
    }
    return detail::make_parameter<B>(backend, shape, values);
  };
  return Model(config, source, seed, backend);
}

}  // namespace lolcats
