// Windows: which past keys a query reads exactly.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/policy/size.hpp>

#include <algorithm>
#include <concepts>
#include <limits>
#include <string>
#include <type_traits>

namespace lolcats {

/// A window without bound.
inline constexpr Index unlimited = std::numeric_limits<Index>::max() / 4;

/// A window is one function.  For the query at position n, keys in [begin(n), n] are near (read through softmax) and
/// keys in [0, begin(n)) are far (read through feature maps).  begin never decreases and lies in [0, n + 1].
///
/// `has_near`, `has_far`: can there be such keys at all?  `span()`: no query has more near keys than this.
/// `period()`: the smallest step after which begin repeats its pattern; tiles of queries are aligned to it.
/// All three are constexpr, so that a GPU may call them.
///
/// A window may have attention sinks: with a member `sinks` = k, the first k keys of a sequence are near for every query,
/// too, and keys in [k, begin(n)) are far.  `begin`, `span` and `period` speak of the other keys alone.
// clang-format off
template <class W>
concept Window = std::copyable<W> && requires(const W window, Index n) {
  { W::has_near } -> std::convertible_to<bool>;
  { W::has_far } -> std::convertible_to<bool>;
  { window.begin(n) } -> std::same_as<Index>;
  { window.span() } -> std::same_as<Index>;
  { window.period() } -> std::same_as<Index>;
  { W::name() } -> std::convertible_to<std::string>;
};
// clang-format on

namespace detail {
/// The window of a type that says its size; one that does not must be given.
template <Window W>
  requires std::is_empty_v<W>
constexpr W window_of_type() {
  return {};
}

template <Index Size>
struct WindowSize {
  static_assert(Size > 0, "a window holds at least one key");
  static constexpr Index size = Size;
};
template <>
struct WindowSize<dynamic> {
  Index size = 1;
};
}  // namespace detail

/// Every past key is near: causal softmax attention (LoLCATs, arXiv:2410.10254, Eq. 1).
struct Everything {
  static constexpr bool has_near = true;
  static constexpr bool has_far = false;
  static constexpr Index begin(Index) { return 0; }
  static constexpr Index span() { return unlimited; }
  static constexpr Index period() { return 1; }
  static std::string name() { return "everything"; }
};

/// No key is near: pure linear attention (Eq. 2).
struct Nothing {
  static constexpr bool has_near = false;
  static constexpr bool has_far = true;
  static constexpr Index begin(Index n) { return n + 1; }
  static constexpr Index span() { return 0; }
  static constexpr Index period() { return 1; }
  static std::string name() { return "nothing"; }
};

/// The latest `Width` keys are near, the query's own included (Eq. 7); Mistral's softmax window, too.
template <Index Width = dynamic>
struct Sliding : private detail::WindowSize<Width> {
  static constexpr bool has_near = true;
  static constexpr bool has_far = true;

  Sliding() = default;
  /// For Sliding<dynamic>; `unlimited` makes it Everything.
  constexpr explicit Sliding(Index width)
    requires(Width == dynamic)
      : detail::WindowSize<Width>{width} {
    require<ConfigError>(width > 0, "Sliding: width is {}, expected at least 1", width);
  }

  constexpr Index width() const { return this->size; }
  constexpr Index begin(Index n) const { return std::max<Index>(0, n - width() + 1); }
  constexpr Index span() const { return width(); }
  static constexpr Index period() { return 1; }
  static std::string name() { return "sliding<" + detail::size_name(Width) + ">"; }
};

/// The window of a checkpoint's own softmax; `sliding_window` is what its config says, 0 for none.
constexpr Sliding<> checkpoint_window(Index sliding_window) { return Sliding<>(sliding_window > 0 ? sliding_window : unlimited); }

/// Own tile of `Width` keys and the `Tiles` - 1 tiles before it are near; a whole tile leaves at once.
///
/// Two tiles is what the published code trains with, one is what the paper's kernel describes (Algorithm 1).  Tiles
/// are aligned to the start of the sequence, so that appending a token moves none.
template <Index Width = dynamic, Index Tiles = 2>
struct Terraced : private detail::WindowSize<Width> {
  static_assert(Tiles > 0, "a terrace holds at least the query's own tile");
  static constexpr bool has_near = true;
  static constexpr bool has_far = true;

  Terraced() = default;
  constexpr explicit Terraced(Index width)
    requires(Width == dynamic)
      : detail::WindowSize<Width>{width} {
    require<ConfigError>(width > 0, "Terraced: width is {}, expected at least 1", width);
  }

  constexpr Index width() const { return this->size; }
  constexpr Index begin(Index n) const { return std::max<Index>(0, (n / width() - (Tiles - 1)) * width()); }
  constexpr Index span() const { return Tiles * width(); }
  constexpr Index period() const { return width(); }
  static std::string name() {
    return "terraced<" + detail::size_name(Width) + (Tiles == 2 ? "" : ", " + std::to_string(Tiles)) + ">";
  }
};

/// How many keys at the start of a sequence stay near.
template <Window W>
inline constexpr Index sinks_of = [] {
  if constexpr (requires { W::sinks; }) return Index{W::sinks};
  else return Index{0};
}();

/// Is key j <= n near for query n?
template <Window W>
constexpr bool is_near(const W& window, Index n, Index j) {
  return j < sinks_of<W> || j >= window.begin(n);
}

/// The first `Count` keys of every sequence stay near beside those of W: attention sinks (Xiao et al. 2023,
/// arXiv:2309.17453).  Softmax attention puts much of its weight there, and a window that drops them loses more than their
/// content.
template <Index Count, Window W>
struct Sinks : W {
  static_assert(Count > 0, "there is at least one sink");
  static_assert(sinks_of<W> == 0, "sinks are counted once");
  static_assert(W::has_far, "a window that holds every key holds its sinks");
  static constexpr Index sinks = Count;
  static constexpr bool has_near = true;
  using W::W;
  static std::string name() { return "sinks<" + std::to_string(Count) + ", " + W::name() + ">"; }
};

static_assert(Window<Everything> && Window<Nothing> && Window<Sliding<4>> && Window<Sliding<>> &&
              Window<Terraced<4>> && Window<Terraced<4, 1>> && Window<Terraced<>> && Window<Sinks<2, Sliding<4>>>);

}  // namespace lolcats
