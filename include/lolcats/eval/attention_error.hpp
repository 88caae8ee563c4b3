// How far the student's attention is from the teacher's, per layer and head.
#pragma once

#include <lolcats/eval/per_head.hpp>

namespace lolcats {

/// The mean squared difference between the student's attention and softmax attention, both computed from the teacher's
/// residual stream and before o_proj: mean over tokens and the D entries of a head.  The mean over heads and layers
/// times 1000 is the loss of attention transfer.
template <class Model, class Data>
PerHead attention_error(Model& student, const Data& data, Index rows = 8) {
  const Index heads = student.config().heads, size = student.config().head_dim;
  return detail::average_per_head(
      "attention_error", student, data, rows,
      [&](auto& tape, auto& layer, const auto& qkv, const auto& target, const Sequences& sequences) {
        const auto got = detail::host_values(tape.backend(), layer.attend(tape, qkv, sequences).value());
        const auto want = detail::host_values(tape.backend(), target.value());
        std::vector<double> sums(static_cast<std::size_t>(heads), 0.0);
        for (std::size_t i = 0; i < got.size(); ++i) {
          const auto head = (i / static_cast<std::size_t>(size)) % static_cast<std::size_t>(heads);
          sums[head] += (got[i] - want[i]) * (got[i] - want[i]) / static_cast<double>(size);
        }
        return sums;
      });
}

}  // namespace lolcats
