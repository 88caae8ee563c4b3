// A Llama with any attention and any adapter.
#pragma once

#include <lolcats/io/llama_config.hpp>
#include <lolcats/model/rope_frequencies.hpp>
#include <lolcats/nn/decoder_layer.hpp>
#include <lolcats/nn/embedding.hpp>
#include <lolcats/ops/cross_entropy/cross_entropy.hpp>
#include <lolcats/tape/checkpoint.hpp>

#include <concepts>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace lolcats {

/// Rows of tokens with labels: Batch of data/batch.hpp, or a type with the same members.
template <class T>
concept LabelledTokens = requires(const T& batch) {
  { batch.tokens } -> std::convertible_to<std::span<const Index>>;
  { batch.labels } -> std::convertible_to<std::span<const Index>>;
  { batch.sequences } -> std::convertible_to<const Sequences&>;
};

/// What each decoder layer of a model is made of.
inline LayerSizes layer_sizes(const LlamaConfig& config) {
  return {.width = config.hidden_size,
          .heads = {config.heads, config.kv_heads, config.head_dim},
          .hidden = config.intermediate_size,
          .eps = config.rms_eps,
          .sliding_window = config.sliding_window,
          .qkv_bias = config.qkv_bias,
          .qk_norm = config.qk_norm};
}

namespace detail {

/// Llama::hidden and AnyLlama::hidden.
template <class Model, Backend B>
Var<B> hidden_of(Model& model, Tape<B>& tape, std::span<const Index> tokens, const Sequences& sequences, bool recompute) {
  require<ShapeError>(static_cast<Index>(tokens.size()) == sequences.rows(), "Llama::hidden: {} tokens, expected the {} rows of the sequences",
                      tokens.size(), sequences.rows());
  const RopeTable<B>& table = model.rope(sequences);
  Var<B> x = model.embed(tape, tokens);
  for (Index layer = 0; layer < model.layer_count(); ++layer) {
    const auto run = [&model, layer, &sequences, &table](Tape<B>& t, Var<B> in) {
      return model.layer(layer).forward(t, in, sequences, table);
    };
    x = recompute || model.layer_loader() ? checkpoint(tape, run, x) : run(tape, x);
  }
  return model.normalize(tape, x);
}

}  // namespace detail

/// Decoder layers between an embedding and a head.  Llama<B> is the softmax teacher; A and P say how a student differs.
///
/// Copying a model shares all weights (see Parameter).  Operations keep pointers to the model, so it must neither move
/// nor disappear before the tape's scope ends; the same holds for tokens, labels and sequences.
template <Backend B, ModelAttention A = Softmax<>, AdapterPolicy P = NoAdapter>
class Llama {
 public:
  using Device = B;
  using Attention = A;
  using Adapter = P;

  /// Base weights come from source(name, shape) -> Parameter<B>, by Hugging Face's names; maps start by their rule,
  /// gamma at 0.1 and adapters at nothing, all from `seed`.  Throws ConfigError for sizes that cannot be built.
  template <class Source>
  Llama(LlamaConfig config, Source&& source, std::uint64_t seed = 0, B backend = {})
      : config_(std::move(config)),
        backend_(backend),
        embedding_(config_.vocab_size, config_.hidden_size),
        norm_(config_.hidden_size, config_.rms_eps) {
    config_.validate();
    const LayerSizes sizes = layer_sizes(config_);
    for (Index i = 0; i < config_.layers; ++i) layers_.emplace_back(backend, sizes, i, seed);
    rope_ = RopeTable<B>(rope_frequencies(config_.rope, config_.head_dim), std::min<Index>(config_.max_position, 2048),
                         backend);
    for (const auto& [name, shape, parameter] : listed_base()) {
      *parameter = source(name, shape);
      check_shape("Llama", name.c_str(), parameter->shape(), shape);
    }
  }

  const LlamaConfig& config() const { return config_; }
  B backend() const { return backend_; }
  /// "llama<cpu<float>, hybrid<hedgehog<64>, terraced<64>>, lora<8, qkvo>>".
  static std::string name() {
    return fmt::format("llama<{}, {}{}>", B::name(), A::name(), P::targets.bits ? ", " + P::name() : "");
  }

