#include "../backend/narrow.hpp"

#include <lolcats/tensor/bf16.hpp>
#include <lolcats/train/cpu.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace lolcats;
using lolcats::testing::Narrow;

namespace {

/// The gradient of step t (1, 2, ...) at element i: any numbers of several magnitudes and both signs.
double gradient_at(int t, std::size_t i) {
  return std::sin(1.0 + 3.7 * t + 1.3 * static_cast<double>(i)) * std::pow(10.0, static_cast<double>(i % 5) - 3.0);
}

/// Algorithm 2 of Loshchilov and Hutter 2019, line by line.
std::vector<double> plain_adamw(std::vector<double> x, int steps, double lr, double beta1, double beta2, double eps,
                                double decay) {
  std::vector<double> m(x.size()), v(x.size());
  for (int t = 1; t <= steps; ++t) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double g = gradient_at(t, i);
      x[i] = x[i] - lr * decay * x[i];
      m[i] = beta1 * m[i] + (1 - beta1) * g;
      v[i] = beta2 * v[i] + (1 - beta2) * g * g;
      const double m_hat = m[i] / (1 - std::pow(beta1, t));
      const double v_hat = v[i] / (1 - std::pow(beta2, t));
      x[i] = x[i] - lr * m_hat / (std::sqrt(v_hat) + eps);
    }
  }
  return x;
}

template <Backend B>
Parameter<B> parameter_of(const std::vector<double>& values, const B& backend = {}) {
  Array<B> array(Shape{static_cast<Index>(values.size())});
  backend.from_host(values.data(), array.data(), array.size());
  return Parameter<B>(array);
}

template <Backend B>
void set_gradient(Parameter<B>& p, int t) {
  for (Index i = 0; i < p.size(); ++i) {
    p.gradient().data[i] = static_cast<Real<B>>(gradient_at(t, static_cast<std::size_t>(i)));
  }
}

}  // namespace

namespace lolcats {
template <>
struct AdamWKernel<Narrow> : HostAdamWKernel<Narrow> {};
}  // namespace lolcats

TEST_CASE_TEMPLATE("AdamW follows the published algorithm", T, float, double) {
  using B = Cpu<T>;
  // Round-off of a few dozen operations, relative to entries of about 1.
  const double tolerance = std::is_same_v<T, float> ? 3e-6 : 1e-14;
  struct Case {
    double lr, beta1, beta2, eps, decay;
  };
  for (const Case c : {Case{1e-2, 0.9, 0.999, 1e-8, 0.0}, Case{1e-2, 0.9, 0.999, 1e-8, 0.1},
                       Case{3e-3, 0.5, 0.9, 1e-3, 0.5}, Case{1e-4, 0.0, 0.0, 1e-8, 0.0}}) {
    std::vector<double> x{1.0, -0.5, 0.25, 0.0, 2.0, -1.0, 0.125};
    Parameter<B> p = parameter_of<B>(x);
    p.train(B{});
    AdamW<B> optimizer(B{}, {{"p", &p}},
                       {.beta1 = c.beta1, .beta2 = c.beta2, .epsilon = c.eps, .weight_decay = c.decay});
    for (int t = 1; t <= 12; ++t) {
      set_gradient(p, t);
      optimizer.step(c.lr);
      const auto want = plain_adamw(x, t, c.lr, c.beta1, c.beta2, c.eps, c.decay);
      for (std::size_t i = 0; i < x.size(); ++i) {
        CAPTURE(t);
        CAPTURE(i);
        CHECK(std::abs(static_cast<double>(p.value().data[i]) - want[i]) < tolerance);
      }
    }
    CHECK(optimizer.steps() == 12);
  }
}

TEST_CASE("the first step of AdamW has the size of the learning rate, whatever the gradient") {
  using B = Cpu<double>;
  Parameter<B> p = parameter_of<B>({1.0, 1.0});
  p.train(B{});
  p.gradient().data[0] = 123.0;
  p.gradient().data[1] = -1e-3;
  AdamW<B>(B{}, {{"p", &p}}).step(0.1);
  CHECK(p.value().data[0] == doctest::Approx(0.9).epsilon(1e-9));
  CHECK(p.value().data[1] == doctest::Approx(1.1).epsilon(1e-5));  // eps is 1e-5 of this gradient
}

