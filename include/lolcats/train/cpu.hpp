// Training kernels on the CPU, as plain loops over host memory.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/core/parallel.hpp>
#include <lolcats/train/adamw.hpp>
#include <lolcats/train/gradients.hpp>

#include <array>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

namespace lolcats {

/// AdamWKernel for any backend whose memory is host memory.
template <Backend B>
struct HostAdamWKernel {
  static void update(const B&, const AdamWCoefficients& c, std::span<const AdamWPart<B>> parts) {
    for (const AdamWPart<B>& part : parts) {
      parallel_ranges(part.master.size(), grain, [&](Index begin, Index end) { update(c, part, begin, end); });
    }
  }

  static constexpr Index grain = Index{1} << 15;

 private:
  static void update(const AdamWCoefficients& c, const AdamWPart<B>& part, Index begin, Index end) {
    using T = Real<B>;
    const T beta1 = static_cast<T>(c.beta1), keep1 = static_cast<T>(1 - c.beta1);
    const T beta2 = static_cast<T>(c.beta2), keep2 = static_cast<T>(1 - c.beta2);
    const T epsilon = static_cast<T>(c.epsilon), shrink = static_cast<T>(c.shrink);
    const T rate = static_cast<T>(c.rate), root = static_cast<T>(c.root);
    const T* g = part.gradient.data;
    T* m = part.first.data;
    T* v = part.second.data;
    T* x = part.master.data;
    for (Index i = begin; i < end; ++i) {
      m[i] = beta1 * m[i] + keep1 * g[i];
      v[i] = beta2 * v[i] + keep2 * g[i] * g[i];
      // One difference instead of two: the master is rounded once.
      x[i] -= shrink * x[i] + rate * m[i] / (std::sqrt(v[i]) * root + epsilon);
    }
    if (!part.value) return;
    for (Index i = begin; i < end; ++i) part.value.data[i] = static_cast<Scalar<B>>(x[i]);
  }
};

/// GradientKernel for any backend whose memory is host memory.
template <Backend B>
struct HostGradientKernel {
  using Gradients = std::span<const View<Real<B>>>;

  static void zero(const B& backend, Gradients gradients) {
    for (const View<Real<B>>& g : gradients) backend.zero(g.data, g.size());
  }

  static std::vector<double> sums_of_squares(const B&, Gradients gradients) {
    std::vector<double> sums;
    for (const View<Real<B>>& g : gradients) sums.push_back(sum_of_squares(g));
    return sums;
  }

  static void scale(const B&, Gradients gradients, double factor) {
    for (const View<Real<B>>& g : gradients) {
      parallel_ranges(g.size(), grain, [&](Index begin, Index end) {
        for (Index i = begin; i < end; ++i) g.data[i] *= static_cast<Real<B>>(factor);
      });
    }
  }

  static constexpr Index grain = Index{1} << 15;

 private:
  static double sum_of_squares(View<const Real<B>> g) {
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
};

template <class T>
struct AdamWKernel<Cpu<T>> : HostAdamWKernel<Cpu<T>> {};

template <class T>
struct GradientKernel<Cpu<T>> : HostGradientKernel<Cpu<T>> {};

}  // namespace lolcats
