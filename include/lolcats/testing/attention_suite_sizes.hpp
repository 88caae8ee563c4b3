// What the attention suite runs over, and how its checks compare.
#pragma once

#include <lolcats/testing/attention_suite_reference.hpp>
#include <lolcats/testing/close.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace lolcats::testing {

/// What check_attention runs over.  Tolerances are relative to the largest entry of each array.
struct AttentionSuite {
  std::vector<Index> lengths{1, 3, 63, 64, 65, 127, 129};  // around the tiles of the kernels
  std::vector<Index> sizes{1, 3, 8, 16};                   // head sizes
  std::uint64_t seed = 1;
  double tolerance = 1e-11;          // double, outputs: a few hundred roundings
  double gradient_tolerance = 1e-8;  // double, gradients: limited by the reference's differences of the map
  double float_tolerance = 1e-5;     // float, outputs
  double float_gradient_tolerance = 1e-4;
  double factor_tolerance = 0;  // window factors, where it is not that of the other gradients
};

namespace detail {

/// A map whose skip connection fixes the head size has only that one.
template <AttentionPolicy A>
std::vector<Index> head_sizes(const AttentionSuite& suite) {
  if constexpr (FeatureMap<typename A::Map>) {
    if (A::Map::skip && A::Map::projected != dynamic) return {A::Map::projected};
  }
  return suite.sizes;
}
template <AttentionPolicy A>
Index usual_size(const AttentionSuite& suite) {
  const auto sizes = head_sizes<A>(suite);
  return sizes[sizes.size() / 2];
}
template <AttentionPolicy A>
Heads usual_heads(Index size) {
  return {4, A::shared_maps && A::key_maps_per_group ? 4 : 2, size};
}
/// Three documents with padding in front, between and behind.
inline Sequences ragged(Index longest) { return {longest + 13, {{2, 5, 0}, {8, 1, 0}, {9, longest, 0}}}; }

/// `close`, but what vanishes up to rounding is compared with zero: a window that holds every key leaves its maps no
/// gradient.
inline Verdict close_or_zero(const std::vector<double>& want, const std::vector<double>& got, double tolerance) {
  for (const double x : want) {
    if (!(std::abs(x) < 1e-10)) return close(want, got, tolerance);
  }
  return close(std::vector<double>(want.size()), got, tolerance);
}

/// Every array of `want` is in `got` and close to it.
inline void check_numbers(const AttentionNumbers& want, const AttentionNumbers& got, double tolerance,
                          double gradient_tolerance, double factor_tolerance = 0) {
  for (const auto& [name, numbers] : want) {
    INFO(name);
    REQUIRE(got.contains(name));
    const bool factors = name == "window_factors" && factor_tolerance > 0;
    CHECK(close_or_zero(numbers, got.at(name), name == "y" ? tolerance : factors ? factor_tolerance : gradient_tolerance));
  }
}

/// `width` numbers per head, heads side by side: head h of the result is head order[h].
inline std::vector<double> permuted(const std::vector<double>& x, Index heads, const std::vector<Index>& order,
                                    Index width) {
  std::vector<double> result;
  for (std::size_t row = 0; row < x.size() / at(heads * width); ++row) {
    for (const Index h : order) {
      for (Index i = 0; i < width; ++i) result.push_back(x[row * at(heads * width) + at(h * width + i)]);
    }
  }
  return result;
}

/// Heads of an argument, and numbers per head.
template <AttentionPolicy A>
std::pair<Index, Index> heads_of(const AttentionCase<A>& c, const std::string& name) {
  const Heads& n = c.heads;
  if (name == "y" || name == "dy" || name == "q") return {n.queries, n.size};
  if (name == "k" || name == "v") return {n.keys, n.size};
  const Shape shape = c.shapes().at(name);
  if (name == "score" || name == "cache_sizes") return {n.keys, 1};
  const Index heads = name.starts_with("key") || name.starts_with("gate") ? c.key_maps() : n.queries;
  return {heads, name.ends_with("_features") || name == "gate" ? shape.cols() / heads : shape.size() / heads};
}

}  // namespace detail

}  // namespace lolcats::testing
