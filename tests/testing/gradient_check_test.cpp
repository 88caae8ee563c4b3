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

enum class GradientPlant { nothing, wrong_factor, forgets_to_add, reads_before_writing, value_needs_recording, one_element };

/// y = x_0 w, elementwise, with a planted error in what an operation does beside its numbers.
enum class Habit { good, leaves_an_argument_out, leaves_the_weight_out, always_records, never_records, counts_threads, changes };
Var<B> product(Tape<B>& tape, Var<B> x, Weight<B> w, Habit habit) {
  auto [y, out] = tape.result(x.shape(), habit != Habit::never_records &&
                                             (habit == Habit::always_records || x.wants_gradient() || w.trained()));
  static int calls = 0;
  for (Index i = 0; i < out.size(); ++i) {
    out.data[i] = x.value().data[i] * w.value.data[i];
    if (habit == Habit::counts_threads) out.data[i] *= 1 + 1e-15 * max_threads();
    if (habit == Habit::changes) out.data[i] *= 1 + 1e-15 * ++calls;
  }
  tape.record(y, [x, w, habit, y = y] {
    for (Index i = 0; w.trained() && habit != Habit::leaves_the_weight_out && i < y.value().size(); ++i) {
      w.gradient.data[i] += y.gradient().data[i] * x.value().data[i];
    }
    if (!x.wants_gradient() || habit == Habit::leaves_an_argument_out) return;
    const auto [dx, add] = x.sink();
    for (Index i = 0; i < dx.size(); ++i) {
      dx.data[i] = (add ? dx.data[i] : 0.0) + y.gradient().data[i] * w.value.data[i];
    }
  });
  return y;
}

/// y = x^3 with a planted error.
Var<B> cube(Tape<B>& tape, Var<B> x, GradientPlant planted) {
  auto [y, out] = tape.result(x.shape(), x.wants_gradient());
  for (Index i = 0; i < out.size(); ++i) {
    const double v = x.value().data[i];
    out.data[i] = v * v * v + (planted == GradientPlant::value_needs_recording && y.wants_gradient() ? 1e-3 : 0.0);
  }
  tape.record(y, [x, planted, y = y] {
    auto [dx, add] = x.sink();
    for (Index i = 0; i < dx.size(); ++i) {
      const double v = x.value().data[i];
      double g = 3 * v * v * y.gradient().data[i];
      if (planted == GradientPlant::wrong_factor) g *= 1.0001;
      if (planted == GradientPlant::one_element && i == 2) g *= 1.0001;
      if (planted == GradientPlant::forgets_to_add) add = false;
      if (planted == GradientPlant::reads_before_writing) add = true;
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
  for (const GradientPlant planted :
       {GradientPlant::nothing, GradientPlant::wrong_factor, GradientPlant::forgets_to_add,
        GradientPlant::reads_before_writing, GradientPlant::value_needs_recording, GradientPlant::one_element}) {
    const bool expected = planted == GradientPlant::nothing;
    CAPTURE(static_cast<int>(planted));
    const Verdict gradients = check_gradients({x}, {}, [&](Tape<B>& tape, Vars v) { return cube(tape, v[0], planted); });
    CHECK_MESSAGE(gradients.passed == expected, gradients.text);
    const Verdict operation = check_operation<B>(
        {{Shape{2, 3}}}, [&](Tape<B>& tape, Vars v, std::span<const Weight<B>>) { return cube(tape, v[0], planted); },
        [](std::span<const std::vector<double>> a) { return naive_cube(a[0]); });
    CHECK_MESSAGE(operation.passed == expected, operation.text);
  }
}

TEST_CASE("check_operation finds gradients that do not arrive, records too many or none, and values that depend on more") {
  const std::pair<Habit, const char*> habits[] = {
      {Habit::good, "passed"},
      {Habit::leaves_an_argument_out, "no gradient of argument 0 arrived, expected one of shape (2, 3)"},
      {Habit::leaves_the_weight_out, "gradient 1 in direction 0"},
      {Habit::always_records, "recorded although nothing is trained"},
      {Habit::never_records, "nothing was recorded"},
      {Habit::counts_threads, "value on"},
      {Habit::changes, "value"}};
  for (const auto& [habit, text] : habits) {
#ifndef _OPENMP
    if (habit == Habit::counts_threads) continue;
#endif
    const Verdict verdict = check_operation<B>(
        {{Shape{2, 3}}, {Shape{2, 3}, true}},
        [&, habit = habit](Tape<B>& tape, Vars x, std::span<const Weight<B>> w) { return product(tape, x[0], w[0], habit); },
        [](std::span<const std::vector<double>> a) {
          std::vector<double> y;
          for (std::size_t i = 0; i < a[0].size(); ++i) y.push_back(a[0][i] * a[1][i]);
          return y;
        });
    CHECK(verdict.passed == (habit == Habit::good));
    CHECK_MESSAGE(verdict.text.find(text) != std::string::npos, verdict.text);
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
