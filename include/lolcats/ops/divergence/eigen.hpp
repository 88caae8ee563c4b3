// The divergence of one prediction from another on the CPU.
#pragma once

#include <lolcats/ops/cross_entropy/eigen.hpp>
#include <lolcats/ops/divergence/divergence.hpp>

namespace lolcats {

template <class T>
struct DivergenceKernel<Cpu<T>> {
  static constexpr Index chunk = CrossEntropyKernel<Cpu<T>>::chunk;
  /// Half of the cross-entropy's, as a tile has the logits of both sides.
  static Index tile_rows(Index vocabulary) { return std::max<Index>(16, CrossEntropyKernel<Cpu<T>>::tile_rows(vocabulary) / 2); }

  static void forward(const Cpu<T>&, double temperature, View<const T> hidden, View<const T> teacher, View<const T> head,
                      std::span<const Index> labels, View<T> lse, View<T> teacher_lse, View<T> divergences) {
    const Index vocabulary = head.rows();
    parallel_ranges(hidden.rows(), tile_rows(vocabulary), [&](Index first, Index last) {
      const Index rows = last - first;
      for (const View<T>& x : {lse, teacher_lse, divergences}) eigen::elements(x, first, last).setZero();
      if (all_ignored(labels, first, last)) return;
      Running z(rows), t(rows);
      Column apart = Column::Zero(rows);  // sum exp(t - top of t) (t - z)
      Logits student, other;              // (rows, entries of a chunk)
      for (Index begin = 0; begin < vocabulary; begin += chunk) {
        const Index entries = std::min(chunk, vocabulary - begin);
        multiply(student, hidden, head, first, rows, begin, entries, temperature);
        multiply(other, teacher, head, first, rows, begin, entries, temperature);
        for (Index m = 0; m < rows; ++m) {
          if (ignored(labels, first + m)) continue;
          const auto zs = student.row(m).array(), ts = other.row(m).array();
          z.add(m, zs);
          apart[m] *= t.add(m, ts);
          apart[m] += ((ts - t.top[m]).exp() * (ts - zs)).sum();
        }
      }
      for (Index m = 0; m < rows; ++m) {
        if (ignored(labels, first + m)) continue;
        // Tops may be large and would cost digits; their difference is as small as that of the predictions.
        divergences.data[first + m] = apart[m] / t.sum[m] + (z.top[m] - t.top[m]) + (std::log(z.sum[m]) - std::log(t.sum[m]));
        lse.data[first + m] = z.top[m] + std::log(z.sum[m]);
        teacher_lse.data[first + m] = t.top[m] + std::log(t.sum[m]);
      }
    });
  }

  static void backward(const Cpu<T>&, View<const T> upstream, double scale, double temperature, View<const T> hidden,
                       View<const T> teacher, View<const T> head, std::span<const Index> labels, View<const T> lse,
                       View<const T> teacher_lse, Sink<T> dhidden) {
    const T by = static_cast<T>(scale / temperature * static_cast<double>(upstream.data[0]));
    const Index vocabulary = head.rows();
    parallel_ranges(hidden.rows(), tile_rows(vocabulary), [&](Index first, Index last) {
      const Index rows = last - first;
      Logits g, other;
      for (Index begin = 0; begin < vocabulary; begin += chunk) {
        const Index entries = std::min(chunk, vocabulary - begin);
        multiply(g, hidden, head, first, rows, begin, entries, temperature);
        multiply(other, teacher, head, first, rows, begin, entries, temperature);
        for (Index m = 0; m < rows; ++m) {
          auto row = g.row(m).array();
          if (ignored(labels, first + m)) {
            row.setZero();
          } else {
            row = by * ((row - lse.data[first + m]).exp() - (other.row(m).array() - teacher_lse.data[first + m]).exp());
          }
        }
        eigen::set_product(eigen::matrix(dhidden.gradient.row_range(first, rows)), g, eigen::matrix(head.row_range(begin, entries)),
                           T(1), dhidden.add || begin > 0);
      }
    });
  }

 private:
  using Column = Eigen::Array<T, Eigen::Dynamic, 1>;
  using Logits = eigen::RowMatrix<T>;

  /// The log-sum-exp of rows, chunk by chunk.
  struct Running {
    Column top, sum;  // the largest logit so far; sum exp(logit - top)
    explicit Running(Index rows) : top(Column::Constant(rows, -std::numeric_limits<T>::infinity())), sum(Column::Zero(rows)) {}
    /// What sums relative to the old top are to be multiplied by.
    template <class Row>
    T add(Index m, const Row& row) {
      const T highest = std::max(top[m], row.maxCoeff());
      const T shift = std::exp(top[m] - highest);  // the first time exp(-inf)
      sum[m] = sum[m] * shift + (row - highest).exp().sum();
      top[m] = highest;
      return shift;
    }
  };

  static bool ignored(std::span<const Index> labels, Index m) { return labels[static_cast<std::size_t>(m)] == ignored_label; }
  static bool all_ignored(std::span<const Index> labels, Index first, Index last) {
    return std::all_of(labels.begin() + first, labels.begin() + last, [](Index label) { return label == ignored_label; });
  }

  static void multiply(Logits& logits, View<const T> x, View<const T> head, Index first, Index rows, Index begin, Index entries,
                       double temperature) {
    logits.resize(rows, entries);
    eigen::set_product(logits, eigen::matrix(x.row_range(first, rows)), eigen::matrix(head.row_range(begin, entries)).transpose(),
                       static_cast<T>(1 / temperature));
  }
};

}  // namespace lolcats
