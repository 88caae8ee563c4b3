// y = x / sqrt(mean(x^2) + eps) * w on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/ops/rms_norm/rms_norm.hpp>

#include <cmath>

namespace lolcats {

template <class T>
struct RmsNormKernel<Cpu<T>> {
  static void forward(const Cpu<T>&, View<const T> x, View<const T> w, double eps, View<T> inverse, View<T> y) {
    const Index cols = x.cols();
    const auto weight = eigen::elements(w, 0, cols);
    parallel_ranges(x.rows(), grain(cols), [&](Index first, Index last) {
      for (Index m = first; m < last; ++m) {
        const auto row = eigen::elements(x, m * cols, (m + 1) * cols);
        inverse.data[m] = T(1) / std::sqrt(row.square().sum() / static_cast<T>(cols) + static_cast<T>(eps));
        eigen::elements(y, m * cols, (m + 1) * cols) = inverse.data[m] * row * weight;
      }
    });
  }

  static void backward(const Cpu<T>&, View<const T> dy, View<const T> x, View<const T> w, View<const T> inverse,
                       Sink<T> dx, View<T> dw) {
    const Index cols = x.cols();
    const auto weight = eigen::elements(w, 0, cols);
    // Row ranges for the weight's partial sums, at most 32 of them, added in order.
    const Index step = std::max(grain(cols), (x.rows() + 31) / 32);
    Eigen::Array<T, Eigen::Dynamic, Eigen::Dynamic> partial;  // a column per range
    if (dw) partial.setZero(cols, (x.rows() + step - 1) / step);
    parallel_ranges(x.rows(), step, [&](Index first, Index last) {
      for (Index m = first; m < last; ++m) {
        const auto row = eigen::elements(x, m * cols, (m + 1) * cols);
        const auto up = eigen::elements(dy, m * cols, (m + 1) * cols);
        const T by = inverse.data[m];
        if (dw) partial.col(first / step) += by * up * row;
        if (dx.gradient) {
          const T pull = by * by * by * (up * weight * row).sum() / static_cast<T>(cols);
          eigen::put(eigen::elements(dx.gradient, m * cols, (m + 1) * cols), by * up * weight - pull * row, dx.add);
        }
      }
    });
    if (!dw) return;
    for (Index part = 0; part < partial.cols(); ++part) eigen::elements(dw, 0, cols) += partial.col(part);
  }

 private:
  static Index grain(Index cols) { return std::max<Index>(1, eigen::element_grain / std::max<Index>(cols, 1)); }
};

}  // namespace lolcats
