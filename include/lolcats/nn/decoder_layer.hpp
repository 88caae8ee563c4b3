// One layer of a Llama: attention and feed-forward, each behind a norm and beside a residual stream.
#pragma once

#include <lolcats/nn/layer_loader.hpp>
#include <lolcats/nn/listed_parameters.hpp>
#include <lolcats/nn/mlp.hpp>
#include <lolcats/nn/norm.hpp>
#include <lolcats/nn/per_layer.hpp>
#include <lolcats/ops/elementwise/elementwise.hpp>
#include <lolcats/ops/rope/rope.hpp>

#include <memory>
#include <span>
#include <string>
#include <utility>

namespace lolcats {

/// The sizes and constants of a decoder layer.
struct LayerSizes {
  Index width = 0;  // C
  Heads heads;
  Index hidden = 0;  // of the feed-forward part
  double eps = 0;
  Index sliding_window = 0;  // of the checkpoint's softmax; 0: none
  bool qkv_bias = false;     // biases of q, k and v
  bool qk_norm = false;      // a norm over every head of q and k, before the rotation
};

/// x -> x + o(attention(q, k, v of norm(x))), then x -> x + mlp(norm(x)).
///
/// Where the checkpoint has them, q, k and v have biases (Qwen2), and q and k a norm per head (Qwen3).
///
/// Cut where the two stages of training need it: the teacher's softmax and the policy's attention are two
/// attentions over one set of projections.  Everything given by reference must outlive the tape's scope.
template <Backend B, ModelAttention A = Softmax<>, AdapterPolicy P = NoAdapter>
class DecoderLayer {
 public:
  DecoderLayer() = default;
  /// Fresh maps and adapters from `seed`; base weights are filled in through `visit_base`.
  DecoderLayer(const B& backend, const LayerSizes& sizes, Index layer, std::uint64_t seed)
      : input_norm_(sizes.width, sizes.eps),
        q_(backend, sizes.width, sizes.heads.queries * sizes.heads.size, layer, seed, sizes.qkv_bias),
        k_(backend, sizes.width, sizes.heads.keys * sizes.heads.size, layer, seed, sizes.qkv_bias),
        v_(backend, sizes.width, sizes.heads.keys * sizes.heads.size, layer, seed, sizes.qkv_bias),
        attention_(backend, sizes.heads, sizes.sliding_window, layer, seed, sizes.width),
        softmax_(backend, sizes.heads, sizes.sliding_window, layer, seed),
        o_(backend, sizes.heads.queries * sizes.heads.size, sizes.width, layer, seed),
        mlp_norm_(sizes.width, sizes.eps),
        mlp_(backend, sizes.width, sizes.hidden, layer, seed) {
    if (sizes.qk_norm) q_norm_ = k_norm_ = Norm<B>(sizes.heads.size, sizes.eps);
  }

  /// Rotated queries and keys, and values, of x (M, C).
  Qkv<B> project(Tape<B>& tape, Var<B> x, const Sequences& sequences, const RopeTable<B>& table) const {
    load();
    const Var<B> normed = input_norm_(tape, x);
    const auto heads = [&](const auto& projection, const Norm<B>& norm) {
      const Var<B> y = projection(tape, normed);
      return norm ? norm.of_heads(tape, y) : y;
    };
    const Var<B> q = heads(q_, q_norm_), k = heads(k_, k_norm_);
    return {rope(tape, q, sequences, table), rope(tape, k, sequences, table), v_(tape, normed), normed, k};
  }

  /// y (M, H * D) by the policy A.
  Var<B> attend(Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences) const {
    return attention_(tape, x, sequences);
  }
  /// y (M, H * D) by the checkpoint's own softmax: the teacher.
  Var<B> attend_softmax(Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences) const {
    return softmax_(tape, x, sequences);
  }

  /// The layer's output (M, C), given its input x and the attention's output y.
  Var<B> finish(Tape<B>& tape, Var<B> x, Var<B> y) const {
    load();
    x = add(tape, x, o_(tape, y));
    return add(tape, x, mlp_(tape, mlp_norm_(tape, x)));
  }

