// Decoding over a key/value cache against plain double loops: head sizes, groups, lengths, batches beyond one launch.
#include <lolcats/core/rng.hpp>
#include <lolcats/ops/attention/softmax_decode.cuh>

#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

using namespace lolcats;

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

template <class T>
double as_stored(double x) {
  return static_cast<float>(T(static_cast<float>(x)));
}

/// Random numbers, `guard` NaN behind them.
template <class T>
struct Random {
  static constexpr Index guard = 512;
  std::vector<double> values;
  Array<Cuda<T>> device;

  Random(Index n, double scale, Rng& rng) : device(Shape{n + guard}) {
    for (Index i = 0; i < n; ++i) values.push_back(as_stored<T>(scale * rng.normal()));
    values.resize(static_cast<std::size_t>(n + guard), nan);
    Cuda<T>{}.from_host(values.data(), device.data(), n + guard);
  }
};

template <class T>
void check(Heads heads, const std::vector<int>& counts, Rng& rng) {
  const Index H = heads.queries, G = heads.keys, D = heads.size;
  const auto rows = static_cast<Index>(counts.size());
  INFO(fmt::format("H {} G {} D {} sequences {} first of {} keys, {}", H, G, D, rows, counts[0], Cuda<T>::name()));
  const Random<T> q(rows * H * D, 1.5, rng);
  std::vector<Random<T>> keys, values;
  std::vector<cuda::DecodeSlot<T>> slots;
  for (const int count : counts) {
    keys.emplace_back(count * G * D, 1.0, rng);
    values.emplace_back(count * G * D, 1.0, rng);
    slots.push_back({keys.back().device.data(), values.back().device.data(), count, static_cast<int>(slots.size())});
  }
  Array<Cuda<T>> y(Shape{rows * H * D + 64});
  const std::vector<double> poison(static_cast<std::size_t>(y.size()), nan);
  const Cuda<T> backend;
  backend.from_host(poison.data(), y.data(), y.size());
  cuda::softmax_decode<T>(backend.stream(), heads, slots, q.device.data(), y.data());
  std::vector<double> got(static_cast<std::size_t>(y.size()));
  backend.to_host(y.data(), got.data(), y.size());
  for (std::size_t i = static_cast<std::size_t>(rows * H * D); i < got.size(); ++i) REQUIRE(got[i] != got[i]);

  double worst = 0, scale = 0;
  for (Index n = 0; n < rows; ++n) {
    const auto& k = keys[static_cast<std::size_t>(n)].values;
    const auto& v = values[static_cast<std::size_t>(n)].values;
    for (Index h = 0; h < H; ++h) {
      std::vector<double> p, want(static_cast<std::size_t>(D), 0);
      double largest = -1e300, sum = 0;
      const auto at = [&](Index j, Index i) { return static_cast<std::size_t>((j * G + h / (H / G)) * D + i); };
      for (Index j = 0; j < counts[static_cast<std::size_t>(n)]; ++j) {
        double s = 0;
        for (Index i = 0; i < D; ++i) s += q.values[static_cast<std::size_t>((n * H + h) * D + i)] * k[at(j, i)];
        p.push_back(s / std::sqrt(static_cast<double>(D)));
        largest = std::max(largest, p.back());
      }
      for (double& x : p) sum += x = std::exp(x - largest);
      for (Index i = 0; i < D; ++i) {
        double w = 0;
        for (Index j = 0; j < counts[static_cast<std::size_t>(n)]; ++j)
          w += p[static_cast<std::size_t>(j)] / sum * v[at(j, i)];
        scale = std::max(scale, std::abs(w));
        const double error = std::abs(got[static_cast<std::size_t>((n * H + h) * D + i)] - w);
        worst = error == error ? std::max(worst, error) : std::numeric_limits<double>::infinity();
      }
    }
  }
  CHECK(worst <= (std::is_same_v<T, float> ? 1e-5 : 5e-3) * scale);
}

template <class T>
void check_all() {
  std::string reason;
  if (!cuda::available(&reason)) {
    std::fprintf(stderr, "skipped: no GPU (%s)\n", reason.c_str());
    return;
  }
  Rng rng(21);
  for (const Index size : {8, 16, 24, 40, 64, 72, 128, 256}) check<T>({4, 2, size}, {1, 3, 63, 64, 65, 500}, rng);
  for (const Index group : {1, 2, 3, 4, 5, 8}) check<T>({2 * group, 2, 64}, {127, 1000}, rng);
  check<T>({4, 1, 128}, {5000}, rng);
  std::vector<int> many;
  for (int n = 0; n < 150; ++n) many.push_back(1 + n * 7 % 90);
  check<T>({4, 2, 32}, many, rng);
}

}  // namespace

TEST_CASE("softmax over a key/value cache is the double loop, in float") { check_all<float>(); }
TEST_CASE("softmax over a key/value cache is the double loop, in bf16") { check_all<bf16>(); }
