// Measurements per layer and head on the teacher's residual stream.
#pragma once

#include <lolcats/data/batch.hpp>
#include <lolcats/model/teacher_stream.hpp>
#include <lolcats/nn/attention.hpp>

#include <algorithm>
#include <numeric>
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

/// The policy as an attention operation sees it.
template <class Layer>
struct PolicyOf;
template <Backend B, AttentionPolicy A>
struct PolicyOf<AttentionLayer<B, A>> {
  using type = std::conditional_t<AttentionLayer<B, A>::composed, OverGivenFeatures<A>, A>;
};

/// The window of the checkpoint's own softmax.
template <class Config>
Sliding<> teacher_window(const Config& config) {
  return Sliding<>(config.sliding_window > 0 ? config.sliding_window : unlimited);
}

/// Averages over the tokens of a data set: measure(tape, layer, qkv, teacher y, sequences) returns, for each head, the
/// sum over the tokens of a batch.  `rows` sequences at a time; padding does not count.
template <class Model, class Data, class F>
PerHead average_per_head(Model& model, const Data& data, Index rows, F&& measure) {
  using B = typename Model::Device;
  require<ConfigError>(rows > 0, "average_per_head: rows is {}, expected at least 1", rows);
  const auto heads = static_cast<std::size_t>(model.config().heads);
  PerHead result{{static_cast<std::size_t>(model.layer_count()), std::vector<double>(heads, 0.0)}};
  Tape<B> tape(model.backend());
  const typename Tape<B>::NoGradient quiet(tape);
  TeacherStream<Model> stream(tape, model);
  Index tokens = 0;
  std::vector<Index> group;
  for (Index first = 0; first < static_cast<Index>(data.size()); first += rows) {
    group.resize(static_cast<std::size_t>(std::min(rows, static_cast<Index>(data.size()) - first)));
    std::iota(group.begin(), group.end(), first);
    const Batch batch = data.batch(std::span<const Index>(group));
    for (const Extent& e : batch.sequences.extents()) tokens += e.length;
    stream.start(batch.tokens, batch.sequences);
    while (stream.layer() < model.layer_count()) {
      auto& sums = result.values[static_cast<std::size_t>(stream.layer())];
      stream.advance([&](auto& layer, const auto& qkv, const auto& y) {
        const std::vector<double> added = measure(tape, layer, qkv, y, batch.sequences);
        for (std::size_t h = 0; h < heads; ++h) sums[h] += added[h];
      });
    }
  }
  require<DataError>(tokens > 0, "average_per_head: the data has no tokens");
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
