// The delta rule: a memory that corrects what it recalls for a key instead of adding to it.
#pragma once

#include <lolcats/ops/attention/attention.hpp>

#include <span>

namespace lolcats {

/// What a call of the delta rule computes with: one plain struct for every backend.
template <Backend B>
struct DeltaRuleProblem {
  Heads heads;
  Index states = 0;    // N
  Index features = 0;  // F
  const Sequences* sequences = nullptr;
  View<const Scalar<B>> q, k, v;      // (M, H * F), (M, N * F), (M, G * D)
  View<const Scalar<B>> gate, bias;   // (M, N), (N); null where the gate has none

  Index group() const { return heads.queries / states; }          // query heads that read a state
  Index value_head(Index n) const { return n / (states / heads.keys); }
  /// Numbers of one state.
  Index state_size() const { return features * heads.size; }
};

/// What the backward pass needs of the forward pass; null views are not wanted.
template <Backend B>
struct DeltaRuleRecord {
  View<Real<B>> errors;  // (M, N * D), v_t - S_{t-1}^T k_t; rows outside the extents are not read
  View<Real<B>> last;    // (sequences, N * F * D), S behind the last token
};

/// Where the backward pass puts gradients; unwanted ones are null.
template <Backend B>
struct DeltaRuleSinks {
  Sink<Scalar<B>> q, k, v, gate;
  View<Real<B>> bias;  // added to
};

/// Specialised per backend and gate R:
///   forward(backend, problem, states, record, y (M, H * D))      from and to states[n] (N, F, D), or from zero if there are none
///   backward(backend, problem, record, dy, sinks)                of a forward pass from zero
/// Sums are in Real, in an order that depends on sizes alone.  Rows outside every extent are zero.
template <Backend B, GatePolicy R>
struct DeltaRuleKernel;

namespace detail {

template <GatePolicy R, Backend B>
DeltaRuleProblem<B> delta_rule_problem(Var<B> q, Var<B> k, Var<B> v, Var<B> gate, const Weight<B>& bias, const Sequences& sequences,
                                       const Heads& heads, std::size_t states) {
  require<ShapeError>(heads.keys > 0 && heads.size > 0 && heads.queries > 0 && heads.queries % heads.keys == 0,
                      "delta_rule: {} query heads and {} key/value heads of size {}; expected a multiple", heads.queries, heads.keys,
                      heads.size);
  const Index rows = sequences.rows(), features = q.cols() / heads.queries;
  require<ShapeError>(q.rows() == rows && features > 0 && q.cols() % heads.queries == 0,
                      "delta_rule: q has shape {}, expected ({}, {} * F)", to_string(q.shape()), rows, heads.queries);
  require<ShapeError>(k.rows() == rows && (k.cols() == heads.queries * features || k.cols() == heads.keys * features),
                      "delta_rule: k has shape {}, expected ({}, {} * {}) or ({}, {} * {})", to_string(k.shape()), rows, heads.queries,
                      features, rows, heads.keys, features);
  check_shape("delta_rule", "v", v.shape(), Shape{rows, heads.keys * heads.size});
  const Index n = k.cols() / features;
  if constexpr (R::input != GateInput::none) {
    require<ShapeError>(static_cast<bool>(gate), "delta_rule: gate is missing, expected shape ({}, {})", rows, n);
  }
  if (gate) check_shape("delta_rule", "gate", gate.shape(), Shape{rows, n});
  require<ShapeError>(bias ? bias.value.size() == n : std::is_same_v<R, NoGate>,
                      "delta_rule: bias has {} elements, expected {}, one per state", bias ? bias.value.size() : 0, n);
  require<ShapeError>(states == 0 || static_cast<Index>(states) == sequences.count(),
                      "delta_rule: {} states, expected {}, one per sequence", states, sequences.count());
  return {.heads = heads, .states = n, .features = features, .sequences = &sequences, .q = q.value(), .k = k.value(), .v = v.value(),
          .gate = gate ? gate.value() : View<const Scalar<B>>{}, .bias = bias.value};
}

}  // namespace detail

/// y (M, H * D) of memories S (F, D) that start at zero in every sequence:
///
///   S_t = S_{t-1} + b_t k_t (v_t - S_{t-1}^T k_t)^T,   y_t = S_t^T q_t,   b = exp(R::log_decay(gate + bias)) in (0, 1],
///
/// q and k rows of features (M, H * F) and (M, N * F) that are divided by their length here; a row of zeros stays zero.  There are N
/// memories, H or G: memory n serves query heads [n H/N, (n + 1) H/N) and reads the values (M, G * D) of key/value head n / (N/G).
/// `gate` is (M, N), null where R has no input; `bias` has N elements in any shape, and may be null for NoGate: then b = 1.
/// O(M) time and memory: the backward pass walks S back by the errors v_t - S_{t-1}^T k_t, which are kept.
///
/// `states` has an address per sequence of (N, F, D) numbers to start from, which are updated; then nothing is recorded.
/// `sequences` must outlive the tape's scope.  Throws ShapeError naming the argument.
/// Schlag et al. 2021, arXiv:2102.11174; unit keys as Yang et al. 2024, arXiv:2406.06484.
template <GatePolicy R, Backend B>
Var<B> delta_rule(Tape<B>& tape, Var<B> q, Var<B> k, Var<B> v, std::type_identity_t<Var<B>> gate, std::type_identity_t<Weight<B>> bias,
                  const Sequences& sequences, const Heads& heads, std::span<Real<B>* const> states = {}) {
  using Kernel = DeltaRuleKernel<B, R>;
  const auto problem = detail::delta_rule_problem<R>(q, k, v, gate, bias, sequences, heads, states.size());
  const auto wants = [](const Var<B>& x) { return x && x.wants_gradient(); };
  const bool wanted = states.empty() && (wants(q) || wants(k) || wants(v) || wants(gate) || bias.trained());
  auto [y, out] = tape.result(Shape{q.rows(), heads.queries * heads.size}, wanted);
  DeltaRuleRecord<B> record;
  if (y.wants_gradient()) {
    record = {tape.template scratch<Real<B>>(Shape{q.rows(), problem.states * heads.size}),
              tape.template scratch<Real<B>>(Shape{sequences.count(), problem.states * problem.state_size()})};
  }
  Kernel::forward(tape.backend(), problem, states, record, out);
  tape.record(y, [&tape, problem, record, q, k, v, gate, bias, y = y] {
    const auto sink = [](const Var<B>& x) { return x && x.wants_gradient() ? x.sink() : Sink<Scalar<B>>{}; };
    const DeltaRuleSinks<B> sinks{sink(q), sink(k), sink(v), sink(gate), bias.gradient};
    Kernel::backward(tape.backend(), problem, record, y.gradient(), sinks);
  });
  return y;
}

}  // namespace lolcats