  Var<B> forward(Tape<B>& tape, Var<B> x, const Sequences& sequences, const RopeTable<B>& table) const {
    return finish(tape, x, attend(tape, project(tape, x, sequences, table), sequences));
  }
  /// The teacher's layer: softmax whatever A is.
  Var<B> forward_softmax(Tape<B>& tape, Var<B> x, const Sequences& sequences, const RopeTable<B>& table) const {
    return finish(tape, x, attend_softmax(tape, project(tape, x, sequences, table), sequences));
  }

  /// `forward` for new tokens of sequences that `state` has read up to here, or of those among them that `chosen` names;
  /// records nothing.
  Var<B> step(Tape<B>& tape, Var<B> x, const Sequences& sequences, const RopeTable<B>& table, AttentionState<B>& state,
              std::span<const Index> chosen = {}) const {
    const typename Tape<B>::NoGradient quiet(tape);
    return finish(tape, x, attention_.step(tape, project(tape, x, sequences, table), sequences, state, chosen));
  }

  /// From here on the base weights come from `loader`, whose layer `index` this is; null: they are the layer's own.
  void load_from(std::shared_ptr<LayerLoader<B>> loader, Index index) {
    loader_ = std::move(loader);
    index_ = index;
  }
  /// Gets them, as every use does.
  void load() const {
    if (!loader_) return;
    auto weight = loader_->load(index_).begin();
    detail::ListedParameters<B> own;
    const_cast<DecoderLayer*>(this)->visit_base("", own);
    for (const auto& item : own) *item.parameter = *weight++;
  }

  LayerAttention<B, A>& attention() { return attention_; }
  const LayerAttention<B, A>& attention() const { return attention_; }

  /// Adapters off: the base model's projections, at their cost.  Not while the adapters are merged.
  void use_adapters(bool on) {
    visit_projections("", [on](const std::string&, auto& projection) { projection.use_adapter(on); });
  }
  void merge_adapters(const B& backend) {
    visit_projections("", [&](const std::string&, auto& projection) { projection.merge(backend); });
  }
  void unmerge_adapters() {
    visit_projections("", [](const std::string&, auto& projection) { projection.unmerge(); });
  }

  /// f(name, shape, parameter); `at` is "model.layers.0.".
  template <class F>
  void visit_base(const std::string& at, F&& f) {
    input_norm_.visit_base(at + "input_layernorm", f);
    mlp_norm_.visit_base(at + "post_attention_layernorm", f);
    if (q_norm_) {
      q_norm_.visit_base(at + "self_attn.q_norm", f);
      k_norm_.visit_base(at + "self_attn.k_norm", f);
    }
    visit_projections(at, [&](const std::string& name, auto& projection) { projection.visit_base(name, f); });
  }
  template <class F>
  void visit_maps(const std::string& at, F&& f) {
    attention_.visit_maps(at + "self_attn.", f);
  }
  template <class F>
  void visit_fitted(const std::string& at, F&& f) {
    attention_.visit_fitted(at + "self_attn.", f);
  }
  template <class F>
  void visit_adapter(const std::string& at, F&& f) {
    visit_projections(at, [&](const std::string& name, auto& projection) { projection.visit_adapter(name, f); });
  }

 private:
  template <class F>
  void visit_projections(const std::string& at, F&& f) {
    const auto visit = [&](auto& projection) { f(at + std::string(module_of(projection.which)), projection); };
    visit(q_), visit(k_), visit(v_), visit(o_);
    mlp_.visit_projections(visit);
  }

  Norm<B> input_norm_;
  Projection<B, P, Projections::q> q_;
  Projection<B, P, Projections::k> k_;
  Projection<B, P, Projections::v> v_;
  Norm<B> q_norm_, k_norm_;  // over D; of width 0 if there are none
  LayerAttention<B, A> attention_;
  AttentionLayer<B, Softmax<>> softmax_;
  Projection<B, P, Projections::o> o_;
  Norm<B> mlp_norm_;
  Mlp<B, P> mlp_;
  std::shared_ptr<LayerLoader<B>> loader_;
  Index index_ = 0;
};

}  // namespace lolcats
