// The column of the largest entry of each row on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/arg_max/arg_max.hpp>

#include <algorithm>
#include <cmath>

namespace lolcats {

template <class T>
struct ArgMaxKernel<Cpu<T>> {
  static void forward(const Cpu<T>&, View<const T> x, View<std::int32_t> column) {
    parallel_ranges(x.rows(), std::max<Index>(1, (Index{1} << 15) / x.cols()), [&](Index first, Index last) {
      for (Index m = first; m < last; ++m) {
        const T* row = x.data + m * x.cols();
        const bool finite = std::all_of(row, row + x.cols(), [](T value) { return std::isfinite(value); });
        column.data[m] = finite ? static_cast<std::int32_t>(std::max_element(row, row + x.cols()) - row) : -1;
      }
    });
  }
};

}  // namespace lolcats
