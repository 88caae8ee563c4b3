// Types that model a concept and nothing more: they keep generic code honest, and they are the smallest examples.
#pragma once

#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/lora.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

namespace lolcats::testing {

/// One row of doubles: the row algebra as plain loops, to run a feature map outside of every kernel.
struct PlainRow {
  struct PerRow {
    double value = 0;
  };
  std::vector<double> values;

  template <class F>
  PlainRow each(F f) const {
    PlainRow result;
    for (const double x : values) result.values.push_back(f(x));
    return result;
  }
  template <class F>
  PlainRow each(const PlainRow& b, F f) const {
    PlainRow result;
    for (std::size_t i = 0; i < values.size(); ++i) result.values.push_back(f(values[i], b.values.at(i)));
    return result;
  }

  friend PlainRow operator+(const PlainRow& a, const PlainRow& b) { return a.each(b, std::plus{}); }
  friend PlainRow operator-(const PlainRow& a, const PlainRow& b) { return a.each(b, std::minus{}); }
  friend PlainRow operator*(const PlainRow& a, const PlainRow& b) { return a.each(b, std::multiplies{}); }
  friend PlainRow operator/(const PlainRow& a, const PlainRow& b) { return a.each(b, std::divides{}); }
  friend PlainRow operator+(const PlainRow& a, double c) {
    return a.each([c](double x) { return x + c; });
  }
  friend PlainRow operator-(const PlainRow& a, double c) {
    return a.each([c](double x) { return x - c; });
  }
  friend PlainRow operator*(const PlainRow& a, double c) {
    return a.each([c](double x) { return x * c; });
  }
  friend PlainRow operator/(const PlainRow& a, double c) {
    return a.each([c](double x) { return x / c; });
  }
  friend PlainRow operator+(const PlainRow& a, PerRow b) { return a + b.value; }
  friend PlainRow operator-(const PlainRow& a, PerRow b) { return a - b.value; }
  friend PlainRow operator*(const PlainRow& a, PerRow b) { return a * b.value; }
  friend PlainRow operator/(const PlainRow& a, PerRow b) { return a / b.value; }
  friend PlainRow operator-(const PlainRow& a) { return a * -1.0; }

  friend PlainRow exp(const PlainRow& a) {
    return a.each([](double x) { return std::exp(x); });
  }
  friend PlainRow maximum(const PlainRow& a, double c) {
    return a.each([c](double x) { return std::max(x, c); });
  }
  friend PlainRow minimum(const PlainRow& a, double c) {
    return a.each([c](double x) { return std::min(x, c); });
  }
  friend PlainRow positive(const PlainRow& a) {
    return a.each([](double x) { return x > 0 ? 1.0 : 0.0; });
  }
  friend PlainRow is_max(const PlainRow& a) {
    PlainRow result{std::vector<double>(a.values.size())};
    result.values[static_cast<std::size_t>(std::max_element(a.values.begin(), a.values.end()) - a.values.begin())] = 1;
    return result;
  }
  friend PerRow max(const PlainRow& a) { return {*std::max_element(a.values.begin(), a.values.end())}; }
  friend PerRow min(const PlainRow& a) { return {*std::min_element(a.values.begin(), a.values.end())}; }
  friend PerRow sum(const PlainRow& a) { return {std::accumulate(a.values.begin(), a.values.end(), 0.0)}; }
};
static_assert(RowAlgebra<PlainRow>);

/// A feature map without the help of RowMap: phi(x) = (xW)^2 + 1, F = 3.
struct ArchetypeMap {
  static constexpr Index projected = 3;
  static constexpr int count = 1;
  static constexpr Bias bias = Bias::none;
  static constexpr bool skip = false;
  static constexpr bool clamped = false;
  using Initialization = NormalStart;
  static std::string name() { return "archetype_map"; }

  template <class Row>
  static constexpr Features<Row, 1> features(const Row& z) {
    return {z * z + 1.0};
  }
  template <class Row>
  static constexpr Row pullback(const Row& z, const Features<Row, 1>&, const Features<Row, 1>& dphi) {
    return dphi[0] * z * 2.0;
  }
};
static_assert(FeatureMap<ArchetypeMap>);

/// A window without a default constructor: the three latest keys.
class ArchetypeWindow {
 public:
  static ArchetypeWindow make() { return ArchetypeWindow(3); }
  static constexpr bool has_near = true;
  static constexpr bool has_far = true;
  constexpr Index begin(Index n) const { return std::max<Index>(0, n - width_ + 1); }
  constexpr Index span() const { return width_; }
  constexpr Index period() const { return 1; }
  static std::string name() { return "archetype_window"; }

 private:
  explicit ArchetypeWindow(Index width) : width_(width) {}
  Index width_;
};
static_assert(Window<ArchetypeWindow>);
static_assert(!std::default_initializable<ArchetypeWindow>);

/// An attention that is no instance of Hybrid.
struct ArchetypeAttention {
  using Map = ArchetypeMap;
  using Window = ArchetypeWindow;
  static constexpr bool affine = false;
  static constexpr bool shared_maps = false;
  static constexpr bool key_maps_per_group = false;
  static std::string name() { return "archetype_attention"; }
};
static_assert(AttentionPolicy<ArchetypeAttention>);

/// An adapter that is no instance of Lora: rank 3 on v alone.
struct ArchetypeAdapter {
  static constexpr Targets targets{Projections::v};
  static constexpr Index rank = 3;
  static constexpr double alpha = 1.5;
  static constexpr double dropout = 0;
  static std::string name() { return "archetype_adapter"; }
};
static_assert(AdapterPolicy<ArchetypeAdapter>);

}  // namespace lolcats::testing
