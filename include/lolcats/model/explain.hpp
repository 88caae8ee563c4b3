// What a student's type means on this machine: which kernels compute it and why, what it keeps, what it trains.
#pragma once

#include <lolcats/model/llama.hpp>
#include <lolcats/ops/attention/fused.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace lolcats {

/// One attention of a student, in one layer.
struct AttentionFacts {
  std::string name;
  std::string path;             ///< the kernels of this backend: "general: 96 features, fused kernels take 64 or 128"
  std::string on_hopper;        ///< where this backend has one path: what a Hopper GPU would take in bf16
  std::size_t state_bytes = 0;  ///< of one sequence, decoding behind the prompt
  Index map_parameters = 0;     ///< numbers that stage 1 trains

  friend bool operator==(const AttentionFacts&, const AttentionFacts&) = default;
};

struct StudentFacts {
  std::string name;
  Index layers = 0;
  Index prompt = 0;                        ///< tokens that were read before the first that was decoded
  std::vector<AttentionFacts> attentions;  ///< the one of all layers, or those that PerLayer chooses from
  Index adapter_parameters = 0;            ///< numbers that stage 2 trains, of all layers
};

namespace detail {

/// Gives an attention a prompt and a token, all zero, and returns the bytes of the state that is left.
template <Backend B>
std::size_t state_bytes_of_zeros(
    const LayerSizes& sizes, Index prompt, const B& backend,
    const std::function<void(Tape<B>&, const Qkv<B>&, const Sequences&, AttentionState<B>&)>& step) {
  Tape<B> tape(backend);
  AttentionState<B> state;
  constexpr Index piece = 2048;  // as generate() reads a prompt; the token behind it gives back the room that a piece took
  for (Index read = 0, rows = 0; read <= prompt; read += rows) {
    const typename Tape<B>::Scope scope(tape);
    const typename Tape<B>::NoGradient quiet(tape);
    rows = read < prompt ? std::min(piece, prompt - read) : 1;
    const Sequences sequences(rows, {{0, rows, read}});
    const auto zeros = [&](Index width) {
      const View<Scalar<B>> values = tape.template scratch<Scalar<B>>(Shape{rows, width});
      backend.zero(values.data, values.size());
      return tape.constant(values);
    };
    const Index keys = sizes.heads.keys * sizes.heads.size;
    step(tape, {zeros(sizes.heads.queries * sizes.heads.size), zeros(keys), zeros(keys), zeros(sizes.width), zeros(keys)}, sequences, state);
  }
  return state.bytes();
}

/// Which kernels compute attention A as the operation sees it, and what a Hopper GPU would take where this backend has one path.
template <AttentionPolicy A, Backend B>
void explain_path(const AttentionProblem<B, typename A::Window>& problem, AttentionFacts& facts) {
  using W = typename A::Window;
  using Kernel = AttentionKernel<B, typename A::Map, W, MemoryOf<A>>;
  if constexpr (corrects<MemoryOf<A>>) {
    if constexpr (W::has_near) {
      auto window = problem;
      window.weights = {};
      explain_path<Softmax<W>>(window, facts);
      for (std::string* path : {&facts.path, &facts.on_hopper}) {
        if (!path->empty()) *path = fmt::format("window: {}; memory: by the delta rule's own kernels", *path);
      }
    } else {
      facts.path = "by the delta rule's own kernels";
    }
  } else if constexpr (requires { Kernel::explain(problem); }) {
    facts.path = Kernel::explain(problem);
  } else {
    const std::string why = hopper::why_not_fused<typename A::Map, W, MemoryOf<A>>(problem.heads.size);
    facts.path = fmt::format("general, as everything on {}", B::name());
    facts.on_hopper = why.empty() ? "fused" : "general: " + why;
  }
}

/// Of one layer by policy A, all of whose inputs are zero: kernels and states do not depend on the numbers.
template <AttentionPolicy A, Backend B>
AttentionFacts attention_facts(const LayerSizes& sizes, Index prompt, const B& backend) {
  using Layer = AttentionLayer<B, A>;
  Layer layer(backend, sizes.heads, sizes.sliding_window, 0, 0, sizes.width);
  AttentionFacts facts;
  facts.name = A::name();
  ListedParameters<B> maps;
  layer.visit_maps("", maps);
  for (const auto& [name, shape, parameter] : maps) facts.map_parameters += shape.size();
  facts.state_bytes = state_bytes_of_zeros<B>(
      sizes, prompt, backend, [&](Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences, AttentionState<B>& state) {
        if (facts.path.empty()) {
          explain_path<typename Layer::Policy, B>({sizes.heads, &sequences, layer.window(), A::affine, x.q.value(), x.k.value(), x.v.value(),
                                                   layer.weights(tape, x, sequences)}, facts);
        }
        layer.step(tape, x, sequences, state);
      });
  return facts;
}

template <Backend B, AttentionPolicy A>
std::vector<AttentionFacts> all_attention_facts(const AttentionLayer<B, A>*, const LayerSizes& sizes, Index prompt, const B& backend) {
  return {attention_facts<A>(sizes, prompt, backend)};
}
template <Backend B, AttentionPolicy... A>
std::vector<AttentionFacts> all_attention_facts(const PerLayerAttention<B, A...>*, const LayerSizes& sizes, Index prompt, const B& backend) {
  return {attention_facts<A>(sizes, prompt, backend)...};
}

}  // namespace detail

