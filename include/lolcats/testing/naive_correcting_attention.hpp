// Softmax over a window beside a memory that corrects what it wrote, as plain loops in double: takes raw numbers only.
#pragma once

#include <lolcats/testing/naive_attention.hpp>

#include <cmath>
#include <vector>

namespace lolcats::testing {

namespace detail {

/// x / |x|; zero if x is.
struct NaiveUnit {
  std::vector<double> values;
  double length = 0;
};
inline NaiveUnit naive_unit(const std::vector<double>& x, Index first, Index count) {
  NaiveUnit unit{std::vector<double>(x.begin() + first, x.begin() + first + count)};
  for (const double value : unit.values) unit.length += value * value;
  unit.length = std::sqrt(unit.length);
  for (double& value : unit.values) value = unit.length > 0 ? value / unit.length : 0;
  return unit;
}
/// Adds the gradient of x that follows from that of x / |x|.
inline void add_through_unit(const NaiveUnit& unit, const std::vector<double>& gradient, std::vector<double>& to, Index first) {
  double along = 0;
  for (std::size_t i = 0; i < gradient.size(); ++i) along += gradient[i] * unit.values[i];
  for (std::size_t i = 0; i < gradient.size() && unit.length > 0; ++i) {
    to[at(first) + i] += (gradient[i] - along * unit.values[i]) / unit.length;
  }
}

/// One head over its sequence: S (F, D) before and behind every token, and what was written.
struct NaiveMemory {
  Index features, size;
  std::vector<std::vector<double>> states;   // (T + 1) of (F, D)
  std::vector<std::vector<double>> errors;   // (T) of (D), v - S^T k
  std::vector<NaiveUnit> queries, keys;      // (T) of (F)
  std::vector<double> rates;                 // (T)
  std::vector<double> y;                     // (T, D)

