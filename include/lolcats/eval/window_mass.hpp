// Which share of the attention lies in the window.
#pragma once

#include <lolcats/eval/per_head.hpp>
#include <lolcats/ops/attention/weights.hpp>

namespace lolcats {

namespace detail {

/// Sums over the queries of a batch, per head, of the weights of A on the near keys of `window`.
template <AttentionPolicy A, Backend B, Window W>
std::vector<double> near_mass(const B& backend, const Qkv<B>& qkv, const Sequences& sequences, const Heads& heads,
                              const AttentionWeights<B>& weights, const typename A::Window& own, const W& window) {
  // One slot per sequence and head, because tiles of different heads come from different threads.
  const auto queries = static_cast<std::size_t>(heads.queries);
  std::vector<double> parts(static_cast<std::size_t>(sequences.count()) * queries, 0.0);
  visit_attention_weights<A>(backend, qkv.q.value(), qkv.k.value(), sequences, heads, weights, own,
                             [&](Index n, Index h, Index first, const auto& a) {
                               double& sum = parts[static_cast<std::size_t>(n) * queries + static_cast<std::size_t>(h)];
                               for (Index i = 0; i < a.rows(); ++i) {
                                 const Index end = std::min(a.cols(), first + i + 1);
                                 for (Index j = 0; j < end; ++j) {
                                   if (is_near(window, first + i, j)) sum += static_cast<double>(a.data[i * a.cols() + j]);
                                 }
                               }
                             }, qkv.v.value());
  std::vector<double> sums(queries, 0.0);
  for (std::size_t i = 0; i < parts.size(); ++i) sums[i % queries] += parts[i];
  return sums;
}

}  // namespace detail

/// The share of the student's attention on keys inside its own window, averaged over queries.  O(N^2) time.
template <class Model, class Data>
PerHead window_mass(Model& student, const Data& data, Index rows = 8) {
  return detail::average_per_head(
      "window_mass", student, data, rows, [](auto& tape, auto& layer, const auto& qkv, const auto&, const Sequences& sequences) {
        return visit_attention(layer.attention(), [&](const auto& attention) {
          using Policy = typename std::remove_cvref_t<decltype(attention)>::Policy;
          return detail::near_mass<Policy>(tape.backend(), qkv, sequences, attention.heads(),
                                           attention.weights(tape, qkv, sequences), attention.window(), attention.window());
        });
      });
}

/// The share of the teacher's softmax attention on keys inside `window`: what a window alone would keep.
template <class Model, class Data, Window W>
PerHead teacher_window_mass(Model& student, const Data& data, const W& window, Index rows = 8) {
  const Sliding<> own = checkpoint_window(student.config().sliding_window);
  return detail::average_per_head(
      "teacher_window_mass", student, data, rows, [&](auto& tape, auto& layer, const auto& qkv, const auto&, const Sequences& sequences) {
        return detail::near_mass<Softmax<>>(tape.backend(), qkv, sequences, layer.attention().heads(), {}, own, window);
      });
}

}  // namespace lolcats
