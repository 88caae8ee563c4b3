#include "plain_weights.hpp"

#include <lolcats/eval/window_mass.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

namespace {

template <class W>
auto mass_within(const W& window) {
  return [=](Index n, const std::vector<double>& a) {
    double sum = 0;
    for (Index j = window.begin(n); j <= n; ++j) sum += a[static_cast<std::size_t>(j)];
    return sum;
  };
}

void check_mass(const PerHead& got, const std::vector<std::vector<double>>& want) {
  REQUIRE(got.values.size() == want.size());
  for (std::size_t l = 0; l < want.size(); ++l) {
    for (std::size_t h = 0; h < want[l].size(); ++h) {
      CHECK(got.values[l][h] == doctest::Approx(want[l][h]).epsilon(1e-12));
      CHECK(want[l][h] > 0.1);
      CHECK(want[l][h] < 0.99);
    }
  }
}

}  // namespace

TEST_CASE("window_mass: the student's and the teacher's share of near keys, by plain loops") {
  using Student = Llama<Cpu<double>, Hybrid<Hedgehog<2>, Terraced<3>>>;
  Student model = tiny::student<Student>(2);
  const DataSet data = tiny::data(3, {17, 9});
  const Terraced<3> window;
  const auto hybrid = [&](auto q, auto k, Index h) { return tiny::hybrid_weights(q, k, h, window); };
  check_mass(window_mass(model, data, 2), tiny::plain_average(model, data, hybrid, mass_within(window)));
  const auto softmax = [](auto q, auto k, Index h) { return tiny::softmax_weights(q, k, h); };
  check_mass(teacher_window_mass(model, data, window), tiny::plain_average(model, data, softmax, mass_within(window)));
  check_mass(teacher_window_mass(model, data, Sliding<2>()),
              tiny::plain_average(model, data, softmax, mass_within(Sliding<2>())));
  CHECK(teacher_window_mass(model, data, Everything()).mean() == doctest::Approx(1).epsilon(1e-12));
}

TEST_CASE("window_mass: pure linear attention has no window") {
  using Student = Llama<Cpu<double>, Linear<Hedgehog<2>>>;
  Student model = tiny::student<Student>(1);
  CHECK(window_mass(model, tiny::data(2)).mean() == 0);
}
