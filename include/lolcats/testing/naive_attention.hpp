// The attention of policy/attention.hpp as plain N x N loops in double: takes raw numbers only.
#pragma once

#include <lolcats/core/index.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace lolcats::testing {

/// One sequence of T tokens: H query heads, G key/value heads, head h reads key/value head h / (H / G).
struct NaiveAttention {
  Index tokens = 0, heads = 0, groups = 0, size = 0;
  Index features = 0;                  // F; 0: far keys are not read
  std::function<Index(Index)> begin;   // keys in [begin(n), n] are near, the others far,
  Index sinks = 0;                     // but the first `sinks` of the sequence are always near
  bool affine = false;                 // far keys weigh 1 - gamma
  double epsilon = 0;                  // added to the denominator
  std::vector<double> q, k, v;         // (T, H * D), (T, G * D), (T, G * D)
  std::vector<double> query_features;  // (T, H * F)
  std::vector<double> key_features;    // (T, H * F)
  std::vector<double> gamma_logits;    // (H), or empty: near keys weigh 1
  std::vector<double> log_decay = {};  // (T, H), or empty: far keys j weigh exp(sum of it over j < t <= n)

  /// A cache: key j, whose head's group is g, is near for queries n < until(g, j), too.
  std::function<Index(Index, Index)> until = {};

  bool near(Index h, Index n, Index j) const {
    return j < sinks || j >= begin(n) || (until && n < until(h / (heads / groups), j));
  }
};

/// What it gives, and with it the gradients of sum(y * dy).
struct NaiveAttentionResult {
  std::vector<double> y;        // (T, H * D)
  std::vector<double> weights;  // a (H, T, T), zero for later keys
};
struct NaiveAttentionGradients {
  std::vector<double> q, k, v, query_features, key_features, gamma_logits, log_decay;
};

namespace detail {
inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
inline std::size_t at(Index i) { return static_cast<std::size_t>(i); }

/// p (before it is normalized) of query n and head h on keys 0 ... n.
struct NaiveRow {
  std::vector<double> p;
  double denominator = 0;
  Index largest_at = -1;
};

/// What far key j has decayed by when query n reads it.
inline double naive_decay(const NaiveAttention& c, Index h, Index n, Index j) {
  if (c.log_decay.empty()) return 1;
  double sum = 0;
  for (Index t = j + 1; t <= n; ++t) sum += c.log_decay[at(t * c.heads + h)];
  return std::exp(sum);
}

inline NaiveRow naive_row(const NaiveAttention& c, Index h, Index n) {
  const Index g = h / (c.heads / c.groups);
  const double gamma = c.gamma_logits.empty() ? 1 : sigmoid(c.gamma_logits[at(h)]);
  NaiveRow row;
  std::vector<double> scores(at(n + 1));
  const double root = std::sqrt(static_cast<double>(c.size));
  double largest = -INFINITY;
  for (Index j = 0; j <= n; ++j) {
    if (!c.near(h, n, j)) continue;
    double s = 0;
    for (Index i = 0; i < c.size; ++i) {
      s += c.q[at((n * c.heads + h) * c.size + i)] * c.k[at((j * c.groups + g) * c.size + i)];
    }
    scores[at(j)] = s / root;
    if (scores[at(j)] > largest) {
      largest = scores[at(j)];
      row.largest_at = j;
    }
  }
  for (Index j = 0; j <= n; ++j) {
    double p = 0;
    if (c.near(h, n, j)) {
      p = gamma * std::exp(scores[at(j)] - largest);
    } else {
      for (Index f = 0; f < c.features; ++f) {
        p += c.query_features[at((n * c.heads + h) * c.features + f)] *
             c.key_features[at((j * c.heads + h) * c.features + f)];
      }
      if (c.affine) p *= 1 - gamma;
      p *= naive_decay(c, h, n, j);
    }
    row.p.push_back(p);
    row.denominator += p;
  }
  row.denominator += c.epsilon;
  return row;
}
}  // namespace detail

