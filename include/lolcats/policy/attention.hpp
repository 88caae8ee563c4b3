// Attentions: a window, a feature map and a memory.
#pragma once

#include <lolcats/policy/feature_map/feature_map.hpp>
#include <lolcats/policy/memory.hpp>
#include <lolcats/policy/ratio.hpp>
#include <lolcats/policy/window.hpp>

#include <concepts>
#include <string>
#include <type_traits>
#include <utility>

namespace lolcats {

/// The absence of a feature map: far keys are not read at all.
struct NoMap {
  static constexpr Index projected = 0;
  static constexpr int count = 0;
  static std::string name() { return "none"; }
};

/// Features that were computed by other operations and are handed to the attention as they are.
struct GivenFeatures {
  static constexpr Index projected = dynamic;
  static constexpr int count = 1;
  static std::string name() { return "given"; }
};

/// Options of Hybrid and Linear, beside a memory (policy/memory.hpp).
struct Affine {};           ///< far keys weigh 1 - gamma instead of 1
struct SharedMaps {};       ///< one map serves queries and keys
struct KeyMapsPerGroup {};  ///< one key map per key/value head, so that states can be shared by its query heads

/// In training, with a probability in each step and layer, no key is near: the maps learn to carry what the window
/// otherwise carries for them.  The probability goes from P to Last in a straight line over the first updates of a stage,
/// and stays there.  Not in the paper; by schedule as in Benfeghoul et al. 2025, arXiv:2510.05901.
template <Ratio P, Ratio Last = P, Index Updates = 1>
struct WindowDropout {
  static_assert(P.value() >= 0 && P.value() <= 1 && Last.value() >= 0 && Last.value() <= 1, "a probability lies in [0, 1]");
  static_assert(Updates > 0, "a schedule takes at least one update");
};

/// The probability of a WindowDropout, or of none.
struct DropoutSchedule {
  double first = 0, last = 0;
  Index updates = 1;

