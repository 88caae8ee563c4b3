// A Llama whose attention and adapter are known at run time only: what need not be compiled for each works on this.
#pragma once

#include <lolcats/model/llama.hpp>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace lolcats {

template <Backend B>
class AnyLlama;

/// A layer of AnyLlama, as DecoderLayer.  A handle: copying it copies nothing, and it is valid as long as the model is.
template <Backend B>
class AnyLayer {
 public:
  AnyLayer(const AnyLlama<B>& model, Index layer) : model_(&model), layer_(layer) {}

  Qkv<B> project(Tape<B>& tape, Var<B> x, const Sequences& sequences, const RopeTable<B>& table) const {
    return model_->project(layer_, tape, x, sequences, table);
  }
  Var<B> attend(Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences) const { return model_->attend(layer_, tape, x, sequences); }
  Var<B> attend_softmax(Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences) const {
    return model_->attend_softmax(layer_, tape, x, sequences);
  }
  Var<B> finish(Tape<B>& tape, Var<B> x, Var<B> y) const { return model_->finish(layer_, tape, x, y); }
  void load() const { model_->load(layer_); }
  Var<B> forward(Tape<B>& tape, Var<B> x, const Sequences& sequences, const RopeTable<B>& table) const {
    return finish(tape, x, attend(tape, project(tape, x, sequences, table), sequences));
  }
  Var<B> step(Tape<B>& tape, Var<B> x, const Sequences& sequences, const RopeTable<B>& table, AttentionState<B>& state,
              std::span<const Index> chosen = {}) const {
    require<Error>(static_cast<bool>(model_->attend_step), "AnyLlama: {} was made without decoding, see set_attend_step", model_->name());
    const typename Tape<B>::NoGradient quiet(tape);
    return finish(tape, x, model_->attend_step(layer_, tape, project(tape, x, sequences, table), sequences, state, chosen));
  }

 private:
  const AnyLlama<B>* model_;
  Index layer_;
};

/// What Llama<B, A, P> does for every A and P.  Training, perplexity and generation of a Llama run on it, so that their code is
/// compiled once for a backend; a call costs nothing beside the work of a layer.
template <Backend B>
class AnyLlama {
 public:
  using Device = B;

  AnyLlama() = default;
  AnyLlama(const AnyLlama&) = delete;
  AnyLlama& operator=(const AnyLlama&) = delete;
  virtual ~AnyLlama() = default;

  virtual const LlamaConfig& config() const = 0;
  virtual B backend() const = 0;
  /// Of the model, and of its attention.
  virtual std::string name() const = 0;
  virtual std::string attention_name() const = 0;
  virtual std::vector<Index> attention_of_layer() const = 0;

  virtual Var<B> embed(Tape<B>& tape, std::span<const Index> tokens) = 0;
  virtual Var<B> normalize(Tape<B>& tape, Var<B> x) = 0;
  virtual Weight<B> head() const = 0;
  virtual RopeTable<B>& rope(const Sequences& sequences) = 0;

  virtual Parameters<B> base_parameters() = 0;
  virtual ConstParameters<B> base_parameters() const = 0;
  virtual Parameters<B> transfer_parameters() = 0;
  virtual Parameters<B> attention_parameters() = 0;
  virtual Parameters<B> adapter_parameters() = 0;

  virtual const std::shared_ptr<LayerLoader<B>>& layer_loader() const = 0;
  virtual void require_whole_base(const char* who) const = 0;
  virtual void use_adapters(bool on) = 0;
  virtual bool uses_adapters() const = 0;

  Index layer_count() const { return config().layers; }
  AnyLayer<B> layer(Index i) const { return {*this, i}; }
  Var<B> hidden(Tape<B>& tape, std::span<const Index> tokens, const Sequences& sequences, bool recompute = false) {
    return detail::hidden_of(*this, tape, tokens, sequences, recompute);
  }
  template <LabelledTokens Batch>
  Loss<B> loss(Tape<B>& tape, const Batch& batch, double scale, bool recompute = false) {
    const Var<B> x = hidden(tape, batch.tokens, batch.sequences, recompute);
    return cross_entropy<B>(tape, x, head(), batch.labels, scale);
  }

