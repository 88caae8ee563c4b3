// Softmax of rows on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/ops/softmax/softmax.hpp>

namespace lolcats {

template <class T>
struct SoftmaxKernel<Cpu<T>> {
  static void forward(const Cpu<T>&, View<const T> x, View<T> y) {
    eigen::for_rows(x, [&](Index, Index first, Index last) {
      auto row = eigen::elements(y, first, last);
      row = (eigen::elements(x, first, last) - eigen::elements(x, first, last).maxCoeff()).exp();
      row /= row.sum();
    });
  }

  static void backward(const Cpu<T>&, View<const T> dy, View<const T> y, Sink<T> dx) {
    eigen::for_rows(y, [&](Index, Index first, Index last) {
      const auto p = eigen::elements(y, first, last);
      const auto dp = eigen::elements(dy, first, last);
      const T mean = (p * dp).sum();
      eigen::put(eigen::elements(dx.gradient, first, last), p * (dp - mean), dx.add);
    });
  }
};

}  // namespace lolcats
