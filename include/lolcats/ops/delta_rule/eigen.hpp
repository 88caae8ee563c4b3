// The delta rule on the CPU: token by token, a thread per sequence and state.
#pragma once

#include <lolcats/ops/delta_rule/delta_rule.hpp>
#include <lolcats/ops/elementwise/eigen.hpp>

#include <array>
#include <cmath>
#include <vector>

namespace lolcats {

namespace eigen {

template <class T>
using Numbers = Eigen::Array<T, 1, Eigen::Dynamic>;
template <class T>
using NumbersAt = Eigen::Map<std::conditional_t<std::is_const_v<T>, const Numbers<std::remove_const_t<T>>, Numbers<T>>>;

/// x / |x| and 1 / |x|; both are 0 for a row of zeros.
template <class T>
struct UnitRow {
  Numbers<T> values;
  T inverse;

  UnitRow(const T* x, Index size) {
    const NumbersAt<const T> from(x, size);
    const T length = std::sqrt(from.square().sum());
    inverse = length > 0 ? 1 / length : T(0);
    values = inverse * from;
  }
  /// From the gradient of x / |x| to that of x.
  Numbers<T> pull_back(const Numbers<T>& gradient) const { return inverse * (gradient - values * (values * gradient).sum()); }
};

/// to (D) = S^T x, S (F, D).
template <class T>
void read_state(const Rows<T>& state, const Numbers<T>& x, Numbers<T>& to) {
  to.setZero();
  for (Index f = 0; f < x.size(); ++f) to += x[f] * state.row(f).array();
}
/// S += x u^T.
template <class T>
void write_state(Rows<T>& state, const Numbers<T>& x, const Numbers<T>& u) {
  for (Index f = 0; f < x.size(); ++f) state.row(f).array() += x[f] * u;
}
/// S u, of F numbers.
template <class T>
Numbers<T> state_dots(const Rows<T>& state, const Numbers<T>& u) {
  Numbers<T> to(state.rows());
  for (Index f = 0; f < to.size(); ++f) to[f] = (state.row(f).array() * u).sum();
  return to;
}

/// `rates` (M, N) are b.
template <class T>
void delta_forward(const DeltaRuleProblem<Cpu<T>>& p, const std::vector<T>& rates, std::span<T* const> states,
                   const DeltaRuleRecord<Cpu<T>>& record, View<T> y) {
  const Index N = p.states, F = p.features, D = p.heads.size, H = p.heads.queries;
  parallel_for(p.sequences->count() * N, [&](Index item) {
    const Extent& e = (*p.sequences)[item / N];
    const Index n = item % N, g = p.value_head(n);
    std::vector<T> own;
    T* memory = nullptr;
    if (!states.empty()) {
      memory = states[static_cast<std::size_t>(item / N)] + n * p.state_size();
    } else {
      if (!record.last) own.resize(static_cast<std::size_t>(p.state_size()));
      memory = record.last ? record.last.data + item * p.state_size() : own.data();
      std::fill_n(memory, p.state_size(), T(0));
    }
    Rows<T> state = rows(memory, F, D, D);
    Numbers<T> error(D), change(D), read(D);
    for (Index t = e.row; t < e.row + e.length; ++t) {
      const UnitRow<T> key(p.k.data + (t * N + n) * F, F);
      read_state(state, key.values, read);
      error = NumbersAt<const T>(p.v.data + (t * p.heads.keys + g) * D, D) - read;
      if (record.errors) NumbersAt<T>(record.errors.data + (t * N + n) * D, D) = error;
      change = rates[static_cast<std::size_t>(t * N + n)] * error;
      write_state(state, key.values, change);
      for (Index h = n * p.group(); h < (n + 1) * p.group(); ++h) {
        read_state(state, UnitRow<T>(p.q.data + (t * H + h) * F, F).values, read);
        NumbersAt<T>(y.data + (t * H + h) * D, D) = read;
      }
    }
  });
}

/// Gradients of q, k and v, and `drates` (M, N), of rows in extents.  States that read one value head share an item.
template <class T>
void delta_backward(const DeltaRuleProblem<Cpu<T>>& p, const std::vector<T>& rates, const DeltaRuleRecord<Cpu<T>>& record,
                    View<const T> dy, const DeltaRuleSinks<Cpu<T>>& sinks, std::vector<T>& drates) {
  const Index N = p.states, F = p.features, D = p.heads.size, H = p.heads.queries, G = p.heads.keys;
  const auto into = [](const Sink<T>& sink, Index row, const Numbers<T>& gradient, bool add = false) {
    if (sink.gradient) put(NumbersAt<T>(sink.gradient.data + row * gradient.size(), gradient.size()), gradient, sink.add || add);
  };
  parallel_for(p.sequences->count() * G, [&](Index item) {
    const Extent& e = (*p.sequences)[item / G];
    const Index first = item % G * (N / G);
    std::vector<T> memory(static_cast<std::size_t>(2 * p.state_size()));
    Rows<T> state = rows(memory.data(), F, D, D), dstate = rows(memory.data() + p.state_size(), F, D, D);
    Numbers<T> read(D), change(D), dchange(D), derror(D), negative(D);
    for (Index n = first; n < first + N / G; ++n) {
      std::copy_n(record.last.data + (item / G * N + n) * p.state_size(), p.state_size(), memory.begin());
      dstate.setZero();
      for (Index t = e.row + e.length - 1; t >= e.row; --t) {
        for (Index h = n * p.group(); h < (n + 1) * p.group(); ++h) {
          const UnitRow<T> query(p.q.data + (t * H + h) * F, F);
          read = NumbersAt<const T>(dy.data + (t * H + h) * D, D);
          if (sinks.q.gradient) into(sinks.q, t * H + h, query.pull_back(state_dots(state, read)));
          write_state(dstate, query.values, read);
        }
        const UnitRow<T> key(p.k.data + (t * N + n) * F, F);
        const NumbersAt<const T> error(record.errors.data + (t * N + n) * D, D);
        const T rate = rates[static_cast<std::size_t>(t * N + n)];
        read_state(dstate, key.values, dchange);
        change = rate * error;
        derror = rate * dchange;
        negative = -change;
        write_state(state, key.values, negative);  // S_{t-1}
        if (sinks.k.gradient) into(sinks.k, t * N + n, key.pull_back(state_dots(dstate, change) - state_dots(state, derror)));
        into(sinks.v, t * G + item % G, derror, n > first);
        drates[static_cast<std::size_t>(t * N + n)] = (dchange * error).sum();
        negative = -derror;
        write_state(dstate, key.values, negative);
      }
    }
  });
}

}  // namespace eigen

template <class T, GatePolicy R>
struct DeltaRuleKernel<Cpu<T>, R> {
  using B = Cpu<T>;
  using Problem = DeltaRuleProblem<B>;

