// Dropout on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/dropout/dropout.hpp>

namespace lolcats {

template <class T>
struct DropoutKernel<Cpu<T>> {
  static void apply(const Cpu<T>&, View<const T> x, const DropoutMask& mask, Sink<T> y) {
    parallel_ranges(x.size(), grain, [&](Index first, Index last) {
      apply_range(x.data + first, mask, first, last - first, y.gradient.data + first, y.add);
    });
  }

  /// `count` numbers of x, the first of which is element `element` of the mask.
  static void apply_range(const T* x, const DropoutMask& mask, Index element, Index count, T* y, bool add) {
    const T factor = static_cast<T>(mask.factor());
    const DropoutMask here = mask;
    if (add) {
#pragma omp simd
      for (Index i = 0; i < count; ++i) y[i] += here.keeps(element + i) ? factor * x[i] : T(0);
    } else {
#pragma omp simd
      for (Index i = 0; i < count; ++i) y[i] = here.keeps(element + i) ? factor * x[i] : T(0);
    }
  }

 private:
  static constexpr Index grain = Index{1} << 13;
};

}  // namespace lolcats
