// What a feature map should compute, from sources that the kernels do not use.
#pragma once

#include <lolcats/ops/feature_map/naive.hpp>
#include <lolcats/policy/feature_map/elu.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/policy/feature_map/hedgehog_exp.hpp>
#include <lolcats/policy/feature_map/identity.hpp>
#include <lolcats/policy/feature_map/modifiers.hpp>
#include <lolcats/policy/feature_map/relu.hpp>
#include <lolcats/testing/archetypes.hpp>

#include <cmath>
#include <limits>
#include <vector>

namespace lolcats::testing {

/// f of a map as a plain function.  For a map that is not ours: its own `features`, on one row of doubles.
template <FeatureMap M>
struct ReferenceActivation {
  static constexpr bool independent = false;
  static std::vector<double> apply(const std::vector<double>& z) {
    std::vector<double> phi;
    for (const PlainRow& part : M::features(PlainRow{z})) phi.insert(phi.end(), part.values.begin(), part.values.end());
    return phi;
  }
};

namespace detail {
/// For the maps that ship: loops that were written separately.
template <naive::Values (*F)(const naive::Values&)>
struct IndependentActivation {
  static constexpr bool independent = true;
  static std::vector<double> apply(const std::vector<double>& z) { return F(z); }
};
}  // namespace detail

// clang-format off
template <Index R> struct ReferenceActivation<Hedgehog<R>> : detail::IndependentActivation<naive::hedgehog> {};
template <Index R> struct ReferenceActivation<HedgehogHalf<R>> : detail::IndependentActivation<naive::hedgehog_half> {};
template <Index R> struct ReferenceActivation<HedgehogExp<R>> : detail::IndependentActivation<naive::hedgehog_exp> {};
template <Index R>
struct ReferenceActivation<HedgehogExpHalf<R>> : detail::IndependentActivation<naive::hedgehog_exp_half> {};
template <Index R> struct ReferenceActivation<EluPlusOne<R>> : detail::IndependentActivation<naive::elu_plus_one> {};
template <Index R> struct ReferenceActivation<Relu<R>> : detail::IndependentActivation<naive::relu> {};
template <Index R, Bias F> struct ReferenceActivation<T2R<R, F>> : detail::IndependentActivation<naive::relu> {};
template <Index R> struct ReferenceActivation<Identity<R>> : detail::IndependentActivation<naive::identity> {};
template <class M, class S> struct ReferenceActivation<StartedBy<M, S>> : ReferenceActivation<M> {};
template <class M> struct ReferenceActivation<Skip<M>> : ReferenceActivation<M> {};
template <class M, Bias F> struct ReferenceActivation<Biased<M, F>> : ReferenceActivation<M> {};
// clang-format on

/// The clamp of a map, -infinity if it has none.
template <FeatureMap M>
double reference_floor() {
  if constexpr (M::clamped) return M::floor;
  return -std::numeric_limits<double>::infinity();
}

/// Elements of bias per head: 0, 1 or f.
template <FeatureMap M>
constexpr Index bias_width(Index projected) {
  return M::bias == Bias::none ? 0 : (M::bias == Bias::head ? 1 : projected);
}

/// A width of W for tests: what the map says, or 4.
template <FeatureMap M>
constexpr Index test_width() {
  return M::projected == dynamic ? 4 : M::projected;
}

/// Gradient of z from that of phi = max(f(z), floor), by differences of f.
///
/// Five points a distance of 1e-3 apart err by about 1e-12.  Where half the distance gives another answer there is a
/// kink in between, and a distance of 1e-7 is taken, which errs by about 1e-9 and meets kinks 10^4 times less often.
inline std::vector<double> numerical_pullback(const naive::Activation& f, double floor, std::vector<double> z,
                                              const std::vector<double>& dphi) {
  std::vector<double> dz;
  for (double& zi : z) {
    const double centre = zi;
    const auto loss = [&](double step) {
      zi = centre + step;
      const std::vector<double> phi = f(z);
      zi = centre;
      double sum = 0;
      for (std::size_t j = 0; j < phi.size(); ++j) sum += dphi[j] * std::max(phi[j], floor);
      return sum;
    };
    const auto difference = [&](double step) { return loss(step) - loss(-step); };
    const auto slope = [](double near, double far, double step) { return (8 * near - far) / (12 * step); };
    const double half = difference(5e-4), one = difference(1e-3), two = difference(2e-3);
    const double wide = slope(one, two, 1e-3), narrow = slope(half, one, 5e-4);
    const bool smooth = std::abs(wide - narrow) <= 1e-9 * (1 + std::abs(wide));
    dz.push_back(smooth ? narrow : slope(difference(1e-7), difference(2e-7), 1e-7));
  }
  return dz;
}

/// Gradients of sum(phi * dphi), phi = naive::feature_map(...): x (M, H * D), map (H, D, f), bias (H, bias_width).
struct FeatureMapGradients {
  std::vector<double> x, map, bias;
};
inline FeatureMapGradients feature_map_gradients(const naive::FeatureMapSizes& n, const std::vector<double>& x,
                                                 const std::vector<double>& map, const std::vector<double>& bias,
                                                 const naive::Activation& f, double floor,
                                                 const std::vector<double>& dphi) {
  FeatureMapGradients d{std::vector<double>(x.size()), std::vector<double>(map.size()),
                        std::vector<double>(bias.size())};
  const std::size_t features = dphi.size() / static_cast<std::size_t>(std::max<Index>(n.rows * n.heads, 1));
  for (Index row = 0; row < n.rows; ++row) {
    for (Index head = 0; head < n.heads; ++head) {
      const auto from =
          dphi.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(row * n.heads + head) * features);
      const auto dz = numerical_pullback(f, floor, naive::project(n, x, map, bias, row, head),
                                         {from, from + static_cast<std::ptrdiff_t>(features)});
      for (Index j = 0; j < n.projected; ++j) {
        const double g = dz[static_cast<std::size_t>(j)];
        for (Index i = 0; i < n.size; ++i) {
          const auto xi = static_cast<std::size_t>((row * n.heads + head) * n.size + i);
          const auto w = static_cast<std::size_t>((head * n.size + i) * n.projected + j);
          d.x[xi] += g * map[w];
          d.map[w] += g * x[xi];
        }
        if (n.skip) d.x[static_cast<std::size_t>((row * n.heads + head) * n.size + j)] += g;
        if (n.bias_width > 0) d.bias[static_cast<std::size_t>(head * n.bias_width + (n.bias_width == 1 ? 0 : j))] += g;
      }
    }
  }
  return d;
}

}  // namespace lolcats::testing
