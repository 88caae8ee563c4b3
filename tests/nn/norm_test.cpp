#include <lolcats/nn/norm.hpp>

#include <lolcats/ops/rms_norm/eigen.hpp>
#include <lolcats/testing/random.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

TEST_CASE("rows of unit mean square, times the weight") {
  using B = Cpu<double>;
  Norm<B> layer(2, 0.5);
  layer.visit_base("norm", [&](const std::string& name, const Shape& shape, Parameter<B>& parameter) {
    CHECK(name == "norm.weight");
    CHECK(shape == Shape{2});
    parameter = Parameter<B>(testing::array<B>(shape, {1, 10}));
  });
  Tape<B> tape;
  const auto x = testing::array<B>(Shape{1, 2}, {1, -2});
  const Var<B> y = layer(tape, tape.constant(x.view()));
  CHECK(y.value().data[0] == doctest::Approx(1 / std::sqrt(3.0)).epsilon(1e-15));  // mean square 2.5, eps 0.5
  CHECK(y.value().data[1] == doctest::Approx(-20 / std::sqrt(3.0)).epsilon(1e-15));
}
