// Several attentions in one model, one in each layer.
#pragma once

#include <lolcats/policy/attention.hpp>

#include <string>
#include <type_traits>

namespace lolcats {

/// Each layer has one of these attentions.  Which one, a list says that the model carries and its checkpoint repeats: the
/// attentions are in the type, the places are a value.
///
///   using Student = Llama<B, PerLayer<Softmax<>, Hybrid<Hedgehog<64>, Terraced<64>>>, Lora<8>>;
///   auto student = convert<Student>(teacher, seed, {1, 1, 0, 1});  // layer 2 keeps its softmax
template <AttentionPolicy First, AttentionPolicy Second, AttentionPolicy... Others>
struct PerLayer {
  static constexpr Index count = 2 + static_cast<Index>(sizeof...(Others));
  static std::string name() {
    return "per_layer<" + First::name() + ", " + Second::name() + (std::string() + ... + (", " + Others::name())) + ">";
  }
};

namespace detail {
template <class A>
inline constexpr bool is_per_layer = false;
template <class... A>
inline constexpr bool is_per_layer<PerLayer<A...>> = true;
}  // namespace detail

/// Several attentions, one in each layer.
template <class A>
concept PerLayerPolicy = detail::is_per_layer<A>;

/// What a model takes: one attention for all layers, or several.
template <class A>
concept ModelAttention = AttentionPolicy<A> || PerLayerPolicy<A>;

/// Has a model with this attention, or any of its layers, feature maps?
template <ModelAttention A>
inline constexpr bool any_maps = has_maps<A>;
template <AttentionPolicy... A>
inline constexpr bool any_maps<PerLayer<A...>> = (has_maps<A> || ...);

/// The most that a head's cache holds, where all layers have one; otherwise 0.
template <ModelAttention A>
inline constexpr Index cache_places = MemoryOf<A>::Cache::size;
template <AttentionPolicy... A>
inline constexpr Index cache_places<PerLayer<A...>> = 0;

}  // namespace lolcats