TEST_CASE("masters keep updates that the value is too narrow to hold") {
  const Narrow backend;
  Parameter<Narrow> p = parameter_of<Narrow>({1.0, 1.0, 1.0});
  p.train(backend);
  AdamW<Narrow> optimizer(backend, {{"p", &p}});
  const auto value = [&] { return static_cast<float>(p.value().data[0]); };
  // bf16 values next to 1 are 2^-8 below and 2^-7 above; single steps of 1e-3 would be lost below half of that.
  for (int t = 1; t <= 10; ++t) {
    for (Index i = 0; i < 3; ++i) p.gradient().data[i] = 1.0F;
    optimizer.step(1e-3);
    CHECK(value() == static_cast<float>(bf16(p.master().data[0])));
  }
  CHECK(p.master().data[0] == doctest::Approx(0.99).epsilon(1e-5));
  CHECK(value() < 1.0F);
}

TEST_CASE_TEMPLATE("with bf16_masters, masters keep nothing that bf16 cannot hold", B, Cpu<float>, Cpu<double>, Narrow) {
  const std::vector<double> start{1.0, -1.0, 3.0, 0.3125};  // bf16 holds all of them
  const auto masters = [&](bool bf16_masters, double learning_rate, int steps) {
    Parameter<B> p = parameter_of<B>(start);
    p.train(B{});
    AdamW<B> optimizer(B{}, {{"p", &p}}, {.bf16_masters = bf16_masters});
    for (int t = 1; t <= steps; ++t) {
      set_gradient(p, t);
      optimizer.step(learning_rate);
    }
    return std::vector<double>(p.master().data, p.master().data + p.size());
  };
  const auto rounded = [](double x) { return static_cast<double>(bf16(static_cast<float>(x))); };
  // One step of 1e-2 is more than half of the unit at 3, which is 2^-6: every element moves.
  const auto fine = masters(false, 1e-2, 1), coarse = masters(true, 1e-2, 1);
  // Half of the unit at 0.3125 is 2^-10: steps of 1e-5 are lost, twenty times.
  const auto kept = masters(false, 1e-5, 20), lost = masters(true, 1e-5, 20);
  for (std::size_t i = 0; i < start.size(); ++i) {
    CAPTURE(i);
    CHECK(fine[i] != rounded(fine[i]));
    CHECK(coarse[i] == rounded(fine[i]));
    CHECK(coarse[i] != start[i]);
    CHECK(kept[i] != start[i]);
    CHECK(lost[i] == start[i]);
  }
}

TEST_CASE("AdamW refuses frozen parameters and impossible options") {
  using B = Cpu<double>;
  Parameter<B> p = parameter_of<B>({1.0});
  CHECK_THROWS_WITH_AS(AdamW<B>(B{}, {{"layer.3.q", &p}}), "AdamW: parameter 'layer.3.q' is frozen; call train() first",
                       ConfigError);
  p.train(B{});
  CHECK_THROWS_AS(AdamW<B>(B{}, {{"p", &p}}, {.beta1 = 1.0}), ConfigError);
  CHECK_THROWS_AS(AdamW<B>(B{}, {{"p", &p}}, {.beta2 = 1.0}), ConfigError);
  CHECK_THROWS_AS(AdamW<B>(B{}, {{"p", &p}}, {.epsilon = 0.0}), ConfigError);
  CHECK_THROWS_AS(AdamW<B>(B{}, {{"p", &p}}, {.weight_decay = -1.0}), ConfigError);
}

TEST_CASE("parameters of different rates are optimised as if alone at these rates") {
  using B = Cpu<double>;
  const std::vector<double> start{1.0, -0.5, 0.25};
  Parameter<B> a = parameter_of<B>(start), b = parameter_of<B>(start), c = parameter_of<B>(start);
  const Parameters<B> all{{"a", &a}, {"b", &b}, {"c", &c}};
  for (Parameter<B>* p : {&a, &b, &c}) p->train(B{});
  AdamW<B> optimizer(B{}, all, {.weight_decay = 0.1, .rates = {1, 0.25, 1}});
  for (int t = 1; t <= 5; ++t) {
    for (Parameter<B>* p : {&a, &b, &c}) set_gradient(*p, t);
    optimizer.step(1e-2);
  }
  const auto whole = plain_adamw(start, 5, 1e-2, 0.9, 0.999, 1e-8, 0.1), quarter = plain_adamw(start, 5, 0.25e-2, 0.9, 0.999, 1e-8, 0.1);
  for (std::size_t i = 0; i < start.size(); ++i) {
    CHECK(a.value().data[i] == doctest::Approx(whole[i]).epsilon(1e-12));
    CHECK(b.value().data[i] == doctest::Approx(quarter[i]).epsilon(1e-12));
    CHECK(c.value().data[i] == doctest::Approx(whole[i]).epsilon(1e-12));
  }
  CHECK_THROWS_WITH_AS(AdamW<B>(B{}, all, {.rates = {1, 1}}), "AdamW: 2 rates, expected 3, one per parameter", ConfigError);
  CHECK_THROWS_AS(AdamW<B>(B{}, all, {.rates = {1, 1, -1}}), ConfigError);
}
