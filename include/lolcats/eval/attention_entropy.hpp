// How spread out the teacher's attention is, and how the student's error depends on it.
#pragma once

#include <lolcats/eval/per_head.hpp>
#include <lolcats/ops/attention/weights.hpp>

#include <algorithm>
#include <cmath>
#include <functional>

namespace lolcats {

/// The error at those (layer, head, query) whose softmax attention has an entropy in [low, high).
struct EntropyBin {
  double low = 0, high = 0;  // nats
  Index count = 0;
  double mse = 0;  // mean over them and the D entries of a head; 0 if there are none
};

namespace detail {

/// The entropy of each row and head of softmax attention (M, H), in nats; 0 outside of the sequences.  Taken back from
/// an attention's weights, so O(N^2) time.
template <Backend B>
std::vector<double> softmax_entropies(const B& backend, const Qkv<B>& qkv, const Sequences& sequences,
                                      const Heads& heads, const Sliding<>& window) {
  std::vector<double> entropies(static_cast<std::size_t>(qkv.q.rows() * heads.queries), 0.0);
  visit_attention_weights<Softmax<>>(backend, qkv.q.value(), qkv.k.value(), sequences, heads, {}, window,
                                     [&](Index n, Index h, Index first, const auto& a) {
                                       for (Index i = 0; i < a.rows(); ++i) {
                                         double sum = 0;
                                         for (Index j = 0; j < a.cols(); ++j) {
                                           const auto p = static_cast<double>(a.data[i * a.cols() + j]);
                                           if (p > 0) sum -= p * std::log(p);
                                         }
                                         const Index row = sequences[n].row + first + i;
                                         entropies[static_cast<std::size_t>(row * heads.queries + h)] = sum;
                                       }
                                     });
  return entropies;
}

}  // namespace detail

/// The entropy of the teacher's attention in nats, averaged over queries: 0 where a head reads one key, ln n where it
/// reads n keys alike.
template <class Model, class Data>
PerHead teacher_attention_entropy(Model& student, const Data& data, Index rows = 8) {
  const Sliding<> window = checkpoint_window(student.config().sliding_window);
  return detail::average_per_head(
      "teacher_attention_entropy", student, data, rows, [&](auto& tape, auto& layer, const auto& qkv, const auto&, const Sequences& sequences) {
        const Heads& heads = layer.attention().heads();
        const auto entropies = detail::softmax_entropies(tape.backend(), qkv, sequences, heads, window);
        std::vector<double> sums(static_cast<std::size_t>(heads.queries), 0.0);
        for (std::size_t i = 0; i < entropies.size(); ++i) sums[i % sums.size()] += entropies[i];
        return sums;
      });
}

/// The squared error of the student's attention against the teacher's, as `attention_error` has it, by the entropy of
/// the teacher's attention at the same layer, head and query (arXiv:2410.10254, Figures 6a and 7).
///
/// `edges` ascend and bound the bins; entropies outside of them are left out.  So are the queries before `first_query`
/// of each sequence: they have few keys, hence little entropy and, within a window, no error, whatever the map.
template <class Model, class Data>
std::vector<EntropyBin> error_by_entropy(Model& student, const Data& data, const std::vector<double>& edges,
                                         Index first_query = 0, Index rows = 8) {
  require<ConfigError>(edges.size() >= 2 && std::ranges::adjacent_find(edges, std::greater_equal<>()) == edges.end(),
                       "error_by_entropy: there are {} edges, expected at least 2 that ascend", edges.size());
  std::vector<EntropyBin> bins;
  for (std::size_t i = 0; i + 1 < edges.size(); ++i) bins.push_back({edges[i], edges[i + 1]});
  const Sliding<> window = checkpoint_window(student.config().sliding_window);
  const Index size = student.config().head_dim;
  detail::for_teacher_layers(
      "error_by_entropy", student, data, rows,
      [&](auto& tape, std::size_t, auto& layer, const auto& qkv, const auto& target, const Sequences& sequences) {
        const Heads& heads = layer.attention().heads();
        const auto entropies = detail::softmax_entropies(tape.backend(), qkv, sequences, heads, window);
        const auto got = detail::host_values(tape.backend(), layer.attend(tape, qkv, sequences).value());
        const auto want = detail::host_values(tape.backend(), target.value());
        for (const Extent& e : sequences.extents()) {
          for (Index i = (e.row + std::min(first_query, e.length)) * heads.queries;
               i < (e.row + e.length) * heads.queries; ++i) {
            const double entropy = entropies[static_cast<std::size_t>(i)];
            const auto above = std::ranges::upper_bound(edges, entropy);
            if (above == edges.begin() || above == edges.end()) continue;
            EntropyBin& bin = bins[static_cast<std::size_t>(above - edges.begin() - 1)];
            ++bin.count;
            for (Index d = 0; d < size; ++d) {
              const auto at = static_cast<std::size_t>(i * size + d);
              bin.mse += (got[at] - want[at]) * (got[at] - want[at]) / static_cast<double>(size);
            }
          }
        }
      });
  for (EntropyBin& bin : bins) {
    if (bin.count > 0) bin.mse /= static_cast<double>(bin.count);
  }
  return bins;
}

}  // namespace lolcats