  constexpr bool acts() const { return first > 0 || last > 0; }
  constexpr double at(Index update) const {
    return update >= updates ? last : first + (last - first) * static_cast<double>(update) / static_cast<double>(updates);
  }
};

namespace detail {
template <class Option>
inline constexpr DropoutSchedule window_dropout_of{};
template <Ratio P, Ratio Last, Index Updates>
inline constexpr DropoutSchedule window_dropout_of<WindowDropout<P, Last, Updates>>{P.value(), Last.value(), Updates};
template <class Option>
inline constexpr bool is_window_dropout = false;
template <Ratio P, Ratio Last, Index Updates>
inline constexpr bool is_window_dropout<WindowDropout<P, Last, Updates>> = true;
template <class... Options>
inline constexpr int window_dropouts_among = (0 + ... + (is_window_dropout<Options> ? 1 : 0));
template <class... Options>
constexpr DropoutSchedule window_dropout_among() {
  DropoutSchedule found;
  ((is_window_dropout<Options> ? void(found = window_dropout_of<Options>) : void()), ...);
  return found;
}

/// The memory among the options; Sum if none is.
template <class Default, class... Options>
struct MemoryAmong {
  using type = Default;
};
template <class Default, class Option, class... Options>
struct MemoryAmong<Default, Option, Options...> : MemoryAmong<Default, Options...> {};
template <class Default, MemoryPolicy M, class... Options>
struct MemoryAmong<Default, M, Options...> {
  using type = M;
};
template <class... Options>
inline constexpr int memories_among = (0 + ... + (MemoryPolicy<Options> ? 1 : 0));

template <class Option, class... Options>
inline constexpr bool has_option = (std::is_same_v<Option, Options> || ...);
template <class... Options>
std::string option_names() {
  std::string text;
  if (has_option<Affine, Options...>) text += ", affine";
  if (has_option<SharedMaps, Options...>) text += ", shared maps";
  if (has_option<KeyMapsPerGroup, Options...>) text += ", key maps per group";
  if constexpr (window_dropouts_among<Options...> > 0) {
    constexpr DropoutSchedule dropout = window_dropout_among<Options...>();
    text += fmt::format(", window dropout {}", dropout.first);
    if (dropout.last != dropout.first) text += fmt::format(" to {} in {} updates", dropout.last, dropout.updates);
  }
  using M = typename MemoryAmong<Sum, Options...>::type;
  if constexpr (!std::is_same_v<M, Sum>) text += ", " + M::name();
  return text;
}
template <class... Options>
inline constexpr bool known_options = ((std::is_same_v<Options, Affine> || std::is_same_v<Options, SharedMaps> ||
                                        std::is_same_v<Options, KeyMapsPerGroup> || is_window_dropout<Options> ||
                                        MemoryPolicy<Options>) && ...) && memories_among<Options...> <= 1 && window_dropouts_among<Options...> <= 1;
}  // namespace detail

/// The checkpoint's own softmax attention: causal, within the sliding window that its config gives, if any.
///
/// Softmax<Window> overrides the window: Softmax<Sliding<64>>.  Keys beyond it are not read, but for those that a memory
/// with a cache keeps: Softmax<Sinks<4, Sliding<124>>, Kept<384, LearnedScore>>.
template <Window W = Sliding<dynamic>, MemoryPolicy M = Sum>
  requires(!decays<M> && !corrects<M> && (!caches<M> || (W::has_near && W::has_far && !recalls_values<M>)))
struct Softmax {
  using Map = NoMap;
  using Window = W;
  using Memory = M;
  static constexpr bool affine = false;
  static constexpr bool shared_maps = false;
  static constexpr bool key_maps_per_group = false;
  static std::string name() {
    if constexpr (caches<M>) return "softmax<" + W::name() + ", " + M::name() + ">";
    else return std::is_same_v<W, Sliding<dynamic>> ? "softmax" : "softmax<" + W::name() + ">";
  }
};

/// Near keys by softmax, far keys by feature maps, one numerator and one denominator (arXiv:2410.10254, Eq. 7):
///
///   p_nj = gamma exp(q_n.k_j / sqrt(d) - c_n)   for near keys j, c_n the largest near score
///   p_nj = beta phi_q(q_n).phi_k(k_j)           for far keys,    beta = 1, or 1 - gamma if Affine; times what the
///                                               memory forgets of them
///   y_n  = sum_j p_nj v_j / sum_j p_nj
///
/// gamma = sigmoid(window_factors), one per head, starting at 0.1.  c_n scales only the near part, so it is part of
/// the function and the gradient flows through it [QUIRKS 1].  With a memory that corrects, y is the sum that DeltaRule
/// (policy/memory.hpp) describes, gamma starts at 0.9, and there is nothing to be Affine.
template <FeatureMap M, Window W, class... Options>
  requires(W::has_near && W::has_far && detail::known_options<Options...> &&
           !(detail::has_option<Affine, Options...> && corrects<typename detail::MemoryAmong<Sum, Options...>::type>))
struct Hybrid {
  using Map = M;
  using Window = W;
  using Memory = typename detail::MemoryAmong<Sum, Options...>::type;
  static constexpr bool affine = detail::has_option<Affine, Options...>;
  static constexpr bool shared_maps = detail::has_option<SharedMaps, Options...>;
  static constexpr bool key_maps_per_group = detail::has_option<KeyMapsPerGroup, Options...>;
  static constexpr DropoutSchedule window_dropout = detail::window_dropout_among<Options...>();
  static std::string name() {
    return "hybrid<" + M::name() + ", " + W::name() + detail::option_names<Options...>() + ">";
  }
};

/// Feature maps alone (Eq. 2), with 1e-12 in the denominator of a memory that sums.  No key is read raw, so there is no cache.
template <FeatureMap M, class... Options>
  requires(detail::known_options<Options...> && !detail::has_option<Affine, Options...> &&
           !(detail::is_window_dropout<Options> || ...) && !caches<typename detail::MemoryAmong<Sum, Options...>::type>)
struct Linear {
  using Map = M;
  using Window = Nothing;
  using Memory = typename detail::MemoryAmong<Sum, Options...>::type;
  static constexpr bool affine = false;
  static constexpr bool shared_maps = detail::has_option<SharedMaps, Options...>;
  static constexpr bool key_maps_per_group = detail::has_option<KeyMapsPerGroup, Options...>;
  static std::string name() { return "linear<" + M::name() + detail::option_names<Options...>() + ">"; }
};

/// Any of the above, or a type with the same members.
// clang-format off
template <class A>
concept AttentionPolicy = Window<typename A::Window> && requires {
  typename A::Map;
  { A::affine } -> std::convertible_to<bool>;
  { A::shared_maps } -> std::convertible_to<bool>;
  { A::key_maps_per_group } -> std::convertible_to<bool>;
  { A::name() } -> std::convertible_to<std::string>;
};
// clang-format on

/// Does the attention have feature maps?
template <AttentionPolicy A>
inline constexpr bool has_maps = !std::is_same_v<typename A::Map, NoMap>;

/// Does an attention with this map and window read far keys through features?
template <class Map, Window W>
inline constexpr bool reads_far = W::has_far && !std::is_same_v<Map, NoMap>;

namespace detail {
template <class A>
struct MemoryNamed {
  using type = Sum;
};
template <class A>
  requires requires { typename A::Memory; }
struct MemoryNamed<A> {
  using type = typename A::Memory;
};
}  // namespace detail

/// How an attention remembers far keys; Sum where its type does not say.
template <AttentionPolicy A>
using MemoryOf = typename detail::MemoryNamed<A>::type;

namespace detail {
template <class Option>
inline constexpr bool is_cache = false;
template <MemoryPolicy M>
inline constexpr bool is_cache<M> = caches<M>;
template <class A>
struct CacheLeftOut {
  using type = A;
};
template <Window W, MemoryPolicy M>
  requires caches<M>
struct CacheLeftOut<Softmax<W, M>> {
  using type = Softmax<W>;
};
template <FeatureMap M, Window W, class... Options>
struct CacheLeftOut<Hybrid<M, W, Options...>> {
  using type = Hybrid<M, W, std::conditional_t<is_cache<Options>, Sum, Options>...>;
};
}  // namespace detail

/// The same attention without its cache, if it has one.
template <AttentionPolicy A>
using WithoutCache = typename detail::CacheLeftOut<A>::type;

/// Can a student that was trained WithoutCache be given its cache?  Scores that need no fit can be computed at once.
template <AttentionPolicy A>
inline constexpr bool cache_needs_no_training = !std::is_same_v<A, WithoutCache<A>> && !projects_scores<MemoryOf<A>>;

/// How often training drops its window; see WindowDropout.
template <AttentionPolicy A>
inline constexpr DropoutSchedule window_dropout = [] {
  if constexpr (requires { A::window_dropout; }) return A::window_dropout;
  else return DropoutSchedule{};
}();

/// Does it mix near and far keys, that is, does it have a gamma?
template <AttentionPolicy A>
inline constexpr bool has_mixing = has_maps<A> && A::Window::has_near;

static_assert(AttentionPolicy<Softmax<>>);

}  // namespace lolcats
