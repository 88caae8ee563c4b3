// y = x W^T (+ b) on the CPU, and the threaded products that other operations share.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/linear/linear.hpp>

#include <vector>

namespace lolcats {

namespace eigen {

/// Calls f(first row, rows, first column, columns), in parallel, for blocks that cover a (rows, cols) product of
/// depth `depth`.
///
/// Rows are split first, into blocks of about a million multiplications and at least 64 rows, because each block packs
/// the right operand anew.  Too few rows to occupy 8 threads (decoding) are split along the columns as well.
/// The blocks depend on the sizes alone.
template <class F>
void product_blocks(Index rows, Index cols, Index depth, F&& f) {
  const Index row_step = std::max<Index>(64, (Index{1} << 20) / std::max<Index>(cols * depth, 1));
  const Index row_blocks = std::max<Index>(1, (rows + row_step - 1) / row_step);
  Index col_step = std::max<Index>(cols, 1);
  if (row_blocks < 8 && rows * cols * depth > (Index{1} << 18)) {
    col_step = std::max<Index>(64, (cols * row_blocks / 8 + 15) / 16 * 16);
  }
  const Index col_blocks = (cols + col_step - 1) / col_step;
  parallel_for(row_blocks * col_blocks, [&](Index block) {
    const Index row = block / col_blocks * row_step;
    const Index col = block % col_blocks * col_step;
    f(row, std::min(row_step, rows - row), col, std::min(col_step, cols - col));
  });
}

/// y (M, O) = or += factor * x (M, I) W^T with W (O, I).
template <class T>
void multiply_transposed(View<const T> x, View<const T> w, Sink<T> y, T factor = T(1)) {
  const Index inputs = x.cols(), outputs = w.rows();
  product_blocks(x.rows(), outputs, inputs, [&](Index row, Index rows_here, Index col, Index cols_here) {
    set_product(rows(y.gradient.data + row * outputs + col, rows_here, cols_here, outputs),
                matrix(x.row_range(row, rows_here)), matrix(w.row_range(col, cols_here)).transpose(), factor, y.add);
  });
}

/// y (M, I) = or += factor * x (M, O) W with W (O, I).
template <class T>
void multiply(View<const T> x, View<const T> w, Sink<T> y, T factor = T(1)) {
  const Index outputs = w.cols();
  product_blocks(x.rows(), outputs, x.cols(), [&](Index row, Index rows_here, Index col, Index cols_here) {
    set_product(rows(y.gradient.data + row * outputs + col, rows_here, cols_here, outputs),
                matrix(x.row_range(row, rows_here)), rows(w.data + col, w.rows(), cols_here, w.cols()), factor, y.add);
  });
}

/// c (O, I) += factor * a (M, O)^T b (M, I): the gradient of a weight.
///
/// Small weights are summed over fixed ranges of tokens and the partial sums added in order; large ones (over 2^18
/// elements, where partial sums would cost more than they save) are split into a grid of tiles.
template <class T>
void add_transposed_product(View<const T> a, View<const T> b, View<T> c, T factor = T(1)) {
  const Index tokens = a.rows(), outputs = a.cols(), inputs = b.cols();
  if (outputs * inputs > (Index{1} << 18)) {
    const auto step = [](Index n) { return std::max<Index>(64, ((n + 3) / 4 + 15) / 16 * 16); };
    const Index o_step = step(outputs), i_step = step(inputs);
    const Index across = (inputs + i_step - 1) / i_step;
    parallel_for((outputs + o_step - 1) / o_step * across, [&](Index tile) {
      const Index o = tile / across * o_step, i = tile % across * i_step;
      const Index o_here = std::min(o_step, outputs - o), i_here = std::min(i_step, inputs - i);
      add_product(rows(c.data + o * inputs + i, o_here, i_here, inputs),
                  rows(a.data + o, tokens, o_here, outputs).transpose(), rows(b.data + i, tokens, i_here, inputs),
                  factor);
    });
    return;
  }
  const Index work = tokens * outputs * inputs;
  const Index most = std::clamp<Index>(work >> 20, 1, 16);
  const Index step = std::max<Index>(64, (tokens + most - 1) / most);
  const Index parts = (tokens + step - 1) / step;
  if (parts <= 1) {
    add_product(matrix(c), matrix(a).transpose(), matrix(b), factor);
    return;
  }
  RowMatrix<T> partial(parts, outputs * inputs);
  parallel_ranges(tokens, step, [&](Index first, Index last) {
    set_product(rows(partial.data() + first / step * outputs * inputs, outputs, inputs, inputs),
                matrix(a.row_range(first, last - first)).transpose(), matrix(b.row_range(first, last - first)), factor);
  });
  parallel_ranges(outputs * inputs, Index{1} << 14, [&](Index first, Index last) {
    for (Index part = 0; part < parts; ++part) {
      rows(c.data + first, 1, last - first, last - first) += partial.block(part, first, 1, last - first);
    }
  });
}

}  // namespace eigen

template <class T>
struct LinearKernel<Cpu<T>> {
  static void forward(const Cpu<T>&, View<const T> x, View<const T> w, Sink<T> y) {
    eigen::multiply_transposed<T>(x, w, y);
  }

  static void input_gradient(const Cpu<T>&, View<const T> dy, View<const T> w, Sink<T> dx) {
    eigen::multiply<T>(dy, w, dx);
  }

  static void weight_gradient(const Cpu<T>&, View<const T> dy, View<const T> x, View<T> dw) {
    eigen::add_transposed_product<T>(dy, x, dw);
  }

  static void spread(const Cpu<T>&, View<const T> bias, View<T> y) {
    const Index cols = y.cols();
    parallel_ranges(y.rows(), std::max<Index>(1, (Index{1} << 14) / std::max<Index>(cols, 1)),
                    [&](Index first, Index last) {
                      for (Index m = first; m < last; ++m) std::copy_n(bias.data, cols, y.data + m * cols);
                    });
  }

  static void bias_gradient(const Cpu<T>&, View<const T> dy, View<T> db) {
    const Index cols = dy.cols();
    // Row ranges, at most 32 of them, whose sums are added in order.
    const Index step = std::max<Index>({1, (Index{1} << 14) / std::max<Index>(cols, 1), (dy.rows() + 31) / 32});
    eigen::RowMatrix<T> partial = eigen::RowMatrix<T>::Zero((dy.rows() + step - 1) / step, cols);
    parallel_ranges(dy.rows(), step, [&](Index first, Index last) {
      for (Index m = first; m < last; ++m) partial.row(first / step) += eigen::rows(dy.data + m * cols, 1, cols, cols);
    });
    for (Index part = 0; part < partial.rows(); ++part) eigen::rows(db.data, 1, cols, cols) += partial.row(part);
  }
};

}  // namespace lolcats
