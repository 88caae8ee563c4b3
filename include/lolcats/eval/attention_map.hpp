// The attention weights of one sequence as whole matrices, for pictures.
#pragma once

#include <lolcats/eval/per_head.hpp>
#include <lolcats/ops/attention/weights.hpp>

#include <algorithm>
#include <span>

namespace lolcats {

/// A query head of a layer.
struct LayerHead {
  Index layer = 0, head = 0;
};

/// weights (N, N): row n holds the weights of query n over all keys, zero in its future.  Rows add up to 1.
struct AttentionMap {
  LayerHead at;
  Index size = 0;  // N
  std::vector<double> weights;
};

namespace detail {

/// weigh(tape, layer, qkv, sequences, f) calls f as visit_attention_weights does.
template <class Model, class F>
std::vector<AttentionMap> attention_maps(Model& model, std::span<const Index> tokens,
                                         const std::vector<LayerHead>& chosen, F&& weigh) {
  using B = typename Model::Device;
  const auto length = static_cast<Index>(tokens.size());
  require<DataError>(length > 0, "attention_maps: the sequence has no tokens");
  std::vector<AttentionMap> maps;
  for (const LayerHead& at : chosen) {
    require<ConfigError>(
        at.layer >= 0 && at.layer < model.layer_count() && at.head >= 0 && at.head < model.config().heads,
        "attention_maps: layer {}, head {} of a model of {} layers and {} heads", at.layer, at.head,
        model.layer_count(), model.config().heads);
    maps.push_back({at, length, std::vector<double>(static_cast<std::size_t>(length * length), 0.0)});
  }
  const Index last = chosen.empty() ? -1 : std::ranges::max(chosen, {}, &LayerHead::layer).layer;
  const Sequences sequences(length, {{0, length, 0}});
  Tape<B> tape(model.backend());
  const typename Tape<B>::NoGradient quiet(tape);
  TeacherStream<Model> stream(tape, model);
  stream.start(tokens, sequences);
  while (stream.layer() <= last) {
    const Index current = stream.layer();
    stream.advance([&](auto& layer, const auto& qkv, const auto&) {
      if (std::ranges::none_of(chosen, [&](const LayerHead& at) { return at.layer == current; })) return;
      weigh(tape, layer, qkv, sequences, [&](Index, Index h, Index first, const auto& a) {
        for (AttentionMap& map : maps) {
          if (map.at.layer != current || map.at.head != h) continue;
          for (Index i = 0; i < a.rows(); ++i) {
            double* const row = map.weights.data() + (first + i) * length;
            for (Index j = 0; j < a.cols(); ++j) row[j] = static_cast<double>(a.data[i * a.cols() + j]);
          }
        }
      });
    });
  }
  return maps;
}

}  // namespace detail

/// The weights of the student's attention over one sequence, at the chosen layers and heads, in their order; computed on
/// the teacher's residual stream, so that a layer's difference to the teacher's is its own.  O(N^2) time and memory.
template <class Model>
std::vector<AttentionMap> attention_maps(Model& student, std::span<const Index> tokens,
                                         const std::vector<LayerHead>& chosen) {
  return detail::attention_maps(
      student, tokens, chosen, [](auto& tape, auto& layer, const auto& qkv, const Sequences& sequences, auto&& f) {
        visit_attention(layer.attention(), [&](const auto& attention) {
          using Policy = typename std::remove_cvref_t<decltype(attention)>::Policy;
          visit_attention_weights<Policy>(tape.backend(), qkv.q.value(), qkv.k.value(), sequences, attention.heads(),
                                          attention.weights(tape, qkv, sequences), attention.window(), f, qkv.v.value());
        });
      });
}

/// The same of the teacher's softmax attention.
template <class Model>
std::vector<AttentionMap> teacher_attention_maps(Model& student, std::span<const Index> tokens,
                                                 const std::vector<LayerHead>& chosen) {
  const Sliding<> window = checkpoint_window(student.config().sliding_window);
  return detail::attention_maps(
      student, tokens, chosen, [&](auto& tape, auto& layer, const auto& qkv, const Sequences& sequences, auto&& f) {
        visit_attention_weights<Softmax<>>(tape.backend(), qkv.q.value(), qkv.k.value(), sequences,
                                           layer.attention().heads(), {}, window, f);
      });
}

}  // namespace lolcats
