// silu(gate) * up on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/ops/swiglu/swiglu.hpp>

namespace lolcats {

template <class T>
struct SwigluKernel<Cpu<T>> {
  static void forward(const Cpu<T>&, View<const T> gate, View<const T> up, View<T> y) {
    parallel_ranges(y.size(), grain, [&](Index first, Index last) {
      const auto g = eigen::elements(gate, first, last);
      // exp(-z) may overflow to infinity; the quotient is then the right limit, -0.
      eigen::elements(y, first, last) = g * eigen::elements(up, first, last) / (T(1) + (-g).exp());
    });
  }

  static void backward(const Cpu<T>&, View<const T> dy, View<const T> gate, View<const T> up, Sink<T> dgate,
                       Sink<T> dup) {
    parallel_ranges(dy.size(), grain, [&](Index first, Index last) {
      const auto g = eigen::elements(gate, first, last);
      const auto from = eigen::elements(dy, first, last);
      const Eigen::Array<T, Eigen::Dynamic, 1> s = (T(1) + (-g).exp()).inverse();
      if (dgate.gradient) {
        eigen::put(eigen::elements(dgate.gradient, first, last),
                   from * eigen::elements(up, first, last) * s * (T(1) + g * (T(1) - s)), dgate.add);
      }
      if (dup.gradient) eigen::put(eigen::elements(dup.gradient, first, last), from * g * s, dup.add);
    });
  }

 private:
  // An exponential per element: shorter ranges than for plain sums.
  static constexpr Index grain = Index{1} << 13;
};

}  // namespace lolcats
