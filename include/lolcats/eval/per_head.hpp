// Measurements per layer and head on the teacher's residual stream.
#pragma once

#include <lolcats/data/batch.hpp>
#include <lolcats/data/row_groups.hpp>
#include <lolcats/model/teacher_stream.hpp>
#include <lolcats/nn/attention.hpp>

#include <numeric>
#include <span>
#include <vector>

namespace lolcats {

/// One number per layer and query head.
struct PerHead {
  std::vector<std::vector<double>> values;  // (L, H)

  /// The mean over the heads of each layer (L).
  std::vector<double> per_layer() const {
    std::vector<double> means;
    for (const auto& row : values) {
      means.push_back(std::accumulate(row.begin(), row.end(), 0.0) / static_cast<double>(row.size()));
    }
    return means;
  }
  double mean() const {
    const auto means = per_layer();
    return std::accumulate(means.begin(), means.end(), 0.0) / static_cast<double>(means.size());
  }
};

namespace detail {

/// Runs the teacher over a data set, `rows` sequences at a time: visit(tape, layer's index, layer, qkv, teacher y, sequences).
/// Returns the number of tokens; padding does not count.
template <class Model, class Data, class F>
Index for_teacher_layers(const char* function, Model& model, const Data& data, Index rows, F&& visit) {
  using B = typename Model::Device;
  require<ConfigError>(rows > 0, "{}: rows is {}, expected at least 1", function, rows);
  Tape<B> tape(model.backend());
  const typename Tape<B>::NoGradient quiet(tape);
  TeacherStream<Model> stream(tape, model);
  Index tokens = 0;
  for_row_groups(static_cast<Index>(data.size()), rows, [&](std::span<const Index> group) {
    const Batch batch = data.batch(group);
    tokens += batch.sequences.tokens();
    stream.start(batch.tokens, batch.sequences);
    while (stream.layer() < model.layer_count()) {
      const auto index = static_cast<std::size_t>(stream.layer());
      stream.advance([&](auto& layer, const auto& qkv, const auto& y) { visit(tape, index, layer, qkv, y, batch.sequences); });
    }
  });
  require<DataError>(tokens > 0, "{}: the data has no tokens", function);
  return tokens;
}

/// Averages over the tokens of a data set: measure(tape, layer, qkv, teacher y, sequences) returns, for each head, the
/// sum over the tokens of a batch.
template <class Model, class Data, class F>
PerHead average_per_head(const char* function, Model& model, const Data& data, Index rows, F&& measure) {
  const auto heads = static_cast<std::size_t>(model.config().heads);
  PerHead result{{static_cast<std::size_t>(model.layer_count()), std::vector<double>(heads, 0.0)}};
  const Index tokens = for_teacher_layers(
      function, model, data, rows,
      [&](auto& tape, std::size_t index, auto& layer, const auto& qkv, const auto& y, const Sequences& sequences) {
        const std::vector<double> added = measure(tape, layer, qkv, y, sequences);
        for (std::size_t h = 0; h < heads; ++h) result.values[index][h] += added[h];
      });
  for (auto& layer : result.values) {
    for (double& value : layer) value /= static_cast<double>(tokens);
  }
  return result;
}

/// A matrix on the host, in double.
template <Backend B, class T>
std::vector<double> host_values(const B& backend, View<const T> x) {
  std::vector<double> values(static_cast<std::size_t>(x.size()));
  backend.to_host(x.data, values.data(), x.size());
  return values;
}

}  // namespace detail

}  // namespace lolcats
