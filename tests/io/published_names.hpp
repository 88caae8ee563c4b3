// The published names of what an attention layer learns, as checkpoints have them; `side` is 'q' or 'k'.
#pragma once

#include <lolcats/core/index.hpp>

#include <fmt/format.h>

#include <string>

inline std::string feature_map_name(lolcats::Index layer, char side) {  // (H, D, f)
  return fmt::format("model.layers.{}.self_attn.feature_map_{}.mlp.layer", layer, side);
}
inline std::string feature_map_bias_name(lolcats::Index layer, char side) {
  return fmt::format("model.layers.{}.self_attn.feature_map_{}.mlp.bias", layer, side);
}
inline std::string window_factors_name(lolcats::Index layer) {  // (1, H, 1, 1)
  return fmt::format("model.layers.{}.self_attn.window_factors", layer);
}
