// Scores of a cache, fitted to the attention that the teacher pays from afar.
#pragma once

#include <lolcats/core/parallel.hpp>
#include <lolcats/data/batch.hpp>
#include <lolcats/data/row_groups.hpp>
#include <lolcats/model/llama.hpp>
#include <lolcats/model/teacher_stream.hpp>
#include <lolcats/ops/attention/weights.hpp>
#include <lolcats/ops/linear/linear.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

namespace lolcats {

/// How fit_scores fits.
struct FitScoresOptions {
  Index rows = 4;        // sequences at once
  double ridge = 0.01;   // added to the diagonal of the correlations of the inputs
  double floor = 1e-5;   // attention below this is nothing
  std::function<void(Index read, Index all)> progress = {};  // sequences
};

namespace detail {

/// Solves A x = b for a symmetric positive definite A (n, n), row-major, by Cholesky; spoils A.
inline std::vector<std::vector<double>> solve_spd(std::vector<double>& a, std::size_t n, std::vector<std::vector<double>> b) {
  for (std::size_t j = 0; j < n; ++j) {
    double* row_j = a.data() + j * n;
    for (std::size_t i = j; i < n; ++i) {
      double* row_i = a.data() + i * n;
      const double sum = row_i[j] - std::inner_product(row_i, row_i + j, row_j, 0.0);
      if (i == j) {
        require<NumericError>(sum > 0, "fit_scores: the inputs' correlations are singular at {}; use a larger ridge", j);
        row_j[j] = std::sqrt(sum);
      } else {
        row_i[j] = sum / row_j[j];
      }
    }
  }
  for (auto& x : b) {
    for (std::size_t i = 0; i < n; ++i) {
      x[i] = (x[i] - std::inner_product(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(i), a.data() + i * n, 0.0)) / a[i * n + i];
    }
    for (std::size_t i = n; i-- > 0;) {
      for (std::size_t k = i + 1; k < n; ++k) x[i] -= a[k * n + i] * x[k];
      x[i] /= a[i * n + i];
    }
  }
  return b;
}

/// The logarithm of the largest weight that a query beyond the window gives to each key, of all query heads of a group:
/// (rows, G) of the batch.
template <Backend B, Window W>
std::vector<double> farthest_attention(const B& backend, const Qkv<B>& qkv, const Sequences& sequences, const Heads& heads,
                                       Sliding<> teacher, const W& window, double floor) {
  const std::vector<float> most = largest_far_weights(backend, qkv.q.value(), qkv.k.value(), sequences, heads, teacher, window);
  std::vector<double> logs(static_cast<std::size_t>(sequences.rows() * heads.keys));
  for (std::size_t i = 0; i < logs.size(); ++i) {
    const auto first = most.begin() + static_cast<std::ptrdiff_t>(i) * heads.group();
    logs[i] = std::log(static_cast<double>(*std::max_element(first, first + heads.group())) + floor);
  }
  return logs;
}

}  // namespace detail

/// What a fit explains: by layer, the share of the variance of its targets, averaged over key/value heads.
struct ScoreFit {
  std::vector<double> explained;  // (L)
};

/// Fits the scores of a student whose memory keeps keys by LearnedScore, on the teacher's residual stream: a linear
/// function of the layer's normed input predicts the logarithm of the largest attention weight that softmax gives to the
/// key from beyond the window (by ridge regression, one per layer and key/value head).  Keys so near the end of their
/// sequence that fewer queries than a window lie beyond are left out.
///
/// Costs a pass of the teacher over `data` with its attention weights, O(N^2) per sequence: some 100 sequences are enough.
/// What the student will be asked for should be in them, as facts and questions (data/planted_facts.hpp).
/// Errors: ConfigError; DataError unless more keys than the model is wide are left, as there are none in sequences of up to two windows;
/// NumericError where their inputs' correlations are singular.
template <LlamaModel Model, class Data>
  requires projects_scores<MemoryOf<typename Model::Attention>>
ScoreFit fit_scores(Model& student, const Data& data, const FitScoresOptions& options = {}) {
  using B = typename Model::Device;
  using W = typename Model::Attention::Window;
  require<ConfigError>(options.rows > 0, "fit_scores: rows is {}, expected at least 1", options.rows);
  require<ConfigError>(options.ridge > 0, "fit_scores: ridge is {}, expected more than 0", options.ridge);
  const auto& config = student.config();
  const B backend = student.backend();
  const Index layers = student.layer_count(), width = config.hidden_size, groups = config.kv_heads;
  const W window = student.layer(0).attention().window();
  const Sliding<> teacher = checkpoint_window(config.sliding_window);

  struct Sums {
    Array<B, Real<B>> inputs, products, targets;  // sum x (C), sum x x^T (C, C), sum y x^T (G, C)
    std::vector<double> target, square;           // sum y, sum y^2 (G)
  };
  std::vector<Sums> all(static_cast<std::size_t>(layers));
  for (Sums& s : all) {
    s = {Array<B, Real<B>>(Shape{width}), Array<B, Real<B>>(Shape{width, width}), Array<B, Real<B>>(Shape{groups, width}),
         std::vector<double>(static_cast<std::size_t>(groups)), std::vector<double>(static_cast<std::size_t>(groups))};
    for (auto* sum : {&s.inputs, &s.products, &s.targets}) backend.zero(sum->data(), sum->size());
  }
  Index tokens = 0;
  {
    Tape<B> tape(backend);
    TeacherStream<Model> stream(tape, student);
    const Index count = static_cast<Index>(data.size());
    detail::for_row_groups(count, options.rows, [&](std::span<const Index> group) {
      const Batch batch = data.batch(group);
      stream.start(batch.tokens, batch.sequences);
      while (stream.layer() < layers) {
        Sums& s = all[static_cast<std::size_t>(stream.layer())];
        const bool counted = stream.layer() == 0;
        stream.advance([&](auto& layer, const auto& qkv, const auto&) {
          const std::vector<double> y = detail::farthest_attention(backend, qkv, batch.sequences, layer.attention().heads(),
                                                                   teacher, window, options.floor);
          Array<B> targets(Shape{batch.sequences.rows(), groups});
          backend.from_host(y.data(), targets.data(), targets.size());
          for (const Extent& e : batch.sequences.extents()) {
            const Index keys = window.begin(std::max<Index>(0, e.length - 1 - window.span())) - sinks_of<W>;
            if (keys <= 0) continue;
            if (counted) tokens += keys;
            const Index row = e.row + sinks_of<W>;
            const View<const Scalar<B>> x(qkv.hidden.value().data + row * width, Shape{keys, width});
            const View<const Scalar<B>> t(std::as_const(targets).data() + row * groups, Shape{keys, groups});
            LinearKernel<B>::weight_gradient(backend, x, x, s.products.view());
            LinearKernel<B>::weight_gradient(backend, t, x, s.targets.view());
            LinearKernel<B>::bias_gradient(backend, x, s.inputs.view());
            for (Index i = 0; i < keys * groups; ++i) {
              const double value = y[static_cast<std::size_t>(row * groups + i)];
              s.target[static_cast<std::size_t>(i % groups)] += value;
              s.square[static_cast<std::size_t>(i % groups)] += value * value;
            }
          }
        });
      }
      if (options.progress) options.progress(group.back() + 1, count);
    });
  }
  require<DataError>(tokens > width, "fit_scores: {} keys have queries beyond the window {}, expected more than the width {}: "
                     "longer or more sequences", tokens, W::name(), width);

  ScoreFit fit{std::vector<double>(static_cast<std::size_t>(layers))};
  std::vector<std::vector<double>> weights(static_cast<std::size_t>(layers));
  const auto to_host = [&](const Array<B, Real<B>>& x) {
    std::vector<double> numbers(static_cast<std::size_t>(x.size()));
    backend.to_host(std::as_const(x).data(), numbers.data(), x.size());
    return numbers;
  };
  std::vector<std::vector<double>> inputs, products, targets;
  for (const Sums& s : all) {
    inputs.push_back(to_host(s.inputs));
    products.push_back(to_host(s.products));
    targets.push_back(to_host(s.targets));
  }
  parallel_for(layers, [&](Index l) {
    const auto at = static_cast<std::size_t>(l), n = static_cast<std::size_t>(width), g = static_cast<std::size_t>(groups);
    const double count = static_cast<double>(tokens);
    std::vector<double>& a = products[at];
    std::vector<double> mean = inputs[at], deviation(n);
    for (double& x : mean) x /= count;
    for (std::size_t i = 0; i < n; ++i) deviation[i] = std::sqrt(std::max(1e-12, a[i * n + i] / count - mean[i] * mean[i]));
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        a[i * n + j] = (a[i * n + j] / count - mean[i] * mean[j]) / (deviation[i] * deviation[j]) + (i == j ? options.ridge : 0.0);
      }
    }
    std::vector<std::vector<double>> b(g, std::vector<double>(n));
    for (std::size_t k = 0; k < g; ++k) {
      const double y = all[at].target[k] / count;
      for (std::size_t i = 0; i < n; ++i) b[k][i] = (targets[at][k * n + i] / count - y * mean[i]) / deviation[i];
    }
    const auto w = detail::solve_spd(a, n, b);
    weights[at].resize(g * n);
    for (std::size_t k = 0; k < g; ++k) {
      const double y = all[at].target[k] / count, variance = all[at].square[k] / count - y * y;
      fit.explained[at] += std::inner_product(w[k].begin(), w[k].end(), b[k].begin(), 0.0) / std::max(variance, 1e-12) / static_cast<double>(g);
      for (std::size_t i = 0; i < n; ++i) weights[at][k * n + i] = w[k][i] / deviation[i];
    }
  });
  for (Index l = 0; l < layers; ++l) student.layer(l).attention().set_scores(backend, weights[static_cast<std::size_t>(l)]);
  return fit;
}

}  // namespace lolcats
