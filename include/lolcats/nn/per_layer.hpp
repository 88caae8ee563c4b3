// The attention of a layer of a model whose layers differ in it.
#pragma once

#include <lolcats/nn/attention.hpp>
#include <lolcats/policy/per_layer.hpp>

#include <string>
#include <utility>
#include <variant>

namespace lolcats {

/// One of the attentions A; the others hold nothing.
template <Backend B, AttentionPolicy... A>
class PerLayerAttention {
 public:
  PerLayerAttention() = default;
  /// Starts with the last of A.
  PerLayerAttention(const B& backend, const Heads& heads, Index sliding_window, Index layer, std::uint64_t seed, Index width = 0)
      : heads_(heads), sliding_window_(sliding_window), layer_(layer), width_(width), seed_(seed) {
    choose(backend, sizeof...(A) - 1);
  }

  /// The index in A of what the layer has.
  Index chosen() const { return static_cast<Index>(attention_.index()); }
  /// Another attention, fresh from the layer's seed; what the layer has learned goes.  Nothing changes if it has it already.
  void choose(const B& backend, Index index) {
    if (index == chosen()) return;
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      ((static_cast<Index>(I) == index && (attention_.template emplace<I>(backend, heads_, sliding_window_, layer_, seed_, width_), true)) || ...);
    }(std::index_sequence_for<A...>{});
  }

  Var<B> operator()(Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences) const {
    return visit([&](const auto& attention) { return attention(tape, x, sequences); });
  }
  Var<B> step(Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences, AttentionState<B>& state,
              std::span<const Index> chosen = {}) const {
    return visit([&](const auto& attention) { return attention.step(tape, x, sequences, state, chosen); });
  }
  const Heads& heads() const { return heads_; }

  template <class F>
  void visit_maps(const std::string& at, F&& f) {
    std::visit([&](auto& attention) { attention.visit_maps(at, f); }, attention_);
  }
  template <class F>
  void visit_fitted(const std::string& at, F&& f) {
    std::visit([&](auto& attention) { attention.visit_fitted(at, f); }, attention_);
  }
  /// f(AttentionLayer) with the one that the layer has.
  template <class F>
  decltype(auto) visit(F&& f) const {
    return std::visit(std::forward<F>(f), attention_);
  }

 private:
  Heads heads_;
  Index sliding_window_ = 0, layer_ = 0, width_ = 0;
  std::uint64_t seed_ = 0;
  std::variant<AttentionLayer<B, A>...> attention_;
};

/// f(AttentionLayer<B, A>) with the attention of a layer, whichever it is.
template <Backend B, AttentionPolicy A, class F>
decltype(auto) visit_attention(const AttentionLayer<B, A>& attention, F&& f) {
  return f(attention);
}
template <Backend B, AttentionPolicy... A, class F>
decltype(auto) visit_attention(const PerLayerAttention<B, A...>& attention, F&& f) {
  return attention.visit(std::forward<F>(f));
}

namespace detail {
template <Backend B, ModelAttention A>
struct AttentionOf {
  using type = AttentionLayer<B, A>;
};
template <Backend B, AttentionPolicy... A>
struct AttentionOf<B, PerLayer<A...>> {
  using type = PerLayerAttention<B, A...>;
};
/// The policy of an attention layer.
template <Backend B, AttentionPolicy A>
A policy_of(const AttentionLayer<B, A>&);
}  // namespace detail

/// The attention of a layer, by what its model takes.
template <Backend B, ModelAttention A>
using LayerAttention = typename detail::AttentionOf<B, A>::type;

}  // namespace lolcats
