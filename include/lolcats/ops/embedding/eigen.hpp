// Rows of a table on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/embedding/embedding.hpp>

namespace lolcats {

template <class T>
struct EmbeddingKernel<Cpu<T>> {
  static void forward(const Cpu<T>&, std::span<const Index> tokens, View<const T> table, View<T> y) {
    const Index cols = table.cols();
    const Index grain = std::max<Index>(1, (Index{1} << 14) / std::max<Index>(cols, 1));
    parallel_ranges(y.rows(), grain, [&](Index first, Index last) {
      for (Index m = first; m < last; ++m) {
        std::copy_n(table.data + tokens[static_cast<std::size_t>(m)] * cols, cols, y.data + m * cols);
      }
    });
  }

  static void table_gradient(const Cpu<T>&, std::span<const Index> tokens, View<const T> dy, View<T> dtable) {
    // Columns are split, not tokens: a token may occur many times, and its rows must be added in order.
    const Index cols = dy.cols();
    parallel_ranges(cols, std::max<Index>(16, (cols / 16 + 15) / 16 * 16), [&](Index first, Index last) {
      for (Index m = 0; m < dy.rows(); ++m) {
        const T* from = dy.data + m * cols;
        T* to = dtable.data + tokens[static_cast<std::size_t>(m)] * cols;
#pragma omp simd
        for (Index c = first; c < last; ++c) to[c] += from[c];
      }
    });
  }
};

}  // namespace lolcats