  /// What some units do without, and then need not compile: attention by a state (AttentionLayer::step), and the comparison of
  /// attention weights with the teacher's that stage 1 may make.  Null until they are set.
  std::function<Var<B>(Index layer, Tape<B>&, const Qkv<B>&, const Sequences&, AttentionState<B>&, std::span<const Index> chosen)> attend_step;
  std::function<Loss<B>(Index layer, Tape<B>&, const Qkv<B>&, const Sequences&, double scale)> weight_cross_entropy;

 private:
  friend class AnyLayer<B>;
  virtual Qkv<B> project(Index layer, Tape<B>& tape, Var<B> x, const Sequences& sequences, const RopeTable<B>& table) const = 0;
  virtual Var<B> attend(Index layer, Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences) const = 0;
  virtual Var<B> attend_softmax(Index layer, Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences) const = 0;
  virtual Var<B> finish(Index layer, Tape<B>& tape, Var<B> x, Var<B> y) const = 0;
  virtual void load(Index layer) const = 0;
};

/// A Llama as AnyLlama; the model must outlive it.
template <LlamaModel Model>
class AnyLlamaOf final : public AnyLlama<typename Model::Device> {
 public:
  using B = typename Model::Device;

  explicit AnyLlamaOf(Model& model) : model_(model) {}

  void set_attend_step() {
    this->attend_step = [this](Index layer, Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences, AttentionState<B>& state,
                               std::span<const Index> chosen) { return at(layer).attention().step(tape, x, sequences, state, chosen); };
  }

  const LlamaConfig& config() const override { return model_.config(); }
  B backend() const override { return model_.backend(); }
  std::string name() const override { return Model::name(); }
  std::string attention_name() const override { return Model::Attention::name(); }
  std::vector<Index> attention_of_layer() const override { return model_.attention_of_layer(); }

  Var<B> embed(Tape<B>& tape, std::span<const Index> tokens) override { return model_.embed(tape, tokens); }
  Var<B> normalize(Tape<B>& tape, Var<B> x) override { return model_.normalize(tape, x); }
  Weight<B> head() const override { return model_.head(); }
  RopeTable<B>& rope(const Sequences& sequences) override { return model_.rope(sequences); }

  Parameters<B> base_parameters() override { return model_.base_parameters(); }
  ConstParameters<B> base_parameters() const override { return std::as_const(model_).base_parameters(); }
  Parameters<B> transfer_parameters() override { return model_.transfer_parameters(); }
  Parameters<B> attention_parameters() override { return model_.attention_parameters(); }
  Parameters<B> adapter_parameters() override { return model_.adapter_parameters(); }

  const std::shared_ptr<LayerLoader<B>>& layer_loader() const override { return model_.layer_loader(); }
  void require_whole_base(const char* who) const override { model_.require_whole_base(who); }
  void use_adapters(bool on) override { model_.use_adapters(on); }
  bool uses_adapters() const override { return model_.uses_adapters(); }

 private:
  const auto& at(Index layer) const { return std::as_const(model_).layer(layer); }

  Qkv<B> project(Index layer, Tape<B>& tape, Var<B> x, const Sequences& sequences, const RopeTable<B>& table) const override {
    return at(layer).project(tape, x, sequences, table);
  }
  Var<B> attend(Index layer, Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences) const override {
    return at(layer).attend(tape, x, sequences);
  }
  Var<B> attend_softmax(Index layer, Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences) const override {
    return at(layer).attend_softmax(tape, x, sequences);
  }
  Var<B> finish(Index layer, Tape<B>& tape, Var<B> x, Var<B> y) const override { return at(layer).finish(tape, x, y); }
  void load(Index layer) const override { at(layer).load(); }

  Model& model_;
};

}  // namespace lolcats
