#include <lolcats/train/cpu.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

using namespace lolcats;

namespace {

template <class T>
Parameter<Cpu<T>> trained(const Shape& shape, double (*gradient)(Index)) {
  Array<Cpu<T>> value(shape);
  std::fill_n(value.data(), value.size(), T(1));
  Parameter<Cpu<T>> p(value);
  p.train(Cpu<T>{});
  for (Index i = 0; i < p.size(); ++i) p.gradient().data[i] = static_cast<T>(gradient(i));
  return p;
}

}  // namespace

TEST_CASE_TEMPLATE("the norm goes over all parameters, and clipping scales them together", T, float, double) {
  using B = Cpu<T>;
  auto a = trained<T>(Shape{1}, [](Index) { return 3.0; });
  auto b = trained<T>(Shape{2, 2}, [](Index i) { return i == 3 ? -4.0 : 0.0; });
  const Parameters<B> parameters{{"a", &a}, {"b", &b}};
  CHECK(global_norm(B{}, parameters) == 5.0);
  CHECK(clip_by_global_norm(B{}, parameters, 1.0) == 5.0);
  // 1 / (5 + 1e-6) of the gradients, to the round-off of T
  const double tolerance = std::is_same_v<T, float> ? 1e-7 : 1e-15;
  CHECK(std::abs(a.gradient().data[0] - 3.0 / 5.000001) < tolerance);
  CHECK(std::abs(b.gradient().data[3] + 4.0 / 5.000001) < tolerance * 2);
  zero_gradients(B{}, parameters);
  CHECK(global_norm(B{}, parameters) == 0.0);
}

TEST_CASE("clipping leaves gradients below the limit as they are") {
  using B = Cpu<double>;
  auto a = trained<double>(Shape{2}, [](Index i) { return i == 0 ? 0.3 : 0.4; });
  CHECK(clip_by_global_norm(B{}, {{"a", &a}}, 1.0) == doctest::Approx(0.5).epsilon(1e-15));
  CHECK(a.gradient().data[0] == 0.3);
  CHECK(a.gradient().data[1] == 0.4);
  CHECK_THROWS_AS(clip_by_global_norm(B{}, {{"a", &a}}, 0.0), ConfigError);
}

TEST_CASE("a gradient that is not finite is reported with its parameter") {
  using B = Cpu<float>;
  auto a = trained<float>(Shape{9}, [](Index) { return 1.0; });
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    auto b = trained<float>(Shape{17}, [](Index) { return 0.0; });
    b.gradient().data[16] = static_cast<float>(bad);
    try {
      global_norm(B{}, {{"layers.0.a", &a}, {"layers.1.b", &b}});
      FAIL("expected a NumericError");
    } catch (const NumericError& error) {
      CHECK(std::string(error.what()).find("'layers.1.b'") != std::string::npos);
    }
  }
}