  static void forward(const B& backend, const Problem& p, std::span<T* const> states, const DeltaRuleRecord<B>& record, View<T> y) {
    if (p.sequences->padded()) backend.zero(y.data, y.size());
    eigen::delta_forward(p, rates(p), states, record, y);
  }

  static void backward(const B& backend, const Problem& p, const DeltaRuleRecord<B>& record, View<const T> dy,
                       const DeltaRuleSinks<B>& sinks) {
    if (p.sequences->padded()) {
      const std::array<Sink<T>, 4> of_rows{sinks.q, sinks.k, sinks.v, sinks.gate};  // nvcc cannot walk a braced list of members
      for (const Sink<T>& sink : of_rows) {
        if (sink.gradient && !sink.add) backend.zero(sink.gradient.data, sink.gradient.size());
      }
    }
    const std::vector<T> b = rates(p);
    std::vector<T> drates(b.size());
    eigen::delta_backward(p, b, record, dy, sinks, drates);
    if (!sinks.gate.gradient && !sinks.bias) return;
    parallel_for(p.states, [&](Index n) {
      double sum = 0;
      for (const Extent& e : p.sequences->extents()) {
        for (Index i = e.row * p.states + n; i < (e.row + e.length) * p.states; i += p.states) {
          const auto at = static_cast<std::size_t>(i);
          const double dz = static_cast<double>(drates[at]) * static_cast<double>(b[at]) * R::slope(input(p, i, n));
          sum += dz;
          if (T* to = sinks.gate.gradient.data) to[i] = static_cast<T>(sinks.gate.add ? static_cast<double>(to[i]) + dz : dz);
        }
      }
      if (sinks.bias) sinks.bias.data[n] += static_cast<T>(sum);
    });
  }

 private:
  /// z of element i (row, n) of the gate.
  static double input(const Problem& p, Index i, Index n) {
    return (p.gate ? static_cast<double>(p.gate.data[i]) : 0.0) + (p.bias ? static_cast<double>(p.bias.data[n]) : 0.0);
  }
  static std::vector<T> rates(const Problem& p) {
    std::vector<T> b(static_cast<std::size_t>(p.sequences->rows() * p.states));
    parallel_for(p.states, [&](Index n) {
      for (Index i = n; i < p.sequences->rows() * p.states; i += p.states) {
        b[static_cast<std::size_t>(i)] = static_cast<T>(std::exp(R::log_decay(input(p, i, n))));
      }
    });
    return b;
  }
};

}  // namespace lolcats
