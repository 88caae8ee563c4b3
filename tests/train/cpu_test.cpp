#include <lolcats/train/cpu.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

using namespace lolcats;
using Device = Cpu<float>;

namespace {
/// n ones with the given gradient.
Parameter<Device> trained(Index n, double (*gradient)(Index)) {
  Array<Device> value(Shape{n});
  std::fill_n(value.data(), n, 1.0F);
  Parameter<Device> p(value);
  p.train(Device{});
  for (Index i = 0; i < n; ++i) p.gradient().data[i] = static_cast<float>(gradient(i));
  return p;
}
}  // namespace

TEST_CASE("parameters longer than one block of the kernel are updated to their ends") {
  const Index n = 2 * HostAdamWKernel<Device>::grain + 3;
  auto p = trained(n, [](Index) { return 2.0; });
  AdamW<Device>(Device{}, {{"p", &p}}).step(0.25);
  Index right = 0;
  for (Index i = 0; i < n; ++i) right += std::abs(p.value().data[i] - 0.75F) < 1e-6F;
  CHECK(right == n);
}

TEST_CASE("the norm of many float gradients is summed in double") {
  // In float the sum of 20 million ones stops at 2^24.
  auto a = trained(20'000'000, [](Index) { return 1.0; });
  CHECK(global_norm(Device{}, {{"a", &a}}) == doctest::Approx(std::sqrt(2e7)).epsilon(1e-14));
}

TEST_CASE("the norm does not depend on the number of threads") {
  auto a = trained(200'003, [](Index i) { return std::sin(static_cast<double>(i)); });
  const double norm = global_norm(Device{}, {{"a", &a}});
#ifdef _OPENMP
  const int before = omp_get_max_threads();
  for (const int threads : {1, 2, 3, 7}) {
    omp_set_num_threads(threads);
    CHECK(global_norm(Device{}, {{"a", &a}}) == norm);
  }
  omp_set_num_threads(before);
#endif
  double plain = 0;
  for (Index i = 0; i < a.size(); ++i) plain += double(a.gradient().data[i]) * double(a.gradient().data[i]);
  CHECK(norm == doctest::Approx(std::sqrt(plain)).epsilon(1e-13));
}