  static std::string attention_name() { return A::name(); }

  /// The index in PerLayer of each layer's attention; empty where all layers have the one that A is.
  std::vector<Index> attention_of_layer() const {
    std::vector<Index> list;
    if constexpr (PerLayerPolicy<A>) {
      for (const auto& layer : layers_) list.push_back(layer.attention().chosen());
    }
    return list;
  }
  /// Gives layers another attention of PerLayer, fresh from the model's seed; those that have it already keep what they
  /// have learned.  Throws ConfigError for a list that does not fit, and nothing has changed then.
  void choose_attention(const std::vector<Index>& attention_of_layer)
    requires PerLayerPolicy<A>
  {
    require<ConfigError>(attention_of_layer.size() == layers_.size(),
                         "Llama::choose_attention: {} numbers, expected {}, one per layer", attention_of_layer.size(), layers_.size());
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      require<ConfigError>(attention_of_layer[i] >= 0 && attention_of_layer[i] < A::count,
                           "Llama::choose_attention: attention {} in layer {}, expected 0 to {} of {}", attention_of_layer[i], i,
                           A::count - 1, A::name());
    }
    for (std::size_t i = 0; i < layers_.size(); ++i) layers_[i].attention().choose(backend_, attention_of_layer[i]);
  }

  Index layer_count() const { return static_cast<Index>(layers_.size()); }
  DecoderLayer<B, A, P>& layer(Index i) { return layers_.at(static_cast<std::size_t>(i)); }
  const DecoderLayer<B, A, P>& layer(Index i) const { return layers_.at(static_cast<std::size_t>(i)); }

  /// x (M, C), what the first layer reads.
  Var<B> embed(Tape<B>& tape, std::span<const Index> tokens) { return embedding_(tape, tokens); }
  /// The final norm.
  Var<B> normalize(Tape<B>& tape, Var<B> x) { return norm_(tape, x); }
  /// (V, C); the embedding's table if the two are tied.
  Weight<B> head() const { return config_.tied_embeddings ? embedding_.table() : head_; }

  /// (M, C) after the final norm.  `recompute` keeps only the layers' inputs and runs each layer again in the backward
  /// pass, as is always done where a loader brings the layers' weights.
  Var<B> hidden(Tape<B>& tape, std::span<const Index> tokens, const Sequences& sequences, bool recompute = false) {
    return detail::hidden_of(*this, tape, tokens, sequences, recompute);
  }

  /// (M, V).  Training and evaluation use `loss`, which never forms them.
  Var<B> logits(Tape<B>& tape, std::span<const Index> tokens, const Sequences& sequences) {
    return linear(tape, hidden(tape, tokens, sequences), head());
  }

  /// scale * sum of -log p(label) over the rows with a label, in nats.
  template <LabelledTokens Batch>
  Loss<B> loss(Tape<B>& tape, const Batch& batch, double scale, bool recompute = false) {
    const Var<B> x = hidden(tape, batch.tokens, batch.sequences, recompute);
    return cross_entropy<B>(tape, x, head(), batch.labels, scale);
  }

  /// The rotary table as it is; its first 2048 positions are always there.
  RopeTable<B>& rope() { return rope_; }
  /// The same, long enough for `sequences`.
  RopeTable<B>& rope(const Sequences& sequences) {
    for (const Extent& e : sequences.extents()) rope_.reserve(e.position + e.length);
    return rope_;
  }

  /// From here on the layers get their base weights from `loader` (nn/layer_loader.hpp); null: they have their own.
  void load_layers_from(std::shared_ptr<LayerLoader<B>> loader) {
    for (std::size_t i = 0; i < layers_.size(); ++i) layers_[i].load_from(loader, static_cast<Index>(i));
    loader_ = std::move(loader);
  }
  const std::shared_ptr<LayerLoader<B>>& layer_loader() const { return loader_; }
  /// Throws ConfigError naming who asks unless all weights are in memory.
  void require_whole_base(const char* who) const {
    require<ConfigError>(!loader_, "{}: the base's layers come and go, expected a model whose weights are all in memory", who);
  }

  /// All weights of the checkpoint, by Hugging Face's names.  Pointers are valid until the model moves.
  Parameters<B> base_parameters() { return detail::parameters_of(listed_base()); }
  /// What stage 1 trains: maps and window factors, by the published names.
  Parameters<B> transfer_parameters() {
    Listed list;
    for (Index i = 0; i < layer_count(); ++i) layer(i).visit_maps(place(i), list);
    return detail::parameters_of(list);
  }
  /// All that the attention has beyond the base: what stage 1 trains, and what is fitted (eval/fit_scores.hpp).
  Parameters<B> attention_parameters() {
    Listed list;
    for (Index i = 0; i < layer_count(); ++i) layer(i).visit_maps(place(i), list);
    for (Index i = 0; i < layer_count(); ++i) layer(i).visit_fitted(place(i), list);
    return detail::parameters_of(list);
  }
  /// What stage 2 trains: "model.layers.0.self_attn.q_proj.lora_A.weight" and so on.
  Parameters<B> adapter_parameters() {
    Listed list;
    for (Index i = 0; i < layer_count(); ++i) layer(i).visit_adapter(place(i), list);
    return detail::parameters_of(list);
  }

  /// The same lists of a model that does not change.
  ConstParameters<B> base_parameters() const { return read_only(listed().base_parameters()); }
  ConstParameters<B> transfer_parameters() const { return read_only(listed().transfer_parameters()); }
  ConstParameters<B> attention_parameters() const { return read_only(listed().attention_parameters()); }
  ConstParameters<B> adapter_parameters() const { return read_only(listed().adapter_parameters()); }

  /// Switches all adapters on or off: off, the model is the base model at its cost.  Throws Error while merged.
  void use_adapters(bool on) {
    require<Error>(on || !merged_, "Llama::use_adapters: the adapters are merged into the weights; unmerge them first");
    for (auto& layer : layers_) layer.use_adapters(on);
    uses_adapters_ = on;
  }
  bool uses_adapters() const { return uses_adapters_; }
  /// Adds the adapters' updates to the weights, in storage of its own: the base weights, which others may share, stay
  /// as they are and come back, the very same, with `unmerge_adapters`.  A second call does nothing.
  /// Errors: ConfigError without a whole base.
  void merge_adapters() {
    require_whole_base("Llama::merge_adapters");
    for (auto& layer : layers_) layer.merge_adapters(backend_);
    merged_ = P::targets.bits != 0;
  }
  void unmerge_adapters() {
    for (auto& layer : layers_) layer.unmerge_adapters();
    merged_ = false;
  }
  bool merged() const { return merged_; }

  /// f(name, shape, parameter) for every base weight: the one list of names and shapes.
  template <class F>
  void visit_base(F&& f) {
    for (const auto& [name, shape, parameter] : listed_base()) f(name, shape, *parameter);
  }

 private:
  using Listed = detail::ListedParameters<B>;

  /// To make a list of parameters, which changes nothing.
  Llama& listed() const { return const_cast<Llama&>(*this); }
  Listed listed_base() {
    Listed list;
    embedding_.visit_base("model.embed_tokens", list);
    for (Index i = 0; i < layer_count(); ++i) layer(i).visit_base(place(i), list);
    norm_.visit_base("model.norm", list);
    if (!config_.tied_embeddings) list("lm_head.weight", Shape{config_.vocab_size, config_.hidden_size}, head_);
    return list;
  }
  static std::string place(Index layer) { return fmt::format("model.layers.{}.", layer); }

  LlamaConfig config_;
  B backend_;
  Embedding<B> embedding_;
  std::deque<DecoderLayer<B, A, P>> layers_;  // which never moves one, so that no code to do so is compiled
  Norm<B> norm_;
  Parameter<B> head_;  // (V, C); empty if tied
  RopeTable<B> rope_;
  std::shared_ptr<LayerLoader<B>> loader_;
  bool uses_adapters_ = true;
  bool merged_ = false;
};

/// Any Llama.
template <class M>
inline constexpr bool is_llama = false;
template <Backend B, ModelAttention A, AdapterPolicy P>
inline constexpr bool is_llama<Llama<B, A, P>> = true;
template <class M>
concept LlamaModel = is_llama<M>;

}  // namespace lolcats
