// Training kernels on the CPU, as plain loops over host memory.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/core/parallel.hpp>
#include <lolcats/train/adamw.hpp>
#include <lolcats/train/gradients.hpp>

#include <array>
#include <cmath>
#include <numeric>
#include <vector>

namespace lolcats {

/// AdamWKernel for any backend whose memory is host memory.
template <Backend B>
struct HostAdamWKernel {
  static void update(const B&, const AdamWCoefficients& c, View<const Real<B>> gradient, View<Real<B>> first,
                     View<Real<B>> second, View<Real<B>> master, View<Scalar<B>> value) {
    using T = Real<B>;
    const T beta1 = static_cast<T>(c.beta1), keep1 = static_cast<T>(1 - c.beta1);
    const T beta2 = static_cast<T>(c.beta2), keep2 = static_cast<T>(1 - c.beta2);
    const T epsilon = static_cast<T>(c.epsilon), shrink = static_cast<T>(c.shrink);
    const T rate = static_cast<T>(c.rate), root = static_cast<T>(c.root);
    parallel_ranges(master.size(), grain, [&](Index begin, Index end) {
      const T* g = gradient.data;
      T* m = first.data;
      T* v = second.data;
      T* x = master.data;
      for (Index i = begin; i < end; ++i) {
        m[i] = beta1 * m[i] + keep1 * g[i];
        v[i] = beta2 * v[i] + keep2 * g[i] * g[i];
        // One difference instead of two: the master is rounded once.
        x[i] -= shrink * x[i] + rate * m[i] / (std::sqrt(v[i]) * root + epsilon);
      }
      if (value) {
        for (Index i = begin; i < end; ++i) value.data[i] = static_cast<Scalar<B>>(x[i]);
      }
    });
  }

  static constexpr Index grain = Index{1} << 15;
};

/// GradientKernel for any backend whose memory is host memory.
template <Backend B>
struct HostGradientKernel {
  static double sum_of_squares(const B&, View<const Real<B>> g) {
    // Partial sums belong to blocks of a fixed size and are added in their order, whoever computed them.
    std::vector<double> partial(static_cast<std::size_t>((g.size() + grain - 1) / grain));
    parallel_ranges(g.size(), grain, [&](Index begin, Index end) {
      std::array<double, 8> lanes{};  // independent sums, so that the compiler may use vector registers
      Index i = begin;
      for (; i + 8 <= end; i += 8) {
        for (std::size_t lane = 0; lane < 8; ++lane) {
          const auto x = static_cast<double>(g.data[i + static_cast<Index>(lane)]);
          lanes[lane] += x * x;
        }
      }
      for (; i < end; ++i) lanes[0] += static_cast<double>(g.data[i]) * static_cast<double>(g.data[i]);
      partial[static_cast<std::size_t>(begin / grain)] = std::accumulate(lanes.begin(), lanes.end(), 0.0);
    });
    return std::accumulate(partial.begin(), partial.end(), 0.0);
  }

  static void scale(const B&, View<Real<B>> g, double factor) {
    parallel_ranges(g.size(), grain, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) g.data[i] *= static_cast<Real<B>>(factor);
    });
  }

  static constexpr Index grain = Index{1} << 15;
};

template <class T>
struct AdamWKernel<Cpu<T>> : HostAdamWKernel<Cpu<T>> {};

template <class T>
struct GradientKernel<Cpu<T>> : HostGradientKernel<Cpu<T>> {};

}  // namespace lolcats
