// Conformance of a feature map: call `check_feature_map<MyMap>()` in a doctest TEST_CASE.
#pragma once

#include <lolcats/ops/feature_map/eigen.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/feature_map_suite_reference.hpp>
#include <lolcats/testing/gradient_check.hpp>
#include <lolcats/testing/random.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <type_traits>
#include <vector>

namespace lolcats::testing {

/// What check_feature_map runs over.  Tolerances are relative to the largest entry of each array.
struct FeatureMapSuite {
  std::vector<Index> rows{1, 3, 63, 64, 65, 129};  // around the tiles of the kernels
  std::vector<Index> sizes{1, 3, 8, 16};           // head sizes
  std::uint64_t seed = 1;
  bool nonnegative = true;  // features are weights: nearly every map has none below zero
};

namespace detail {

inline std::vector<double> filled(Index count, double value) {
  return std::vector<double>(static_cast<std::size_t>(count), value);
}

/// x, map and bias of one call, and the gradient of its output.
template <FeatureMap M>
struct FeatureMapCase {
  naive::FeatureMapSizes sizes;
  std::vector<double> x, map, bias, dphi;
};

template <FeatureMap M>
FeatureMapCase<M> random_feature_map_case(Index rows, Index heads, Index size, std::uint64_t seed) {
  const Index projected = M::skip ? size : test_width<M>();
  FeatureMapCase<M> c{{rows, heads, size, projected, bias_width<M>(projected), M::skip}, {}, {}, {}, {}};
  Rng rng(seed, 47);
  const auto draw = [&](Index count, double scale) {
    std::vector<double> values;
    for (Index i = 0; i < count; ++i) values.push_back(static_cast<float>(scale * rng.normal()));
    return values;
  };
  c.x = draw(rows * heads * size, 1.0);
  c.map = draw(heads * size * projected, 1.5 / std::sqrt(static_cast<double>(size)));
  c.bias = draw(heads * c.sizes.bias_width, 1.0);
  c.dphi = draw(rows * heads * feature_count<M>(projected), 1.0);
  return c;
}

template <FeatureMap M>
std::vector<Index> feature_map_sizes(const FeatureMapSuite& suite) {
  if (M::skip && M::projected != dynamic) return {M::projected};
  return suite.sizes;
}

/// Outputs and gradients on a backend against the reference.
template <FeatureMap M, Backend B>
void check_feature_map_against_reference(Index rows, Index size, std::uint64_t seed, double tolerance,
                                         double gradient_tolerance) {
  constexpr Index heads = 3;
  INFO(M::name(), " on ", B::name(), ": ", rows, " rows, ", heads, " heads of size ", size);
  auto c = random_feature_map_case<M>(rows, heads, size, seed);
  for (std::vector<double>* values : {&c.x, &c.map, &c.bias, &c.dphi}) *values = rounded<B>(*values);
  const Index projected = c.sizes.projected;
  const B backend;
  auto x = array<B>(Shape{rows, heads * size}, c.x);
  Parameter<B> map(array<B>(Shape{heads, size, projected}, c.map)), bias;
  if (c.sizes.bias_width > 0) bias = Parameter<B>(array<B>(Shape{heads, c.sizes.bias_width}, c.bias));
  map.train(backend);
  if (bias) bias.train(backend);
  Tape<B> tape;
  poison(tape);
  const Var<B> input = tape.variable(View<const Scalar<B>>(x.view()));
  const Var<B> phi = feature_map<M>(tape, input, static_cast<Weight<B>>(map), static_cast<Weight<B>>(bias), heads);
  const auto activation = ReferenceActivation<M>::apply;
  const std::vector<double> want = naive::feature_map(c.sizes, c.x, c.map, c.bias, activation, reference_floor<M>());
  CHECK(close(want, host(backend, phi.value()), tolerance));
  backend.from_host(c.dphi.data(), phi.sink().gradient.data, phi.value().size());
  tape.replay(0);
  const auto d = feature_map_gradients(c.sizes, c.x, c.map, c.bias, activation, reference_floor<M>(), c.dphi);
  // One gradient may vanish, as that of a softmax over one feature does; then all are compared on the scale of dphi.
  const auto check = [&](const char* name, const std::vector<double>& gradient, const std::vector<double>& got) {
    INFO(name);
    const bool zero = std::all_of(gradient.begin(), gradient.end(), [](double g) { return std::abs(g) < 1e-10; });
    CHECK(close(zero ? std::vector<double>(gradient.size()) : gradient, got, gradient_tolerance));
  };
  check("x", d.x, host(backend, input.gradient()));
  check("map", d.map, host(backend, map.gradient()));
  if (bias) check("bias", d.bias, host(backend, bias.gradient()));
}

/// The map itself, on one row of doubles: features, pullback and reference agree.
template <FeatureMap M>
void check_row_function(Index width, const FeatureMapSuite& suite) {
  Rng rng(suite.seed, 53);
  for (int trial = 0; trial < 50; ++trial) {
    INFO(M::name(), " of ", width, " columns, row ", trial);
    PlainRow z;
    for (Index i = 0; i < width; ++i) z.values.push_back(2 * rng.normal());
    const auto phi = M::features(z);
    Features<PlainRow, M::count> dphi;
    std::vector<double> flat, dflat;
    for (std::size_t part = 0; part < phi.size(); ++part) {
      REQUIRE(static_cast<Index>(phi[part].values.size()) == width);
      for (const double value : phi[part].values) {
        CHECK(std::isfinite(value));
        if (suite.nonnegative) CHECK(value >= 0);
        flat.push_back(value);
        dflat.push_back(rng.normal());
        dphi[part].values.push_back(dflat.back());
      }
    }
    CHECK(close(ReferenceActivation<M>::apply(z.values), flat, 1e-14));
    const auto f = [](const std::vector<double>& row) {
      std::vector<double> all;
      for (const PlainRow& part : M::features(PlainRow{row}))
        all.insert(all.end(), part.values.begin(), part.values.end());
      return all;
    };
    const auto numerical = numerical_pullback(f, -INFINITY, z.values, dflat);
    const PlainRow dz = M::pullback(z, phi, dphi);
    REQUIRE(static_cast<Index>(dz.values.size()) == width);
    const bool zero = std::all_of(numerical.begin(), numerical.end(), [](double g) { return std::abs(g) < 1e-10; });
    CHECK(close(zero ? std::vector<double>(numerical.size()) : numerical, dz.values, 1e-8));
  }
  // Rows far from zero, where exponentials overflow if nothing is subtracted first.
  for (const double magnitude : {100.0, 1e4}) {
    PlainRow z;
    for (Index i = 0; i < width; ++i) z.values.push_back(i % 2 == 0 ? magnitude : -magnitude);
    for (const PlainRow& part : M::features(z)) {
      for (const double value : part.values)
        CHECK_MESSAGE(std::isfinite(value), M::name(), " at ", magnitude, " gives ", value);
    }
  }
}

template <FeatureMap M>
void check_feature_map_shapes() {
  using B = Cpu<double>;
  const Index size = M::skip ? test_width<M>() : 5, projected = M::skip ? size : test_width<M>();
  Tape<B> tape;
  const auto message = [&](const Shape& x, const Shape& map, const Shape& bias) {
    auto values = array<B>(x, filled(x.size(), 0.5));
    auto weights = array<B>(map, filled(map.size(), 0.5));
    auto biases = array<B>(bias, filled(bias.size(), 0.5));
    Weight<B> b;
    if (bias.size() > 0) b.value = biases.view();
    try {
      feature_map<M>(tape, tape.constant(View<const double>(values.view())), Weight<B>{weights.view(), {}}, b,
                     Index{2});
    } catch (const ShapeError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  const Shape x{3, 2 * size}, map{2, size, projected}, bias{2, bias_width<M>(projected)};
  INFO(M::name());
  CHECK(message(x, map, bias) == "accepted");
  CHECK(message(Shape{3, 2 * size + 1}, map, bias).find("x has shape") != std::string::npos);
  CHECK(message(x, Shape{2, size + 1, projected}, bias).find("map") != std::string::npos);
  CHECK(message(x, Shape{1, size, projected}, bias).find("map has shape") != std::string::npos);
  CHECK(message(x, map, Shape{3, bias_width<M>(projected) + 1}).find("bias has shape") != std::string::npos);
}

}  // namespace detail

/// Everything a feature map promises: its pullback is the derivative of its features; the kernels compute what one row
/// of doubles computes, in double and in float, and with the right gradients; wrong shapes are named.
///
/// For maps that ship, the reference is a loop of its own; for others it is `features` itself, on a row of doubles.
template <FeatureMap M>
void check_feature_map(const FeatureMapSuite& suite = {}) {
  static_assert(std::is_empty_v<M>, "a feature map is a type without state: its numbers are template arguments");
  CHECK(!std::string(M::name()).empty());
  const Index width = test_width<M>();
  detail::check_row_function<M>(width, suite);
  if constexpr (M::projected == dynamic) {
    for (const Index other : {1, 2, 7}) detail::check_row_function<M>(other, suite);
  }
  for (const Index size : detail::feature_map_sizes<M>(suite)) {
    // Double: a handful of roundings; gradients as good as the differences.  Float: the same in units of 6e-8.
    detail::check_feature_map_against_reference<M, Cpu<double>>(7, size, suite.seed, 1e-13, 1e-8);
    detail::check_feature_map_against_reference<M, Cpu<float>>(7, size, suite.seed, 1e-5, 1e-4);
  }
  const Index usual = detail::feature_map_sizes<M>(suite).back();
  for (const Index rows : suite.rows) {
    detail::check_feature_map_against_reference<M, Cpu<double>>(rows, usual, suite.seed, 1e-13, 1e-8);
  }

  using B = Cpu<double>;
  const auto c = detail::random_feature_map_case<M>(5, 2, usual, suite.seed + 1);
  std::vector<Tensor<double>> variables;
  variables.push_back(array<B>(Shape{5, 2 * usual}, c.x));
  Parameter<B> map(array<B>(Shape{2, usual, c.sizes.projected}, c.map)), bias;
  std::vector<Parameter<B>*> parameters{&map};
  if (c.sizes.bias_width > 0) {
    bias = Parameter<B>(array<B>(Shape{2, c.sizes.bias_width}, c.bias));
    parameters.push_back(&bias);
  }
  // A softmax over one feature has no gradient to compare.
  const bool constant = [&] {
    PlainRow a{detail::filled(c.sizes.projected, 0.3)}, b{detail::filled(c.sizes.projected, -0.4)};
    a.values[0] = 1;
    b.values[0] = 2;
    return M::features(a)[0].values == M::features(b)[0].values;
  }();
  if (!constant) {
    CHECK(check_gradients(variables, parameters, [&](Tape<B>& tape, std::span<const Var<B>> x) {
      return feature_map<M>(tape, x[0], static_cast<Weight<B>>(map), static_cast<Weight<B>>(bias), Index{2});
    }));
  }
  detail::check_feature_map_shapes<M>();
}

}  // namespace lolcats::testing
