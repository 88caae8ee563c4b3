// The training kernels on CUDA: AdamW, norms and clipping over many parameters of any size.
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/gpu.cuh>
#include <lolcats/testing/random.hpp>
#include <lolcats/train/cuda.cuh>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

/// Parameters of odd sizes, one longer than several blocks of the kernels, with random values and gradients.
template <Backend B>
struct Some {
  B backend;
  std::vector<Parameter<B>> parameters;
  Parameters<B> named;

  explicit Some(std::uint64_t seed = 3) {
    Rng rng(seed);
    for (const Index size : {1, 4096, 3, 100'003, 4095, 4097, 64}) {
      parameters.emplace_back(normal<B>(Shape{size}, rng));
      parameters.back().train(backend);
    }
    for (std::size_t i = 0; i < parameters.size(); ++i) named.push_back({fmt::format("layers.{}", i), &parameters[i]});
    set_gradients(1);
  }
  void set_gradients(std::uint64_t seed) {
    Rng rng(seed, 5);
    for (auto& p : parameters) {
      const auto g = normal<B, float>(p.shape(), rng);
      backend.copy(g.data(), p.gradient().data, p.size());
    }
  }
  void set_gradient(std::size_t parameter, Index at, double value) {
    backend.from_host(&value, parameters[parameter].gradient().data + at, 1);
  }
};

}  // namespace

TEST_CASE_TEMPLATE("AdamW on CUDA follows the published algorithm in every element", B, Cuda<float>, Cuda<bf16>) {
  if (!have_gpu()) return;
  Some<B> some;
  const AdamWOptions options{.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-6, .weight_decay = 0.1};
  AdamW<B> optimizer(some.backend, some.named, options);
  std::vector<std::vector<double>> x, m, v;
  for (auto& p : some.parameters) {
    x.push_back(host(some.backend, p.master()));
    m.emplace_back(x.back().size());
    v.emplace_back(x.back().size());
  }
  for (int t = 1; t <= 5; ++t) {
    some.set_gradients(static_cast<std::uint64_t>(t));
    optimizer.step(1e-2);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto g = host(some.backend, some.parameters[i].gradient());
      for (std::size_t j = 0; j < g.size(); ++j) {
        m[i][j] = 0.8 * m[i][j] + 0.2 * g[j];
        v[i][j] = 0.95 * v[i][j] + 0.05 * g[j] * g[j];
        x[i][j] -= 1e-2 * 0.1 * x[i][j];
        x[i][j] -= 1e-2 * m[i][j] / (1 - std::pow(0.8, t)) / (std::sqrt(v[i][j] / (1 - std::pow(0.95, t))) + 1e-6);
      }
      const auto master = host(some.backend, some.parameters[i].master());
      CHECK(close(x[i], master, 1e-6));
      const auto value = host(some.backend, some.parameters[i].value());
      Index right = 0;
      for (std::size_t j = 0; j < value.size(); ++j) right += value[j] == cuda::round_to<Scalar<B>>(master[j]);
      CHECK(right == some.parameters[i].size());
    }
  }
}

TEST_CASE_TEMPLATE("with bf16_masters, masters on CUDA keep nothing that bf16 cannot hold", B, Cuda<float>, Cuda<bf16>) {
  if (!have_gpu()) return;
  Some<B> fine, coarse;
  AdamW<B> with(coarse.backend, coarse.named, {.bf16_masters = true}), without(fine.backend, fine.named, {});
  with.step(1e-2);
  without.step(1e-2);
  Index representable = 0, all = 0;
  for (std::size_t i = 0; i < fine.parameters.size(); ++i) {
    auto want = host(fine.backend, fine.parameters[i].master());
    for (double& x : want) {
      const double rounded = cuda::round_to<bf16>(x);
      representable += x == rounded;
      ++all;
      x = rounded;
    }
    CHECK(same(want, host(coarse.backend, coarse.parameters[i].master())));
  }
  CHECK(representable < all / 10);
}

TEST_CASE("norm, clipping and zeroing go over all parameters") {
  if (!have_gpu()) return;
  using B = Cuda<bf16>;
  Some<B> some;
  double squares = 0;
  std::vector<std::vector<double>> before;
  for (auto& p : some.parameters) {
    before.push_back(host(some.backend, p.gradient()));
    for (const double g : before.back()) squares += g * g;
  }
  const double norm = global_norm(some.backend, some.named);
  CHECK(norm == doctest::Approx(std::sqrt(squares)).epsilon(1e-12));
  CHECK(global_norm(some.backend, some.named) == norm);  // the same bits
  CHECK(clip_by_global_norm(some.backend, some.named, 2 * norm) == norm);
  for (std::size_t i = 0; i < before.size(); ++i) {
    CHECK(host(some.backend, some.parameters[i].gradient()) == before[i]);
  }
  CHECK(clip_by_global_norm(some.backend, some.named, 1.0) == norm);
  for (std::size_t i = 0; i < before.size(); ++i) {
    for (double& g : before[i]) g /= norm + 1e-6;
    CHECK(close(before[i], host(some.backend, some.parameters[i].gradient()), 1e-6));
  }
  some.set_gradient(3, 100'002, std::numeric_limits<double>::quiet_NaN());
  some.set_gradient(5, 0, std::numeric_limits<double>::infinity());
  CHECK_THROWS_WITH_AS(global_norm(some.backend, some.named),
                       "global_norm: the gradient of 'layers.3' is not finite (sum of squares nan)", NumericError);
  zero_gradients(some.backend, some.named);
  CHECK(global_norm(some.backend, some.named) == 0);
}

TEST_CASE("the norm of many float gradients is summed in double") {
  if (!have_gpu()) return;
  using B = Cuda<float>;
  Parameter<B> p(array<B>(Shape{20'000'000}, std::vector<double>(20'000'000, 1.0)));
  p.train(B{});
  B{}.copy(p.value().data, p.gradient().data, p.size());
  CHECK(global_norm(B{}, {{"p", &p}}) == doctest::Approx(std::sqrt(2e7)).epsilon(1e-14));
}
