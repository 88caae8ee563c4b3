// What a memory's gate says about the tokens of a problem, on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/attention/attention.hpp>

#include <vector>

namespace lolcats::eigen {

/// z of one token: what the gate is a function of.
template <GatePolicy G, class T, class W>
double gate_input(const AttentionProblem<Cpu<T>, W>& p, Index row, Index s) {
  double z = static_cast<double>(p.weights.gate_bias.value.data[s]);
  if constexpr (G::input != GateInput::none) {
    const View<const T> gate = p.weights.gate.value();
    z += static_cast<double>(gate.data[row * gate.cols() + s]);
  }
  return z;
}
/// G after each of the rows of extent e, from 0: the running sum of log a of sum `s` (a query head, or a key/value head).
template <GatePolicy G, class T, class W>
std::vector<double> running_decay(const AttentionProblem<Cpu<T>, W>& p, const Extent& e, Index s) {
  std::vector<double> sums(static_cast<std::size_t>(e.length));
  double sum = 0;
  for (Index i = 0; i < e.length; ++i) sums[static_cast<std::size_t>(i)] = sum += G::log_decay(gate_input<G>(p, e.row + i, s));
  return sums;
}
/// The sum that query head h reads.
template <class T, class W>
Index sum_of(const AttentionProblem<Cpu<T>, W>& p, Index h) {
  return p.weights.gate_bias.value.size() == p.heads.queries ? h : h / p.heads.group();
}

}  // namespace lolcats::eigen
