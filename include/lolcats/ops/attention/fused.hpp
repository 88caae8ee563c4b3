// What the fused kernels of Hopper GPUs are written for: said once, for the kernels and for machines without any.
#pragma once

#include <lolcats/ops/attention/attention.hpp>

#include <fmt/core.h>

#include <string>
#include <type_traits>

namespace lolcats::hopper {

/// Sinks that the fused kernels take at most.
inline constexpr Index most_fused_sinks = 64;

/// Head sizes, columns of a map's projection and features that they take.
constexpr bool takes_width(Index n) { return n == 64 || n == 128; }

/// Maps that they take: none that adds to its own input.
template <class Map>
inline constexpr bool takes_map = false;
template <FeatureMap Map>
inline constexpr bool takes_map<Map> = takes_width(Map::projected) && takes_width(Map::count * Map::projected) && !Map::skip;

/// Sinks that they take beside far keys: those before a window.
template <Window W>
inline constexpr bool takes_sinks = sinks_of<W> == 0 || (sinks_of<W> <= most_fused_sinks && !std::is_base_of_v<Nothing, W>);

/// Why no fused kernel is written for a map, a window and a memory over heads of `size`; empty where one is.
///
/// They compute in bf16 on a Hopper GPU, which this does not ask for: it is the same on every machine.
template <class Map, Window W, MemoryPolicy M = Sum>
std::string why_not_fused(Index size) {
  if (decays<M>) return "fused kernels know no gates";
  if (caches<M>) return "fused kernels know no caches";
  if (sinks_of<W> > most_fused_sinks) return fmt::format("fused kernels know at most {} sinks, not {}", most_fused_sinks, sinks_of<W>);
  if constexpr (FeatureMap<Map>) {
    if (!takes_sinks<W>) return "fused kernels know no sinks without a window";
    if (Map::skip) return "fused kernels know no skip connections";
    if (!takes_width(Map::projected)) return fmt::format("a map of {} columns, fused kernels take 64 or 128", Map::projected);
    if (!takes_map<Map>) return fmt::format("{} features, fused kernels take 64 or 128", Map::count * Map::projected);
  } else if (!std::is_same_v<Map, NoMap>) {
    return "fused kernels compute features themselves, and only those of row maps";
  }
  if (!takes_width(size)) return fmt::format("heads of {}, fused kernels take 64 or 128", size);
  return {};
}

}  // namespace lolcats::hopper
