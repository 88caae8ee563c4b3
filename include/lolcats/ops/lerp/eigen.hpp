// Linear interpolation on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/ops/lerp/lerp.hpp>

namespace lolcats {

template <class T>
struct LerpKernel<Cpu<T>> {
  static void forward(const Cpu<T>&, View<const T> start, View<const T> end, View<const T> weights, View<T> y) {
    for_pieces(y.rows(), y.cols(), weights.size(), [&](Index first, Index last, Index i) {
      const auto a = eigen::elements(start, first, last);
      eigen::elements(y, first, last) = a + weights.data[i] * (eigen::elements(end, first, last) - a);
    });
  }

  static void gradients(const Cpu<T>&, View<const T> dy, View<const T> weights, Sink<T> dstart, Sink<T> dend) {
    for_pieces(dy.rows(), dy.cols(), weights.size(), [&](Index first, Index last, Index i) {
      const T w = weights.data[i];
      const auto of = eigen::elements(dy, first, last);
      if (dstart.gradient) eigen::put(eigen::elements(dstart.gradient, first, last), (1 - w) * of, dstart.add);
      if (dend.gradient) eigen::put(eigen::elements(dend.gradient, first, last), w * of, dend.add);
    });
  }

  static void weight_gradient(const Cpu<T>&, View<const T> dy, View<const T> start, View<const T> end, View<T> dweights) {
    const Index width = dy.cols() / dweights.size();
    parallel_for(dweights.size(), [&](Index i) {
      double sum = 0;
      for (Index m = 0; m < dy.rows(); ++m) {
        const Index first = m * dy.cols() + i * width, last = first + width;
        sum += static_cast<double>(
            (eigen::elements(dy, first, last) * (eigen::elements(end, first, last) - eigen::elements(start, first, last))).sum());
      }
      dweights.data[i] += static_cast<T>(sum);
    });
  }

 private:
  /// f(first, last, i) for the elements [first, last) of every row that weight i belongs to.
  template <class F>
  static void for_pieces(Index rows, Index cols, Index count, F&& f) {
    const Index width = cols / count;
    parallel_ranges(rows, std::max<Index>(1, eigen::element_grain / std::max<Index>(1, cols)), [&](Index first, Index last) {
      for (Index m = first; m < last; ++m) {
        for (Index i = 0; i < count; ++i) f(m * cols + i * width, m * cols + (i + 1) * width, i);
      }
    });
  }
};

}  // namespace lolcats
