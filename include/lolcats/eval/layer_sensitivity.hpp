// What each layer's attention costs a student: how far predictions move when one layer alone is swapped.
#pragma once

#include <lolcats/core/rng.hpp>
#include <lolcats/data/batch.hpp>
#include <lolcats/data/row_groups.hpp>
#include <lolcats/model/adapter_scope.hpp>
#include <lolcats/model/llama.hpp>
#include <lolcats/ops/divergence/divergence.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace lolcats {

/// How a model with some layers swapped predicts.
struct Swapped {
  double divergence = 0;  // KL from the softmax teacher's predictions, nats per predicted token
  double loss = 0;        // nats per predicted token
  double perplexity() const { return std::exp(loss); }
};

/// All layers, one by one.
struct LayerSensitivity {
  Swapped teacher;  // softmax in all layers, so no divergence
  Swapped student;  // the student's attention in all layers
  std::vector<Swapped> swapped;  // (L) the student's attention in this layer, softmax in all others
  std::vector<Swapped> kept;     // (L) softmax in this layer, the student's attention in all others; empty unless asked for
};

struct LayerSensitivityOptions {
  Index rows = 8;     // sequences at once
  bool kept = false;  // also the reverse, at the same cost again
  std::function<void(Index read, Index all)> progress = {};  // sequences
};

namespace detail {

/// The layers of one batch, run with either attention from wherever a stream was left.
template <class Model>
class SwappedPasses {
 public:
  using B = typename Model::Device;

  SwappedPasses(Model& model, Tape<B>& tape, const Batch& batch) : model_(model), tape_(tape), batch_(batch) {}

  /// What enters the first layer.
  Array<B> start() {
    const typename Tape<B>::Scope scope(tape_);
    return kept(model_.embed(tape_, batch_.tokens));
  }
  /// x -> the output of a layer.
  Array<B> advance(Index layer, const Array<B>& x, bool softmax) {
    const typename Tape<B>::Scope scope(tape_);
    const Var<B> in = tape_.constant(x.view());
    const auto& l = model_.layer(layer);
    const auto& table = model_.rope(batch_.sequences);
    return kept(softmax ? l.forward_softmax(tape_, in, batch_.sequences, table) : l.forward(tape_, in, batch_.sequences, table));
  }
  /// Layers [first, L) from the stream x that enters `first`.
  Array<B> finish(Index first, Array<B> x, bool softmax) {
    for (Index layer = first; layer < model_.layer_count(); ++layer) x = advance(layer, x, softmax);
    return x;
  }
  /// From now on predictions are compared with those of this stream.
  void set_teacher(const Array<B>& x) {
    const typename Tape<B>::Scope scope(tape_);
    teacher_ = kept(model_.normalize(tape_, tape_.constant(x.view())));
  }
  /// Adds the predictions of a stream behind the last layer.
  void add(const Array<B>& x, Swapped& to) {
    const typename Tape<B>::Scope scope(tape_);
    const View<const Scalar<B>> hidden = model_.normalize(tape_, tape_.constant(x.view())).value(), head = model_.head().value;
    const auto sum = [&](const View<Real<B>>& of_rows) {
      std::vector<double> host(batch_.labels.size());
      tape_.backend().to_host(of_rows.data, host.data(), of_rows.size());
      return std::accumulate(host.begin(), host.end(), 0.0);
    };
    to.loss += sum(token_losses(tape_, hidden, head, batch_.labels));
    to.divergence += sum(token_divergences(tape_, hidden, std::as_const(teacher_).view(), head, batch_.labels));
  }

 private:
  Array<B> kept(Var<B> x) {
    Array<B> copy(x.shape());
    tape_.backend().copy(x.value().data, copy.data(), x.shape().size());
    return copy;
  }

  Model& model_;
  Tape<B>& tape_;
  const Batch& batch_;
  Array<B> teacher_;
};

/// Calls f(passes) for every batch of at most `rows` sequences, with adapters off and nothing recorded.  Returns how many tokens are
/// supervised.  Throws ConfigError for `rows`, DataError if no token is.
template <class Model, class Data, class F>
Index for_swapped_passes(const char* function, Model& student, const Data& data, Index rows,
                         const std::function<void(Index read, Index all)>& progress, F&& f) {
  using B = typename Model::Device;
  require<ConfigError>(rows > 0, "{}: rows is {}, expected at least 1", function, rows);
  const WithoutAdapters<Model> base(student);
  Tape<B> tape(student.backend());
  const typename Tape<B>::NoGradient quiet(tape);
  Index tokens = 0;
  const auto size = static_cast<Index>(data.size());
  for_row_groups(size, rows, [&](std::span<const Index> group) {
    const Batch batch = data.batch(group);
    tokens += batch.supervised();
    SwappedPasses<Model> passes(student, tape, batch);
    f(passes);
    if (progress) progress(group.back() + 1, size);
  });
  require<DataError>(tokens > 0, "{}: no token of the data is supervised", function);
  return tokens;
}

/// Sums become means.  Throws NumericError saying of what, if they are not finite.
inline void average(Swapped& x, Index tokens, const char* function, const std::string& what) {
  require<NumericError>(std::isfinite(x.loss) && std::isfinite(x.divergence), "{}: the loss {} is {}, the divergence {}", function, what,
                        x.loss, x.divergence);
  x.loss /= static_cast<double>(tokens);
  x.divergence /= static_cast<double>(tokens);
}

}  // namespace detail

