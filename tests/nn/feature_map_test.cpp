#include <lolcats/nn/feature_map.hpp>

#include <lolcats/backend/cpu.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/policy/feature_map/modifiers.hpp>
#include <lolcats/policy/feature_map/relu.hpp>
#include <lolcats/testing/close.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace lolcats;
using lolcats::testing::as_doubles;

namespace {

using B = Cpu<double>;

template <class M>
FeatureMapLayer<B, M> make_map(std::uint64_t seed = 1, std::uint64_t stream = 0) {
  return FeatureMapLayer<B, M>({}, 4, 6, seed, stream);
}
template <class Layer>
std::vector<double> weight(const Layer& layer) {
  return as_doubles(layer.weight().value);
}
double largest(const std::vector<double>& values) {
  double result = 0;
  for (const double x : values) result = std::max(result, std::abs(x));
  return result;
}

}  // namespace

TEST_CASE("identity start: feature j is coordinate j, and zero under a skip connection") {
  const auto w = weight(make_map<Hedgehog<3>>());
  REQUIRE(w.size() == 4 * 6 * 3);
  for (std::size_t i = 0; i < w.size(); ++i) CHECK(w[i] == (i / 3 % 6 == i % 3 ? 1.0 : 0.0));
  const auto wide = weight(make_map<Hedgehog<9>>());  // more features than coordinates
  for (std::size_t i = 0; i < wide.size(); ++i) CHECK(wide[i] == (i / 9 % 6 == i % 9 ? 1.0 : 0.0));
  for (const double x : weight(make_map<Skip<Hedgehog<6>>>())) CHECK(x == 0);
  CHECK_THROWS_WITH_AS(make_map<Skip<Hedgehog<3>>>(),
                       doctest::Contains("projects onto 3 features, expected the head size 6"), ConfigError);
}

TEST_CASE("Kaiming start as published: uniform in +-sqrt(6 / (d f))") {
  using Map = StartedBy<Hedgehog<50>, KaimingStart>;
  const auto w = weight(make_map<Map>());
  const double bound = std::sqrt(6.0 / (6 * 50));
  CHECK(largest(w) <= bound);
  CHECK(largest(w) > 0.99 * bound);
  CHECK(w == weight(make_map<Map>()));
  CHECK(w != weight(make_map<Map>(2)));
  CHECK(w != weight(make_map<Map>(1, 1)));
}

TEST_CASE("biases: uniform in +-sqrt(6 / (H width))") {
  const auto vector = as_doubles(make_map<T2R<200>>().bias().value);
  CHECK(vector.size() == 800);
  CHECK(largest(vector) <= std::sqrt(6.0 / 800));
  CHECK(largest(vector) > 0.98 * std::sqrt(6.0 / 800));
  double most = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {  // four numbers each
    const auto layer = make_map<T2R<200, Bias::head>>(seed);
    CHECK(layer.bias().shape() == Shape{4, 1});
    most = std::max(most, largest(as_doubles(layer.bias().value)));
  }
  CHECK(most <= std::sqrt(6.0 / 4));
  CHECK(most > 0.98 * std::sqrt(6.0 / 4));
  CHECK_FALSE(make_map<Hedgehog<3>>().bias());
}

TEST_CASE("keys start with the maps of the queries: all, or the first of each group") {
  using Map = StartedBy<T2R<5>, NormalStart>;
  const auto queries = make_map<Map>();
  const auto all = FeatureMapLayer<B, Map>::every({}, queries, 1);
  CHECK(weight(all) == weight(queries));
  const auto groups = FeatureMapLayer<B, Map>::every({}, queries, 2);
  CHECK(groups.weight().shape() == Shape{2, 6, 5});
  CHECK(groups.bias().shape() == Shape{2, 5});
  const auto w = weight(queries), g = weight(groups), b = as_doubles(queries.bias().value),
             c = as_doubles(groups.bias().value);
  for (std::size_t i = 0; i < 30; ++i) {
    CHECK(g[i] == w[i]);
    CHECK(g[30 + i] == w[60 + i]);
  }
  for (std::size_t i = 0; i < 5; ++i) CHECK(c[5 + i] == b[10 + i]);
}

TEST_CASE("equal at the start, separate when trained") {
  auto queries = make_map<Hedgehog<3>>();
  auto keys = FeatureMapLayer<B, Hedgehog<3>>::every({}, queries, 1);
  keys.visit_maps("at", [](const std::string& name, const Shape& shape, Parameter<B>& parameter) {
    CHECK(name == "at.mlp.layer");
    CHECK(shape == Shape{4, 6, 3});
    parameter.train({});
    parameter.mutable_value().data[0] = 17;
  });
  CHECK(weight(keys)[0] == 17);
  CHECK(weight(queries)[0] == 1);
}
