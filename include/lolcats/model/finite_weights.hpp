// Weights that are no numbers, found by tensor before they make every result one.
#pragma once

#include <lolcats/core/parallel.hpp>
#include <lolcats/model/load.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <string>

namespace lolcats {

namespace detail {

/// Throws NumericError naming `name`, the tensor and the place of the first of its numbers that is none.
template <class T>
void require_finite(const std::string& name, const std::string& tensor, View<const T> values) {
  const T* const data = values.data;
  constexpr Index block = Index{1} << 18;
  std::atomic<Index> first = std::numeric_limits<Index>::max();
  parallel_for((values.size() + block - 1) / block, [&](Index i) {
    const Index begin = i * block, end = std::min(values.size(), begin + block);
    float sum = 0;  // 0 * x is NaN for what is not finite, and sums keep it
    for (Index j = begin; j < end; ++j) sum += 0.0f * static_cast<float>(data[j]);
    if (sum == 0) return;
    for (Index j = begin; j < end; ++j) {
      if (std::isfinite(static_cast<float>(data[j]))) continue;
      Index known = first.load();
      while (j < known && !first.compare_exchange_weak(known, j)) {
      }
      return;
    }
  });
  const Index at = first.load();
  if (at == std::numeric_limits<Index>::max()) return;
  fail<NumericError>("{}: tensor '{}' of shape {} is {} at element {}", name, tensor, to_string(values.shape),
                     static_cast<double>(data[at]), at);
}

}  // namespace detail

/// Throws NumericError naming `name`, the tensor and the place of its first NaN or infinity.  Reads every base weight once,
/// as fast as memory gives them.
template <LlamaModel Model>
void require_finite_weights(const Model& model, const std::string& name) {
  for (const auto& [tensor, parameter] : model.base_parameters()) {
    Tensor<Scalar<typename Model::Device>> copy;
    detail::require_finite(name, tensor, detail::on_host(model.backend(), *parameter, copy));
  }
}

}  // namespace lolcats