  NaiveMemory(const NaiveAttention& c, Index h) : features(c.features), size(c.size), states{std::vector<double>(at(c.features * c.size))} {
    for (Index t = 0; t < c.tokens; ++t) {
      queries.push_back(naive_unit(c.query_features, (t * c.heads + h) * features, features));
      keys.push_back(naive_unit(c.key_features, (t * c.heads + h) * features, features));
      rates.push_back(c.log_decay.empty() ? 1 : std::exp(c.log_decay[at(t * c.heads + h)]));
      const std::vector<double>& k = keys.back().values;
      std::vector<double> state = states.back(), error;
      for (Index i = 0; i < size; ++i) {
        double recalled = 0;
        for (Index f = 0; f < features; ++f) recalled += state[at(f * size + i)] * k[at(f)];
        error.push_back(c.v[at((t * c.groups + h / (c.heads / c.groups)) * size + i)] - recalled);
      }
      for (Index f = 0; f < features; ++f) {
        for (Index i = 0; i < size; ++i) state[at(f * size + i)] += rates.back() * k[at(f)] * error[at(i)];
      }
      for (Index i = 0; i < size; ++i) {
        double read = 0;
        for (Index f = 0; f < features; ++f) read += state[at(f * size + i)] * queries.back().values[at(f)];
        y.push_back(read);
      }
      states.push_back(state);
      errors.push_back(error);
    }
  }
};

/// The window alone.
inline NaiveAttention naive_window(const NaiveAttention& c) {
  NaiveAttention window = c;
  window.features = 0;
  window.query_features.clear();
  window.key_features.clear();
  window.gamma_logits.clear();
  window.log_decay.clear();
  return window;
}

}  // namespace detail

/// y = gamma near + (1 - gamma) far, where far reads S <- S + b k (v - S^T k)^T behind the token, b = exp(log_decay), by keys and
/// queries of length one; y = far if nothing is `near`.
inline std::vector<double> naive_correcting_attention(const NaiveAttention& c, bool near) {
  using detail::at;
  std::vector<double> y = near ? naive_attention(detail::naive_window(c)).y : std::vector<double>(at(c.tokens * c.heads * c.size));
  for (Index h = 0; h < c.heads; ++h) {
    const double gamma = near ? detail::sigmoid(c.gamma_logits[at(h)]) : 0;
    const detail::NaiveMemory memory(c, h);
    for (Index t = 0; t < c.tokens; ++t) {
      for (Index i = 0; i < c.size; ++i) {
        double& to = y[at((t * c.heads + h) * c.size + i)];
        to = gamma * to + (1 - gamma) * memory.y[at(t * c.size + i)];
      }
    }
  }
  return y;
}

/// Gradients of sum(y * dy), of the memory by a walk from the last token to the first over all of its states.
inline NaiveAttentionGradients naive_correcting_attention_gradients(const NaiveAttention& c, bool near, const std::vector<double>& dy) {
  using detail::at;
  const NaiveAttention window = detail::naive_window(c);
  std::vector<double> window_y, window_dy = dy;
  if (near) window_y = naive_attention(window).y;
  NaiveAttentionGradients d;
  d.query_features.resize(c.query_features.size());
  d.key_features.resize(c.key_features.size());
  d.gamma_logits.resize(c.gamma_logits.size());
  d.log_decay.resize(c.log_decay.size());
  std::vector<double> dv(c.v.size());
  for (Index h = 0; h < c.heads; ++h) {
    const double gamma = near ? detail::sigmoid(c.gamma_logits[at(h)]) : 0;
    const detail::NaiveMemory memory(c, h);
    const Index F = c.features, D = c.size;
    std::vector<double> dstate(at(F * D));
    for (Index t = c.tokens - 1; t >= 0; --t) {
      const std::vector<double>&before = memory.states[at(t)], &behind = memory.states[at(t + 1)], &error = memory.errors[at(t)];
      const std::vector<double>&q = memory.queries[at(t)].values, &k = memory.keys[at(t)].values;
      const double rate = memory.rates[at(t)];
      std::vector<double> dfar, derror(at(D)), dq(at(F)), dk(at(F));
      for (Index i = 0; i < D; ++i) {
        const std::size_t row = at((t * c.heads + h) * D + i);
        dfar.push_back((1 - gamma) * dy[row]);
        window_dy[row] = gamma * dy[row];
        if (near) d.gamma_logits[at(h)] += gamma * (1 - gamma) * dy[row] * (window_y[row] - memory.y[at(t * D + i)]);
      }
      double drate = 0;
      for (Index f = 0; f < F; ++f) {
        for (Index i = 0; i < D; ++i) {
          dq[at(f)] += behind[at(f * D + i)] * dfar[at(i)];
          double& ds = dstate[at(f * D + i)];
          ds += q[at(f)] * dfar[at(i)];
          dk[at(f)] += rate * ds * error[at(i)];
          drate += ds * k[at(f)] * error[at(i)];
          derror[at(i)] += rate * ds * k[at(f)];
        }
      }
      for (Index i = 0; i < D; ++i) dv[at((t * c.groups + h / (c.heads / c.groups)) * D + i)] += derror[at(i)];
      for (Index f = 0; f < F; ++f) {
        for (Index i = 0; i < D; ++i) {
          dk[at(f)] -= before[at(f * D + i)] * derror[at(i)];
          dstate[at(f * D + i)] -= k[at(f)] * derror[at(i)];
        }
      }
      if (!c.log_decay.empty()) d.log_decay[at(t * c.heads + h)] += rate * drate;
      detail::add_through_unit(memory.queries[at(t)], dq, d.query_features, (t * c.heads + h) * F);
      detail::add_through_unit(memory.keys[at(t)], dk, d.key_features, (t * c.heads + h) * F);
    }
  }
  if (near) {
    const NaiveAttentionGradients of_window = naive_attention_gradients(window, window_dy);
    d.q = of_window.q;
    d.k = of_window.k;
    d.v = of_window.v;
  } else {
    d.q.resize(c.q.size());
    d.k.resize(c.k.size());
    d.v.resize(c.v.size());
  }
  for (std::size_t i = 0; i < dv.size(); ++i) d.v[i] += dv[i];
  return d;
}

}  // namespace lolcats::testing
