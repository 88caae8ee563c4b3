// check_gradients and check_operation find planted errors.
#include <lolcats/ops/linear/eigen.hpp>
#include <lolcats/ops/linear/naive.hpp>
#include <lolcats/testing/gradient_check.hpp>
#include <lolcats/testing/operation_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

using B = Cpu<double>;
using Vars = std::span<const Var<B>>;

enum class Plant { nothing, wrong_factor, forgets_to_add, reads_before_writing, value_needs_recording, one_element };

/// y = x^3 with a planted error.
Var<B> cube(Tape<B>& tape, Var<B> x, Plant plant) {
  auto [y, out] = tape.result(x.shape(), x.wants_gradient());
  for (Index i = 0; i < out.size(); ++i) {
    const double v = x.value().data[i];
    out.data[i] = v * v * v + (plant == Plant::value_needs_recording && y.wants_gradient() ? 1e-3 : 0.0);
  }
  tape.record(y, [x, plant, y = y] {
    auto [dx, add] = x.sink();
    for (Index i = 0; i < dx.size(); ++i) {
      const double v = x.value().data[i];
      double g = 3 * v * v * y.gradient().data[i];
      if (plant == Plant::wrong_factor) g *= 1.0001;
      if (plant == Plant::one_element && i == 2) g *= 1.0001;
      if (plant == Plant::forgets_to_add) add = false;
      if (plant == Plant::reads_before_writing) add = true;
      dx.data[i] = (add ? dx.data[i] : 0.0) + g;
    }
  });
  return y;
}

std::vector<double> naive_cube(const std::vector<double>& x) {
  std::vector<double> y;
  for (const double v : x) y.push_back(v * v * v);
  return y;
}

}  // namespace

TEST_CASE("a correct gradient passes and each planted error fails") {
  Rng rng(1);
  const auto x = normal<B>(Shape{2, 3}, rng);
  for (const Plant plant : {Plant::nothing, Plant::wrong_factor, Plant::forgets_to_add, Plant::reads_before_writing,
                            Plant::value_needs_recording, Plant::one_element}) {
    const bool expected = plant == Plant::nothing;
    CAPTURE(static_cast<int>(plant));
    const Verdict gradients = check_gradients({x}, {}, [&](Tape<B>& tape, Vars v) { return cube(tape, v[0], plant); });
    CHECK_MESSAGE(gradients.passed == expected, gradients.text);
    const Verdict operation = check_operation<B>(
        {{Shape{2, 3}}}, [&](Tape<B>& tape, Vars v, std::span<const Weight<B>>) { return cube(tape, v[0], plant); },
        [](std::span<const std::vector<double>> a) { return naive_cube(a[0]); });
    CHECK_MESSAGE(operation.passed == expected, operation.text);
  }
}

TEST_CASE("check_operation finds a value that is not its reference's") {
  CHECK_FALSE(check_operation<B>(
      {{Shape{2, 3}}, {Shape{4, 3}, true}},
      [](Tape<B>& tape, Vars x, std::span<const Weight<B>> w) { return linear(tape, x[0], w[0]); },
      [](std::span<const std::vector<double>> a) {
        auto y = naive::linear(a[0], a[1], 2, 3, 4);
        y[3] *= 1 + 1e-12;
        return y;
      }));
}

TEST_CASE("check_gradients leaves parameters trained, with their values and with zero gradients") {
  Rng rng(1);
  const auto value = normal<B>(Shape{4, 3}, rng);
  Parameter<B> w(value);
  CHECK(check_gradients({normal<B>(Shape{2, 3}, rng)}, {&w},
                        [&](Tape<B>& tape, Vars x) { return linear(tape, x[0], w); }));
  CHECK(w.trained());
  CHECK(same(value, w.value()));
  CHECK(same(std::vector<double>(12, 0.0), w.gradient()));
}

TEST_CASE("numerical_gradient is exact for polynomials of degree four") {
  std::vector<double> x = {0.5, -1.0};
  const auto g = numerical_gradient([&] { return x[0] * x[0] * x[0] * x[0] + 2 * x[1]; }, x, 1e-2);
  CHECK(close(std::vector{0.5, 2.0}, g, 1e-12));
  CHECK(x[0] == 0.5);
}
