// How far back the attention reads.
#pragma once

#include <lolcats/eval/per_head.hpp>

namespace lolcats {

namespace detail {

/// Per head, the sum over queries n of sum_j (n - j) a_nj = n sum_j a_nj - sum_j a_nj j.
///
/// Both sums are outputs of the same attention on other values: v = (1, j, 0, ...).  So no matrix of weights is formed.
template <Backend B, class F>
std::vector<double> lookback(Tape<B>& tape, const Qkv<B>& qkv, const Sequences& sequences, Index heads, Index size,
                             F&& attend) {
  const Index rows = qkv.v.rows(), width = qkv.v.cols();
  std::vector<double> values(static_cast<std::size_t>(rows * width), 0.0);
  for (const Extent& e : sequences.extents()) {
    for (Index i = 0; i < e.length; ++i) {
      for (Index column = 0; column < width; column += size) {
        double* v = values.data() + (e.row + i) * width + column;
        v[0] = 1;
        v[1] = static_cast<double>(i);
      }
    }
  }
  const View<Scalar<B>> v = tape.template scratch<Scalar<B>>(Shape{rows, width});
  tape.backend().from_host(values.data(), v.data, v.size());
  const auto y = host_values(tape.backend(), attend(Qkv<B>{qkv.q, qkv.k, tape.constant(v)}).value());
  std::vector<double> sums(static_cast<std::size_t>(heads), 0.0);
  for (const Extent& e : sequences.extents()) {
    for (Index i = 0; i < e.length; ++i) {
      for (Index h = 0; h < heads; ++h) {
        const double* out = y.data() + ((e.row + i) * heads + h) * size;
        sums[static_cast<std::size_t>(h)] += static_cast<double>(i) * out[0] - out[1];
      }
    }
  }
  return sums;
}

}  // namespace detail

/// The effective sequence length of the student's attention, in tokens: the mean over queries n of
/// sum_j (n - j) a_nj (arXiv:2410.10254, Eq. 9, averaged over queries as in its Figure 10).
template <class Model, class Data>
PerHead effective_length(Model& student, const Data& data, Index rows = 8) {
  const auto& config = student.config();
  return detail::average_per_head(
      "effective_length", student, data, rows, [&](auto& tape, auto& layer, const auto& qkv, const auto&, const Sequences& sequences) {
        return detail::lookback(tape, qkv, sequences, config.heads, config.head_dim,
                                [&](const auto& x) { return layer.attend(tape, x, sequences); });
      });
}

/// The same of the teacher's softmax attention.
template <class Model, class Data>
PerHead teacher_effective_length(Model& student, const Data& data, Index rows = 8) {
  const auto& config = student.config();
  return detail::average_per_head(
      "teacher_effective_length", student, data, rows, [&](auto& tape, auto& layer, const auto& qkv, const auto&, const Sequences& sequences) {
        return detail::lookback(tape, qkv, sequences, config.heads, config.head_dim,
                                [&](const auto& x) { return layer.attend_softmax(tape, x, sequences); });
      });
}

}  // namespace lolcats