/// How far the student's predictions are from its softmax teacher's when one layer alone has the student's attention, for every
/// layer; after stage 1 that says which layers to keep softmax.  Adapters are off: the teacher is the same base.
///
/// The layers below the swapped one are run once and their outputs kept (L streams of (M, C)), so all L swaps cost
/// L (L + 3) / 2 layers, as much as L / 2 + 1.5 passes of the model, and L + 1 times its head on both sides.
/// Errors: DataError if no token is predicted, NumericError naming the layer.
template <LlamaModel Model, class Data>
LayerSensitivity layer_sensitivity(Model& student, const Data& data, const LayerSensitivityOptions& options = {}) {
  using B = typename Model::Device;
  constexpr const char* function = "layer_sensitivity";
  const Index layers = student.layer_count();
  LayerSensitivity all;
  all.swapped.resize(static_cast<std::size_t>(layers));
  if (options.kept) all.kept.resize(static_cast<std::size_t>(layers));
  const Index tokens = detail::for_swapped_passes(function, student, data, options.rows, options.progress, [&](auto& passes) {
    // All layers with one attention, then each swapped alone.
    const auto run = [&](bool softmax, Swapped& none, std::vector<Swapped>& one) {
      std::vector<Array<B>> inputs;
      inputs.push_back(passes.start());
      for (Index layer = 0; layer < layers; ++layer) inputs.push_back(passes.advance(layer, inputs.back(), softmax));
      if (softmax) passes.set_teacher(inputs.back());
      passes.add(inputs.back(), none);
      for (Index layer = layers - 1; layer >= 0 && !one.empty(); --layer) {
        const auto at = static_cast<std::size_t>(layer);
        passes.add(passes.finish(layer + 1, passes.advance(layer, inputs[at], !softmax), softmax), one[at]);
        inputs.pop_back();
      }
    };
    run(true, all.teacher, all.swapped);
    run(false, all.student, all.kept);
  });
  for (std::vector<Swapped>* one : {&all.swapped, &all.kept}) {
    for (std::size_t i = 0; i < one->size(); ++i) {
      detail::average((*one)[i], tokens, function, fmt::format("of the {} with layer {} swapped", one == &all.swapped ? "teacher" : "student", i));
    }
  }
  detail::average(all.teacher, tokens, function, "of the teacher");
  detail::average(all.student, tokens, function, "of the student");
  return all;
}

namespace detail {
inline void check_count(const char* function, Index layers, Index count) {
  require<ConfigError>(count >= 0 && count <= layers, "{}: {} layers, expected 0 to {}", function, count, layers);
}
}  // namespace detail

/// The `count` layers whose swap alone moves the predictions most, in ascending order.
inline std::vector<Index> most_sensitive_layers(const LayerSensitivity& sensitivity, Index count) {
  std::vector<Index> order(sensitivity.swapped.size());
  detail::check_count("most_sensitive_layers", static_cast<Index>(order.size()), count);
  std::iota(order.begin(), order.end(), Index{0});
  std::ranges::stable_sort(order, std::ranges::greater{}, [&](Index i) { return sensitivity.swapped[static_cast<std::size_t>(i)].divergence; });
  order.resize(static_cast<std::size_t>(count));
  std::ranges::sort(order);
  return order;
}

/// `count` layers of `layers` at equal distances: the middles of so many parts.
inline std::vector<Index> spaced_layers(Index layers, Index count) {
  detail::check_count("spaced_layers", layers, count);
  std::vector<Index> chosen;
  for (Index i = 0; i < count; ++i) chosen.push_back((2 * i + 1) * layers / (2 * count));
  return chosen;
}

/// `count` layers of `layers` at random, in ascending order.
inline std::vector<Index> random_layers(Index layers, Index count, std::uint64_t seed) {
  detail::check_count("random_layers", layers, count);
  std::vector<Index> order(static_cast<std::size_t>(layers));
  std::iota(order.begin(), order.end(), Index{0});
  Rng rng(seed);
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) std::swap(order[i], order[i + rng.below(order.size() - i)]);
  order.resize(static_cast<std::size_t>(count));
  std::ranges::sort(order);
  return order;
}

/// The list of a PerLayer<kept, student>: 0 for the layers in `kept`, 1 for all others.
/// Throws ConfigError for a layer that is not there or is named twice.
inline std::vector<Index> keeping_layers(Index layers, std::span<const Index> kept) {
  std::vector<Index> list(static_cast<std::size_t>(layers), 1);
  for (const Index layer : kept) {
    require<ConfigError>(layer >= 0 && layer < layers, "keeping_layers: layer {}, expected 0 to {}", layer, layers - 1);
    require<ConfigError>(std::exchange(list[static_cast<std::size_t>(layer)], 0) == 1, "keeping_layers: layer {} is named twice", layer);
  }
  return list;
}

}  // namespace lolcats