/// What `Student` is in a model of these sizes, whose sequences begin with `prompt` tokens.  No weights are needed: an attention
/// layer of zeros reads the prompt and a token, in the time of one layer.  Throws ConfigError for sizes that cannot be built; on CUDA,
/// CudaError without a device.
template <LlamaModel Student>
StudentFacts explain(const LlamaConfig& config, Index prompt = 2048, const typename Student::Device& backend = {}) {
  using B = typename Student::Device;
  config.validate();
  require<ConfigError>(prompt > 0, "explain: a prompt of {} tokens, expected at least 1", prompt);
  const LayerSizes sizes = layer_sizes(config);
  StudentFacts facts{Student::name(), config.layers, prompt, {}, 0};
  const LayerAttention<B, typename Student::Attention>* which = nullptr;
  facts.attentions = detail::all_attention_facts(which, sizes, prompt, backend);
  DecoderLayer<B, typename Student::Attention, typename Student::Adapter> layer(backend, sizes, 0, 0);
  detail::ListedParameters<B> adapter;
  layer.visit_adapter("", adapter);
  for (const auto& [name, shape, parameter] : adapter) facts.adapter_parameters += config.layers * shape.size();
  return facts;
}

/// A line per fact.
inline std::string to_string(const StudentFacts& facts) {
  std::string text = facts.name + "\n";
  const bool one = facts.attentions.size() == 1;
  for (const AttentionFacts& a : facts.attentions) {
    text += one ? fmt::format("  attention       {} in {} layers\n", a.name, facts.layers)
                : fmt::format("  attention       {} in some of {} layers\n", a.name, facts.layers);
    text += fmt::format("    kernels       {}\n", a.path);
    if (!a.on_hopper.empty()) text += fmt::format("    on a Hopper   {} (GPU, bf16)\n", a.on_hopper);
    text += fmt::format("    state         {} bytes per sequence and layer, decoding behind {} tokens{}\n", a.state_bytes, facts.prompt,
                        one ? fmt::format(", {} in all", a.state_bytes * static_cast<std::size_t>(facts.layers)) : "");
    text += fmt::format("    maps          {} numbers per layer for stage 1{}\n", a.map_parameters,
                        one ? fmt::format(", {} in all", a.map_parameters * facts.layers) : "");
  }
  return text + fmt::format("  adapter         {} numbers for stage 2\n", facts.adapter_parameters);
}

}  // namespace lolcats
