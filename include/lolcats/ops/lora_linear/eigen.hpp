// y = x W^T + scale (mask(x) A^T) B^T on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/dropout/eigen.hpp>
#include <lolcats/ops/linear/eigen.hpp>
#include <lolcats/ops/lora_linear/lora_linear.hpp>

namespace lolcats {

template <class T>
struct LoraLinearKernel<Cpu<T>> {
  static void forward(const Cpu<T>& cpu, View<const T> x, View<const T> w, View<const T> a, View<const T> b,
                      double scale, const DropoutMask& mask, View<T> t, Sink<T> y) {
    if (mask.active()) {
      const Tensor<T> masked = apply(cpu, x, mask);
      eigen::multiply_transposed<T>(masked.view(), a, {t, false});
    } else {
      eigen::multiply_transposed<T>(x, a, {t, false});
    }
    // Both products of a block of rows while it is in the cache.
    eigen::product_blocks(x.rows(), w.rows(), x.cols(), [&](Index row, Index rows, Index col, Index cols) {
      auto here = eigen::rows(y.gradient.data + row * w.rows() + col, rows, cols, w.rows());
      eigen::set_product(here, eigen::matrix(x.row_range(row, rows)),
                         eigen::matrix(w.row_range(col, cols)).transpose(), T(1), y.add);
      eigen::add_product(here, eigen::matrix(View<const T>(t).row_range(row, rows)),
                         eigen::matrix(b.row_range(col, cols)).transpose(), static_cast<T>(scale));
    });
  }

  static void low_gradient(const Cpu<T>&, View<const T> dy, View<const T> b, double scale, View<T> dt) {
    eigen::multiply<T>(dy, b, {dt, false}, static_cast<T>(scale));
  }

  static void b_gradient(const Cpu<T>&, View<const T> dy, View<const T> t, double scale, View<T> db) {
    eigen::add_transposed_product<T>(dy, t, db, static_cast<T>(scale));
  }

  static void a_gradient(const Cpu<T>& cpu, View<const T> dt, View<const T> x, const DropoutMask& mask, View<T> da) {
    if (mask.active()) {
      const Tensor<T> masked = apply(cpu, x, mask);
      eigen::add_transposed_product<T>(dt, masked.view(), da);
    } else {
      eigen::add_transposed_product<T>(dt, x, da);
    }
  }

  static void input_gradient(const Cpu<T>&, View<const T> dy, View<const T> dt, View<const T> w, View<const T> a,
                             const DropoutMask& mask, Sink<T> dx) {
    const Index inputs = w.cols();
    eigen::product_blocks(dy.rows(), inputs, dy.cols(), [&](Index row, Index rows, Index col, Index cols) {
      auto here = eigen::rows(dx.gradient.data + row * inputs + col, rows, cols, inputs);
      eigen::set_product(here, eigen::matrix(dy.row_range(row, rows)),
                         eigen::rows(w.data + col, w.rows(), cols, inputs), T(1), dx.add);
      const auto low = eigen::matrix(dt.row_range(row, rows));              // (rows, R)
      const auto down = eigen::rows(a.data + col, a.rows(), cols, inputs);  // (R, cols)
      if (!mask.active()) {
        eigen::add_product(here, low, down);
        return;
      }
      eigen::RowMatrix<T> through = eigen::RowMatrix<T>::Zero(rows, cols);
      eigen::add_product(through, low, down);
      for (Index m = 0; m < rows; ++m) {
        const Index element = (row + m) * inputs + col;
        DropoutKernel<Cpu<T>>::apply_range(through.data() + m * cols, mask, element, cols, dx.gradient.data + element,
                                           true);
      }
    });
  }

 private:
  static Tensor<T> apply(const Cpu<T>& cpu, View<const T> x, const DropoutMask& mask) {
    Tensor<T> masked(x.shape);
    DropoutKernel<Cpu<T>>::apply(cpu, x, mask, {masked.view(), false});
    return masked;
  }
};

}  // namespace lolcats
