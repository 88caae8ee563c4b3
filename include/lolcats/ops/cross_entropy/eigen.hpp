// Next-token loss over a vocabulary on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/cross_entropy/cross_entropy.hpp>
#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/ops/linear/eigen.hpp>

#include <cmath>
#include <limits>

namespace lolcats {

template <class T>
struct CrossEntropyKernel<Cpu<T>> {
  /// Vocabulary entries per chunk, and rows per tile: the logits of a tile fill about 1 MB of floats, which stays in a
  /// second-level cache, and both sides are long enough for a fast product.
  static constexpr Index chunk = 2048;
  static constexpr Index tile_elements = Index{1} << 18;
  static Index tile_rows(Index vocabulary) {
    return std::clamp<Index>(tile_elements / std::min(vocabulary, chunk), 16, 256);
  }

  static void forward(const Cpu<T>&, View<const T> hidden, View<const T> head, std::span<const Index> labels,
                      View<T> lse, View<T> losses) {
    const Index vocabulary = head.rows();
    parallel_ranges(hidden.rows(), tile_rows(vocabulary), [&](Index first, Index last) {
      const Index rows = last - first;
      const auto tile_labels = labels.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(rows));
      eigen::elements(lse, first, last).setZero();
      eigen::elements(losses, first, last).setZero();
      if (all_ignored(tile_labels)) return;
      Column top = Column::Constant(rows, -std::numeric_limits<T>::infinity());
      Column sum = Column::Zero(rows), picked = Column::Zero(rows);
      eigen::RowMatrix<T> logits;  // (rows, entries of a chunk)
      for (Index begin = 0; begin < vocabulary; begin += chunk) {
        const Index entries = std::min(chunk, vocabulary - begin);
        logits.resize(rows, entries);
        eigen::set_product(logits, eigen::matrix(hidden.row_range(first, rows)),
                           eigen::matrix(head.row_range(begin, entries)).transpose());
        for (Index m = 0; m < rows; ++m) {
          const Index label = tile_labels[static_cast<std::size_t>(m)];
          if (label == ignored_label) continue;
          auto row = logits.row(m).array();
          const T highest = std::max(top[m], row.maxCoeff());
          const T here = (row - highest).exp().sum();
          sum[m] = sum[m] * std::exp(top[m] - highest) + here;  // the first time 0 * exp(-inf) + here
          top[m] = highest;
          if (label >= begin && label < begin + entries) picked[m] = logits(m, label - begin);
        }
      }
      for (Index m = 0; m < rows; ++m) {
        if (tile_labels[static_cast<std::size_t>(m)] == ignored_label) continue;
        // log(sum) and picked - top are small; top itself may be large and would cost digits.
        losses.data[first + m] = std::log(sum[m]) - (picked[m] - top[m]);
        lse.data[first + m] = top[m] + std::log(sum[m]);
      }
    });
  }

  static void backward(const Cpu<T>&, View<const T> upstream, double scale, View<const T> hidden, View<const T> head,
                       std::span<const Index> labels, View<const T> lse, Sink<T> dhidden, View<T> dhead) {
    const T by = static_cast<T>(scale * static_cast<double>(upstream.data[0]));
    const Index vocabulary = head.rows(), step = tile_rows(vocabulary);
    if (!dhead) {
      parallel_ranges(hidden.rows(), step, [&](Index first, Index last) {
        eigen::RowMatrix<T> g;
        for (Index begin = 0; begin < vocabulary; begin += chunk) {
          const Index entries = std::min(chunk, vocabulary - begin);
          g.resize(last - first, entries);
          logit_gradient(by, hidden, head, labels, lse, first, begin, g);
          add_input_gradient(g, head, first, begin, dhidden);
        }
      });
      return;
    }
    // The head's gradient sums over rows, so it needs those of many tiles at once: 16 of them, about 16 MB of floats.
    const Index group = 16 * step;
    eigen::RowMatrix<T> g;
    for (Index begin = 0; begin < vocabulary; begin += chunk) {
      const Index entries = std::min(chunk, vocabulary - begin);
      for (Index start = 0; start < hidden.rows(); start += group) {
        const Index rows = std::min(group, hidden.rows() - start);
        g.resize(rows, entries);
        parallel_ranges(rows, step, [&](Index first, Index last) {
          auto here = g.middleRows(first, last - first);
          logit_gradient(by, hidden, head, labels, lse, start + first, begin, here);
          if (dhidden.gradient) add_input_gradient(here, head, start + first, begin, dhidden);
        });
        eigen::add_transposed_product<T>(View<const T>(g.data(), Shape{rows, entries}), hidden.row_range(start, rows),
                                         dhead.row_range(begin, entries));
      }
    }
  }

 private:
  using Column = Eigen::Array<T, Eigen::Dynamic, 1>;

  static bool all_ignored(std::span<const Index> labels) {
    return std::all_of(labels.begin(), labels.end(), [](Index label) { return label == ignored_label; });
  }

  /// g (rows, entries) = by (exp(logits - lse) - onehot(label)) for rows from `first` and entries from `begin`.
  template <class Block>
  static void logit_gradient(T by, View<const T> hidden, View<const T> head, std::span<const Index> labels,
                             View<const T> lse, Index first, Index begin, Block& g) {
    if (all_ignored(labels.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(g.rows())))) {
      g.setZero();
      return;
    }
    eigen::set_product(g, eigen::matrix(hidden.row_range(first, g.rows())),
                       eigen::matrix(head.row_range(begin, g.cols())).transpose());
    for (Index m = 0; m < g.rows(); ++m) {
      const Index label = labels[static_cast<std::size_t>(first + m)];
      auto row = g.row(m).array();
      if (label == ignored_label) {
        row.setZero();
        continue;
      }
      row = by * (row - lse.data[first + m]).exp();
      if (label >= begin && label < begin + g.cols()) row[label - begin] -= by;
    }
  }

  /// dhidden = or += g head[begin ...]; the first chunk decides whether old content survives.
  template <class Block>
  static void add_input_gradient(const Block& g, View<const T> head, Index first, Index begin, Sink<T> dhidden) {
    eigen::set_product(eigen::matrix(dhidden.gradient.row_range(first, g.rows())), g,
                       eigen::matrix(head.row_range(begin, g.cols())), T(1), dhidden.add || begin > 0);
  }
};

}  // namespace lolcats
