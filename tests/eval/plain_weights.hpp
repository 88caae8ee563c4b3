// The weights of attention as plain loops over one sequence, for tests of what is measured on them.
#pragma once

#include "../train/tiny_llama.hpp"

#include <cmath>
#include <vector>

namespace tiny {

/// a[n][j] of one head of softmax attention over q (N, H * D) and k (N, G * D) with H = 4, G = 2, D = 4.
inline std::vector<std::vector<double>> softmax_weights(View<const double> q, View<const double> k, Index h) {
  std::vector<std::vector<double>> a;
  for (Index n = 0; n < q.rows(); ++n) {
    std::vector<double> row;
    double sum = 0;
    for (Index j = 0; j <= n; ++j) {
      double score = 0;
      for (Index d = 0; d < 4; ++d) score += q.data[n * 16 + h * 4 + d] * k.data[j * 8 + h / 2 * 4 + d];
      row.push_back(std::exp(score / 2));
      sum += row.back();
    }
    for (double& weight : row) weight /= sum;
    a.push_back(std::move(row));
  }
  return a;
}

/// The same of hybrid attention with Hedgehog<2> maps that start as the identity, and gamma = 0.1.
template <class W>
std::vector<std::vector<double>> hybrid_weights(View<const double> q, View<const double> k, Index h, const W& window) {
  const auto phi = [](const double* x) {
    const double p = std::exp(x[0]) / (std::exp(x[0]) + std::exp(x[1]));
    return std::vector<double>{p, 1 - p, 1 - p, p};
  };
  std::vector<std::vector<double>> a;
  for (Index n = 0; n < q.rows(); ++n) {
    const double* query = q.data + n * 16 + h * 4;
    std::vector<double> row;
    double top = -1e300;
    for (Index j = 0; j <= n; ++j) {
      const double* key = k.data + j * 8 + h / 2 * 4;
      double score = 0;
      for (Index d = 0; d < 4; ++d) score += query[d] * key[d] / 2;
      row.push_back(score);
      if (j >= window.begin(n)) top = std::max(top, score);
    }
    double sum = 0;
    for (Index j = 0; j <= n; ++j) {
      double& p = row[static_cast<std::size_t>(j)];
      if (j >= window.begin(n)) {
        p = 0.1 * std::exp(p - top);
      } else {
        const auto f = phi(query), g = phi(k.data + j * 8 + h / 2 * 4);
        p = f[0] * g[0] + f[1] * g[1] + f[2] * g[2] + f[3] * g[3];
      }
      sum += p;
    }
    for (double& p : row) p /= sum;
    a.push_back(std::move(row));
  }
  return a;
}

/// The mean over all queries of the rows of `data` of measure(n, weights of query n), per layer and head.
template <class Model, class Weights, class F>
std::vector<std::vector<double>> plain_average(Model& model, const DataSet& data, Weights&& weights, F&& measure) {
  std::vector<std::vector<double>> sums(static_cast<std::size_t>(model.layer_count()), std::vector<double>(4, 0.0));
  double tokens = 0;
  for (Index r = 0; r < data.size(); ++r) {
    const Batch batch = data.batch(r, 1);
    tokens += static_cast<double>(batch.tokens.size());
    Tape<Device> tape;
    Var<Device> x = model.embed(tape, batch.tokens);
    for (Index l = 0; l < model.layer_count(); ++l) {
      const auto qkv = model.layer(l).project(tape, x, batch.sequences, model.rope());
      for (Index h = 0; h < 4; ++h) {
        const auto a = weights(qkv.q.value(), qkv.k.value(), h);
        for (std::size_t n = 0; n < a.size(); ++n) {
          sums[static_cast<std::size_t>(l)][static_cast<std::size_t>(h)] += measure(static_cast<Index>(n), a[n]);
        }
      }
      x = model.layer(l).forward_softmax(tape, x, batch.sequences, model.rope());
    }
  }
  for (auto& layer : sums) {
    for (double& value : layer) value /= tokens;
  }
  return sums;
}

}  // namespace tiny
