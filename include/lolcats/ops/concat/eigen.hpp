// Columns side by side on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/concat/concat.hpp>
#include <lolcats/ops/elementwise/eigen.hpp>

namespace lolcats {

template <class T>
struct ConcatKernel<Cpu<T>> {
  static void forward(const Cpu<T>&, View<const T> a, View<const T> b, View<T> y) {
    eigen::for_rows(y, [&](Index m, Index begin, Index end) {
      const Index middle = begin + a.cols();
      eigen::elements(y, begin, middle) = eigen::elements(a, m * a.cols(), (m + 1) * a.cols());
      eigen::elements(y, middle, end) = eigen::elements(b, m * b.cols(), (m + 1) * b.cols());
    });
  }

  static void backward(const Cpu<T>&, View<const T> dy, Sink<T> da, Sink<T> db) {
    if (da.gradient) take(dy, 0, da);
    if (db.gradient) take(dy, dy.cols() - db.gradient.cols(), db);
  }

 private:
  /// The columns of dy from `first` on that are those of x.
  static void take(View<const T> dy, Index first, Sink<T> x) {
    const Index width = x.gradient.cols();
    eigen::for_rows(dy, [&](Index m, Index begin, Index) {
      eigen::put(eigen::elements(x.gradient, m * width, (m + 1) * width), eigen::elements(dy, begin + first, begin + first + width),
                 x.add);
    });
  }
};

}  // namespace lolcats