/// y_n = sum_j p_nj v_j / (sum_j p_nj + epsilon).
inline NaiveAttentionResult naive_attention(const NaiveAttention& c) {
  using detail::at;
  NaiveAttentionResult result{std::vector<double>(at(c.tokens * c.heads * c.size)),
                              std::vector<double>(at(c.heads * c.tokens * c.tokens))};
  for (Index h = 0; h < c.heads; ++h) {
    const Index g = h / (c.heads / c.groups);
    for (Index n = 0; n < c.tokens; ++n) {
      const detail::NaiveRow row = detail::naive_row(c, h, n);
      for (Index j = 0; j <= n; ++j) {
        const double a = row.p[at(j)] / row.denominator;
        result.weights[at((h * c.tokens + n) * c.tokens + j)] = a;
        for (Index i = 0; i < c.size; ++i) {
          result.y[at((n * c.heads + h) * c.size + i)] += a * c.v[at((j * c.groups + g) * c.size + i)];
        }
      }
    }
  }
  return result;
}

/// Gradients of sum(y * dy), by the chain rule over the N x N weights; dy (T, H * D).
///
///   da_j = dy . v_j;  dp_j = (da_j - sum_i a_i da_i) / denominator;  ds_j = p_j dp_j on near keys;
///   the shift c_n takes -sum ds to the largest score; epsilon changes nothing in these formulas.
inline NaiveAttentionGradients naive_attention_gradients(const NaiveAttention& c, const std::vector<double>& dy) {
  using detail::at;
  NaiveAttentionGradients d{std::vector<double>(c.q.size()),
                            std::vector<double>(c.k.size()),
                            std::vector<double>(c.v.size()),
                            std::vector<double>(c.query_features.size()),
                            std::vector<double>(c.key_features.size()),
                            std::vector<double>(c.gamma_logits.size()),
                            std::vector<double>(c.log_decay.size())};
  const double root = std::sqrt(static_cast<double>(c.size));
  for (Index h = 0; h < c.heads; ++h) {
    const Index g = h / (c.heads / c.groups);
    const double gamma = c.gamma_logits.empty() ? 1 : detail::sigmoid(c.gamma_logits[at(h)]);
    const double far_weight = c.affine ? 1 - gamma : 1;
    double dgamma = 0;
    for (Index n = 0; n < c.tokens; ++n) {
      const detail::NaiveRow row = detail::naive_row(c, h, n);
      std::vector<double> da(at(n + 1));
      double mean = 0;
      for (Index j = 0; j <= n; ++j) {
        const double a = row.p[at(j)] / row.denominator;
        for (Index i = 0; i < c.size; ++i) {
          const double dyi = dy[at((n * c.heads + h) * c.size + i)];
          da[at(j)] += dyi * c.v[at((j * c.groups + g) * c.size + i)];
          d.v[at((j * c.groups + g) * c.size + i)] += a * dyi;
        }
        mean += a * da[at(j)];
      }
      const auto add_score = [&](Index j, double ds) {
        const double factor = ds / root;
        for (Index i = 0; i < c.size; ++i) {
          d.q[at((n * c.heads + h) * c.size + i)] += factor * c.k[at((j * c.groups + g) * c.size + i)];
          d.k[at((j * c.groups + g) * c.size + i)] += factor * c.q[at((n * c.heads + h) * c.size + i)];
        }
      };
      for (Index j = 0; j <= n; ++j) {
        const double dp = (da[at(j)] - mean) / row.denominator;
        if (c.near(h, n, j)) {
          dgamma += dp * row.p[at(j)] / gamma;
          add_score(j, dp * row.p[at(j)]);
          add_score(row.largest_at, -dp * row.p[at(j)]);
          continue;
        }
        const double decay = detail::naive_decay(c, h, n, j);
        for (Index t = j + 1; t <= n && !c.log_decay.empty(); ++t) d.log_decay[at(t * c.heads + h)] += dp * row.p[at(j)];
        for (Index f = 0; f < c.features; ++f) {
          const std::size_t query = at((n * c.heads + h) * c.features + f),
                            key = at((j * c.heads + h) * c.features + f);
          d.query_features[query] += far_weight * dp * decay * c.key_features[key];
          d.key_features[key] += far_weight * dp * decay * c.query_features[query];
          if (c.affine) dgamma -= dp * decay * c.query_features[query] * c.key_features[key];
        }
      }
    }
    if (!c.gamma_logits.empty()) d.gamma_logits[at(h)] += dgamma * gamma * (1 - gamma);
  }
  return d;
}

}  // namespace lolcats::testing
