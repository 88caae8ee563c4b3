#include <lolcats/nn/mlp.hpp>

#include <lolcats/ops/linear/eigen.hpp>
#include <lolcats/ops/lora_linear/eigen.hpp>
#include <lolcats/ops/swiglu/eigen.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/random.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <map>

using namespace lolcats;
using lolcats::testing::as_doubles;
using lolcats::testing::close;

TEST_CASE("(silu(x gate^T) * (x up^T)) down^T, with the adapters that the policy names") {
  using B = Cpu<double>;
  using P = Lora<2, Targets{Projections::up}>;
  Mlp<B, P> layer(B{}, 3, 4, 0, 0);
  Rng rng(2);
  std::map<std::string, std::vector<double>> w;
  const auto fill = [&](const std::string& name, const Shape& shape, Parameter<B>& parameter) {
    parameter = Parameter<B>(testing::normal<B>(shape, rng));
    w[name] = as_doubles(parameter.value());
  };
  layer.visit_projections([&](auto& projection) {
    const std::string name(module_of(projection.which));
    projection.visit_base(name, fill);
    projection.visit_adapter(name, fill);
  });
  REQUIRE(w.size() == 5);
  const std::vector<double> x = {0.5, -1, 2};
  std::vector<double> want(3, 0.0);
  for (std::size_t h = 0; h < 4; ++h) {
    double gate = 0, up = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      gate += w["mlp.gate_proj.weight"][h * 3 + i] * x[i];
      up += w["mlp.up_proj.weight"][h * 3 + i] * x[i];
      for (std::size_t r = 0; r < 2; ++r) {  // alpha / rank is 2
        up += 2 * w["mlp.up_proj.lora_B.weight"][h * 2 + r] * w["mlp.up_proj.lora_A.weight"][r * 3 + i] * x[i];
      }
    }
    for (std::size_t i = 0; i < 3; ++i) {
      want[i] += w["mlp.down_proj.weight"][i * 4 + h] * gate / (1 + std::exp(-gate)) * up;
    }
  }
  Tape<B> tape;
  const auto input = testing::array<B>(Shape{1, 3}, x);
  CHECK(close(want, layer(tape, tape.constant(input.view())).value(), 1e-14));
}
