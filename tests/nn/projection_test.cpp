#include <lolcats/nn/projection.hpp>

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/linear/eigen.hpp>
#include <lolcats/ops/lora_linear/eigen.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/random.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <set>

using namespace lolcats;
using lolcats::testing::close;
using lolcats::testing::same;

namespace {

using B = Cpu<double>;
using enum Projections;
using Adapted = Projection<B, Lora<3, Targets{q, down}, 5>, q>;
using Plain = Projection<B, Lora<3, Targets{q, down}, 5>, k>;

/// A projection (5, 7) with normal weights; b too, so that the adapter matters.
template <class P>
P make_projection(std::uint64_t seed = 1) {
  P projection(B{}, 7, 5, 2, seed);
  Rng rng(8);
  projection.visit_base("w", [&](const std::string& name, const Shape& shape, Parameter<B>& parameter) {
    CHECK(name == "w.weight");
    CHECK(shape == Shape{5, 7});
    parameter = Parameter<B>(testing::normal<B>(shape, rng));
  });
  projection.visit_adapter("w", [&](const std::string& name, const Shape& shape, Parameter<B>& parameter) {
    CHECK(parameter.shape() == shape);
    if (name == "w.lora_B.weight") parameter = Parameter<B>(testing::normal<B>(shape, rng));
  });
  return projection;
}

template <class P>
std::vector<double> apply(const P& projection) {
  Tape<B> tape;
  Rng rng(9);
  const auto x = testing::normal<B>(Shape{4, 7}, rng);
  return testing::as_doubles(projection(tape, tape.constant(x.view())).value());
}

std::vector<double> expected(Adapted& projection, bool with_adapter) {
  std::vector<double> w, a, b;
  projection.visit_base("", [&](const auto&, const auto&, auto& p) { w = testing::as_doubles(p.value()); });
  projection.visit_adapter("", [&](const std::string& name, const auto&, auto& p) {
    (name == ".lora_A.weight" ? a : b) = testing::as_doubles(p.value());
  });
  Rng rng(9);
  const auto x = testing::as_doubles(testing::normal<B>(Shape{4, 7}, rng));
  std::vector<double> y;
  for (std::size_t m = 0; m < 4; ++m) {
    for (std::size_t o = 0; o < 5; ++o) {
      double sum = 0;
      for (std::size_t i = 0; i < 7; ++i) {
        double weight = w[o * 7 + i];
        for (std::size_t r = 0; with_adapter && r < 3; ++r) weight += 5.0 / 3.0 * b[o * 3 + r] * a[r * 7 + i];
        sum += weight * x[m * 7 + i];
      }
      y.push_back(sum);
    }
  }
  return y;
}

}  // namespace

TEST_CASE("W x + (alpha / rank) B A x, on request without the update") {
  auto projection = make_projection<Adapted>();
  CHECK(close(expected(projection, true), apply(projection), 1e-14));
  projection.use_adapter(false);
  CHECK(close(expected(projection, false), apply(projection), 1e-14));
}

TEST_CASE("merge and unmerge") {
  auto projection = make_projection<Adapted>();
  const auto want = apply(projection);
  const View<const double> weight = projection.weight().value();
  const Adapted before = projection;
  projection.merge({});
  projection.merge({});
  CHECK(projection.weight().value().data != weight.data);
  CHECK(close(want, apply(projection), 1e-14));
  CHECK(same(want, apply(before)));
  projection.unmerge();
  CHECK(projection.weight().value().data == weight.data);
  CHECK(same(want, apply(projection)));
  projection.unmerge();
  CHECK(projection.weight().value().data == weight.data);
}

