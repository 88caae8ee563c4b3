// An adapter beside the weights, whatever its rank, alpha and targets: what the file says at run time.
#pragma once

#include "models.hpp"

#include <lolcats/io/peft.hpp>
#include <lolcats/model/convert.hpp>
#include <lolcats/testing/random.hpp>

#include <string>
#include <vector>

namespace models {

/// All projections; those that an adapter does not name have a B of zero.
struct AnyAdapter {
  static constexpr Targets targets = all;
  inline static Index rank = 1;
  inline static double alpha = 1;
  static constexpr double dropout = 0;
  static std::string name() { return "any adapter"; }
};
static_assert(AdapterPolicy<AnyAdapter>);

template <class T>
using Beside = Llama<Cpu<T>, Softmax<>, AnyAdapter>;

/// The base with the adapter's factors in their places.  A module of another rank or alpha than most takes what that changes of
/// its scale into B.
template <class T>
Beside<T> beside(const Teacher<T>& base, const PeftAdapter& adapter) {
  AnyAdapter::rank = adapter.rank;
  AnyAdapter::alpha = adapter.alpha;
  const double usual = adapter.alpha / static_cast<double>(adapter.rank);
  auto model = convert<Beside<T>>(base);
  for (const auto& [name, parameter] : model.adapter_parameters()) {
    const auto found = adapter.modules.find(name.substr(0, name.find(".lora_")));
    if (found == adapter.modules.end()) continue;  // a fresh B is zero
    const bool is_b = name.ends_with("lora_B.weight");
    const Tensor<float>& factor = is_b ? found->second.b : found->second.a;
    std::vector<double> values(factor.span().begin(), factor.span().end());
    if (is_b) {
      for (double& x : values) x *= adapter.scale(found->first) / usual;
    }
    *parameter = Parameter<Cpu<T>>(lolcats::testing::array<Cpu<T>>(factor.shape(), values));
  }
  return model;
}

}  // namespace models
