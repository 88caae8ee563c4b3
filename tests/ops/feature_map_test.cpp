// The feature map operation on the CPU.  What every map promises is checked in tests/policy/feature_map.
#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/ops/feature_map/eigen.hpp>
#include <lolcats/testing/feature_map_suite.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

/// phi by loops that share nothing with the library.
std::vector<double> plain(const lolcats::testing::detail::FeatureMapCase<T2R<5>>& c) {
  const naive::FeatureMapSizes& n = c.sizes;
  std::vector<double> phi;
  for (Index row = 0; row < n.rows; ++row) {
    for (Index head = 0; head < n.heads; ++head) {
      for (Index j = 0; j < 5; ++j) {
        double z = c.bias[static_cast<std::size_t>(head * 5 + j)];
        for (Index i = 0; i < n.size; ++i) {
          z += c.x[static_cast<std::size_t>((row * n.heads + head) * n.size + i)] *
               c.map[static_cast<std::size_t>((head * n.size + i) * 5 + j)];
        }
        phi.push_back(z > 1e-12 ? z : 1e-12);
      }
    }
  }
  return phi;
}

}  // namespace

TEST_CASE("features are clamped max(xW + b, 0), head by head") {
  using B = Cpu<double>;
  for (const Index rows : {1, 3, 63, 64, 65, 130}) {
    const auto c = lolcats::testing::detail::random_feature_map_case<T2R<5>>(rows, 3, 7, 2);
    const auto want = plain(c);
    CHECK(close(want, naive::feature_map(c.sizes, c.x, c.map, c.bias, naive::relu, 1e-12), 1e-14));
    auto x = array<B>(Shape{rows, 21}, c.x), map = array<B>(Shape{3, 7, 5}, c.map),
         bias = array<B>(Shape{3, 5}, c.bias);
    Tape<B> tape;
    poison(tape);
    const auto phi = feature_map<T2R<5>>(tape, tape.constant(View<const double>(x.view())), Weight<B>{map.view(), {}},
                                         Weight<B>{bias.view(), {}}, Index{3});
    CHECK(close(want, phi.value(), 1e-13));
    CHECK(!phi.wants_gradient());
    CHECK(tape.records() == 0);
  }
}

TEST_CASE_TEMPLATE("values and gradients against plain loops, around the tiles of the kernel", B, Cpu<double>,
                   Cpu<float>) {
  const double tolerance = std::is_same_v<B, Cpu<double>> ? 1e-13 : 1e-5,
               gradient = std::is_same_v<B, Cpu<double>> ? 1e-8 : 1e-4;
  for (const Index rows : {1, 3, 63, 64, 65, 129}) {
    lolcats::testing::detail::check_feature_map_against_reference<Hedgehog<dynamic>, B>(rows, 5, 1, tolerance,
                                                                                        gradient);
    lolcats::testing::detail::check_feature_map_against_reference<Skip<Biased<HedgehogExp<dynamic>>>, B>(
        rows, 4, 1, tolerance, gradient);
    lolcats::testing::detail::check_feature_map_against_reference<T2R<5, Bias::head>, B>(rows, 4, 1, tolerance,
                                                                                        gradient);
  }
}

TEST_CASE("the gradient of x is added to that of its other uses") {
  using B = Cpu<double>;
  const auto x = array<B>(Shape{1, 4}, {1.0, -1.0, 2.0, -2.0}), map = array<B>(Shape{2, 2, 2}, {1, 0, 0, 1, 1, 0, 0, 1});
  Tape<B> tape;
  poison(tape);
  const auto v = tape.variable(View<const double>(x.view()));
  const auto phi = feature_map<Relu<2>>(tape, v, Weight<B>{map.view(), {}}, Weight<B>{}, Index{2});
  tape.backward(sum(tape, add(tape, phi, scale(tape, v, 3.0))));
  CHECK(same(std::vector{4.0, 3.0, 4.0, 3.0}, v.gradient()));
}

TEST_CASE("heads that maps share are read by each, and their gradients add up") {
  using B = Cpu<double>;
  using Map = Skip<Biased<HedgehogExp<dynamic>>>;
  const Index rows = 70, groups = 2, group = 3, size = 4, features = 2 * size;
  auto c = lolcats::testing::detail::random_feature_map_case<Map>(rows, groups * group, size, 5);
  const auto index = [](Index i) { return static_cast<std::size_t>(i); };
  std::vector<double> shared;  // (rows, groups * size); every map has its copy in c.x
  for (Index r = 0; r < rows; ++r) {
    for (Index h = 0; h < groups * group; ++h) {
      for (Index i = 0; i < size; ++i) {
        const double from = c.x[index((r * groups * group + h / group * group) * size + i)];
        c.x[index((r * groups * group + h) * size + i)] = from;
        if (h % group == 0) shared.push_back(from);
      }
    }
  }
  const auto run = [&](const std::vector<double>& values) {
    const auto x = array<B>(Shape{rows, static_cast<Index>(values.size()) / rows}, values);
    Parameter<B> map(array<B>(Shape{groups * group, size, size}, c.map)), bias(array<B>(Shape{groups * group, size}, c.bias));
    map.train(B{});
    bias.train(B{});
    Tape<B> tape;
    poison(tape);
    const auto v = tape.variable(View<const double>(x.view()));
    const auto phi = feature_map<Map>(tape, v, static_cast<Weight<B>>(map), static_cast<Weight<B>>(bias), groups * group);
    CHECK(phi.shape() == Shape{rows, groups * group * features});
    std::vector<std::vector<double>> all{host(B{}, phi.value())};
    B{}.from_host(c.dphi.data(), phi.sink().gradient.data, phi.value().size());
    tape.replay(0);
    for (const auto& gradient : {v.gradient(), View<const double>(map.gradient()), View<const double>(bias.gradient())}) all.push_back(host(B{}, gradient));
    return all;
  };
  const auto want = run(c.x), got = run(shared);
  for (const std::size_t i : {0, 2, 3}) CHECK(same(want[i], got[i]));
  std::vector<double> sums(shared.size());
  for (Index r = 0; r < rows; ++r) {
    for (Index h = 0; h < groups * group; ++h) {
      for (Index i = 0; i < size; ++i) sums[index((r * groups + h / group) * size + i)] += want[1][index((r * groups * group + h) * size + i)];
    }
  }
  CHECK(close(sums, got[1], 1e-14));
}

TEST_CASE("a bias where the map has none is an error, and so is none where it has one") {
  using B = Cpu<double>;
  auto x = array<B>(Shape{2, 4}, lolcats::testing::detail::filled(8, 0.5)),
       map = array<B>(Shape{1, 4, 3}, lolcats::testing::detail::filled(12, 0.5)),
       bias = array<B>(Shape{1, 3}, lolcats::testing::detail::filled(3, 0.5));
  Tape<B> tape;
  const auto input = tape.constant(View<const double>(x.view()));
  const Weight<B> w{map.view(), {}}, b{bias.view(), {}};
  CHECK_THROWS_AS(feature_map<Relu<3>>(tape, input, w, b, Index{1}), ShapeError);
  CHECK_THROWS_AS(feature_map<T2R<3>>(tape, input, w, Weight<B>{}, Index{1}), ShapeError);
  CHECK_NOTHROW(feature_map<T2R<3>>(tape, input, w, b, Index{1}));
}
