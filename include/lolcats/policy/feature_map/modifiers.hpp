// Types that change one thing about a feature map.
#pragma once

#include <lolcats/policy/feature_map/feature_map.hpp>

namespace lolcats {

/// The map with another start of its weights: StartedBy<Hedgehog<64>, KaimingStart>.
template <FeatureMap M, class Start>
struct StartedBy : M {
  using Initialization = Start;
  static std::string name() { return M::name() + " from " + std::string(Start::name()); }
};

/// The map of x + xW; needs f = d.
template <FeatureMap M>
struct Skip : M {
  static constexpr bool skip = true;
  static std::string name() { return "skip<" + M::name() + ">"; }
};

/// The map with a learned bias: f(xW + b).
template <FeatureMap M, Bias Form = Bias::vector>
struct Biased : M {
  static constexpr Bias bias = Form;
  static std::string name() { return std::string(Form == Bias::head ? "head_biased<" : "biased<") + M::name() + ">"; }
};

}  // namespace lolcats