TEST_CASE("a bias is added to every row, with the adapter, without it and merged, and can be trained") {
  Adapted plain = make_projection<Adapted>(), biased(B{}, 7, 5, 2, 1, true);
  const std::vector<double> bias = {1, -2, 3, 0.5, 4};
  std::vector<std::string> names;
  plain.visit_base("w", [&](const auto&, const auto&, Parameter<B>& from) {
    biased.visit_base("w", [&](const std::string& name, const Shape& shape, Parameter<B>& parameter) {
      names.push_back(name);
      CHECK(shape == (name == "w.bias" ? Shape{5} : Shape{5, 7}));
      parameter = name == "w.bias" ? detail::make_parameter(B{}, shape, bias) : from;
    });
  });
  CHECK(names == std::vector<std::string>{"w.weight", "w.bias"});
  std::vector<Parameter<B>> factors;
  plain.visit_adapter("", [&](const auto&, const auto&, Parameter<B>& p) { factors.push_back(p); });
  biased.visit_adapter(
      "", [&, i = std::size_t{0}](const auto&, const auto&, Parameter<B>& p) mutable { p = factors[i++]; });
  const auto check = [&] {
    auto want = apply(plain);
    for (std::size_t i = 0; i < want.size(); ++i) want[i] += bias[i % 5];
    CHECK(close(want, apply(biased), 1e-14));
  };
  check();
  for (auto* projection : {&plain, &biased}) projection->merge({});
  check();
  for (auto* projection : {&plain, &biased}) projection->unmerge();
  for (auto* projection : {&plain, &biased}) projection->use_adapter(false);
  check();
  biased.visit_base("w", [](const std::string& name, const auto&, Parameter<B>& p) {
    if (name == "w.bias") p.train({});
  });
  Tape<B> tape;
  const Tensor<double> x(Shape{4, 7});
  CHECK(biased(tape, tape.constant(x.view())).wants_gradient());
}

TEST_CASE("merging keeps a trained base weight trained") {
  auto projection = make_projection<Adapted>();
  projection.visit_base("", [](const auto&, const auto&, Parameter<B>& p) { p.train({}); });
  projection.merge({});
  CHECK_FALSE(projection.weight().trained());
  projection.unmerge();
  CHECK(projection.weight().trained());
}

TEST_CASE("where the policy has no adapter there is none") {
  static_assert(Adapted::adapted && !Plain::adapted);
  static_assert(sizeof(Plain) < sizeof(Adapted));
  static_assert(sizeof(Plain) == sizeof(Projection<B, NoAdapter, q>));
  auto projection = make_projection<Plain>();
  int visits = 0;
  projection.visit_adapter("", [&](const auto&, const auto&, const auto&) { ++visits; });
  CHECK(visits == 0);
  const View<const double> weight = projection.weight().value();
  projection.merge({});
  CHECK(projection.weight().value().data == weight.data);
}

TEST_CASE("A is uniform in +-1/sqrt(in), B is zero, both by seed and place") {
  const auto start = [](Index layer, std::uint64_t seed) {
    Projection<B, Lora<8>, q> projection(B{}, 400, 3, layer, seed);
    std::vector<double> a;
    projection.visit_adapter("", [&](const std::string& name, const auto&, Parameter<B>& p) {
      if (name == ".lora_A.weight")
        a = testing::as_doubles(p.value());
      else
        for (const double x : p.value().span()) CHECK(x == 0);
    });
    return a;
  };
  const auto a = start(2, 1);
  double largest = 0, squares = 0;
  for (const double x : a) {
    largest = std::max(largest, std::abs(x));
    squares += x * x;
  }
  CHECK(largest <= 0.05);
  CHECK(largest > 0.0499);
  // The variance of the uniform distribution, within five standard errors (sqrt(4/45) of bound^2 each).
  CHECK(squares / 3200 == doctest::Approx(0.0025 / 3).epsilon(5 * std::sqrt(0.8 / 3200)));
  CHECK(a == start(2, 1));
  CHECK(a != start(3, 1));
  CHECK(a != start(2, 2));
}

TEST_CASE("streams of random numbers are unique") {
  std::set<std::uint64_t> streams;
  for (Index layer = 0; layer < 126; ++layer) {
    for (const Projections p : {q, k, v, o, gate, up, down}) streams.insert(detail::projection_stream(layer, p));
  }
  CHECK(streams.size() == 126 * 7);
}
