// The squared distance to a fixed target on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/ops/squared_error/squared_error.hpp>

namespace lolcats {

template <class T>
struct SquaredErrorKernel<Cpu<T>> {
  static void forward(const Cpu<T>&, View<const T> a, View<const T> target, double scale, View<T> y) {
    y.data[0] =
        static_cast<T>(scale * eigen::ordered_sum(a.size(), [&](Index first, Index last) {
                         return (eigen::elements(a, first, last) - eigen::elements(target, first, last)).square().sum();
                       }));
  }

  static void gradient(const Cpu<T>&, View<const T> upstream, View<const T> a, View<const T> target, double scale,
                       Sink<T> da) {
    const T by = static_cast<T>(2 * scale * static_cast<double>(upstream.data[0]));
    parallel_ranges(a.size(), eigen::element_grain, [&](Index first, Index last) {
      eigen::put(eigen::elements(da.gradient, first, last),
                 by * (eigen::elements(a, first, last) - eigen::elements(target, first, last)), da.add);
    });
  }
};

}  // namespace lolcats
