// Whether feature maps have anything to do beside a window.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/policy/per_layer.hpp>

#include <type_traits>

namespace lolcats {

namespace detail {
template <AttentionPolicy A>
void check_maps_in_use(std::type_identity<A>, Index longest) {
  using W = typename A::Window;
  if constexpr (has_maps<A> && W::has_near) {
    require<ConfigError>(W{}.begin(longest - 1) > sinks_of<W>,
                         "{} reads all keys of a sequence of {} tokens exactly, expected a window with keys beyond it",
                         W::name(), longest);
  }
}
template <AttentionPolicy... A>
void check_maps_in_use(std::type_identity<PerLayer<A...>>, Index longest) {
  (check_maps_in_use(std::type_identity<A>{}, longest), ...);
}
}  // namespace detail

/// A window that leaves no key to the maps makes the student its own teacher: there is nothing to learn, and nothing to
/// measure.  Throws ConfigError naming the window unless a sequence of `longest` tokens, the longest, reaches beyond it.
template <ModelAttention A>
void require_maps_in_use(Index longest) {
  detail::check_maps_in_use(std::type_identity<A>{}, longest);
}

}  // namespace lolcats
