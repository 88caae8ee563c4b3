// What a feature map is.
#pragma once

#include <lolcats/policy/feature_map/initialization.hpp>
#include <lolcats/policy/feature_map/row_algebra.hpp>
#include <lolcats/policy/size.hpp>

#include <concepts>
#include <string>

namespace lolcats {

/// A learned bias added to xW: none, a vector (H, f), or one number per head as the published code has it.
enum class Bias { none, vector, head };

/// phi(x) = max(f(xW + b), floor), with W (d, f) per head; `f` and its pullback are the map.
///
/// Derive from this and write `name`, `features` and `pullback`, the latter two constexpr, as a GPU calls them, too;
/// override a constant by redefining it.
///   Projected  f, the columns of W; `dynamic` takes it from the weights (tools that read any checkpoint)
///   Count      how many rows of f features the map returns; F = Count * f
template <Index Projected, int Count = 1>
struct RowMap {
  static_assert(Projected > 0 || Projected == dynamic, "a feature map projects onto at least one feature");
  static constexpr Index projected = Projected;
  static constexpr int count = Count;
  static constexpr Bias bias = Bias::none;
  /// Adds x to xW; needs f = d.
  static constexpr bool skip = false;
  /// Features are clamped below at 1e-12, and the clamp passes a gradient only where it does not bind [QUIRKS 10].
  static constexpr bool clamped = true;
  static constexpr double floor = 1e-12;
  /// How W starts.
  using Initialization = IdentityStart;
};

namespace detail {
/// A row that models the algebra and nothing more, to check maps where they are defined.
struct ArchetypeRow {
  struct PerRow {};
  friend ArchetypeRow operator+(ArchetypeRow, ArchetypeRow) { return {}; }
  friend ArchetypeRow operator-(ArchetypeRow, ArchetypeRow) { return {}; }
  friend ArchetypeRow operator*(ArchetypeRow, ArchetypeRow) { return {}; }
  friend ArchetypeRow operator/(ArchetypeRow, ArchetypeRow) { return {}; }
  friend ArchetypeRow operator+(ArchetypeRow, PerRow) { return {}; }
  friend ArchetypeRow operator-(ArchetypeRow, PerRow) { return {}; }
  friend ArchetypeRow operator*(ArchetypeRow, PerRow) { return {}; }
  friend ArchetypeRow operator/(ArchetypeRow, PerRow) { return {}; }
  friend ArchetypeRow operator+(ArchetypeRow, double) { return {}; }
  friend ArchetypeRow operator-(ArchetypeRow, double) { return {}; }
  friend ArchetypeRow operator*(ArchetypeRow, double) { return {}; }
  friend ArchetypeRow operator/(ArchetypeRow, double) { return {}; }
  friend ArchetypeRow operator-(ArchetypeRow) { return {}; }
  friend ArchetypeRow exp(ArchetypeRow) { return {}; }
  friend ArchetypeRow maximum(ArchetypeRow, double) { return {}; }
  friend ArchetypeRow minimum(ArchetypeRow, double) { return {}; }
  friend ArchetypeRow positive(ArchetypeRow) { return {}; }
  friend ArchetypeRow is_max(ArchetypeRow) { return {}; }
  friend PerRow max(ArchetypeRow) { return {}; }
  friend PerRow min(ArchetypeRow) { return {}; }
  friend PerRow sum(ArchetypeRow) { return {}; }
};
static_assert(RowAlgebra<ArchetypeRow>);
}  // namespace detail

/// A row function with its pullback.
///   features(z) -> Features<Row, count>                  f(z), before the clamp
///   pullback(z, phi, dphi) -> Row                        dz, given phi = features(z) and the gradient of phi
// clang-format off
template <class M>
concept FeatureMap = requires(const detail::ArchetypeRow z, const Features<detail::ArchetypeRow, M::count> phi, Rng& rng, Index i) {
  { M::projected } -> std::convertible_to<Index>;
  { M::bias } -> std::convertible_to<Bias>;
  { M::skip } -> std::convertible_to<bool>;
  { M::clamped } -> std::convertible_to<bool>;
  requires !M::clamped || requires { { M::floor } -> std::convertible_to<double>; };
  { M::Initialization::weight(rng, i, i, i, i, true) } -> std::convertible_to<double>;
  { M::name() } -> std::convertible_to<std::string>;
  { M::features(z) } -> std::same_as<Features<detail::ArchetypeRow, M::count>>;
  { M::pullback(z, phi, phi) } -> std::same_as<detail::ArchetypeRow>;
};
// clang-format on

/// F, the number of features for `projected` columns of W.
template <FeatureMap M>
constexpr Index feature_count(Index projected) {
  return M::count * projected;
}

}  // namespace lolcats
