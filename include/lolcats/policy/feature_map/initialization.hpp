// How the weights of a feature map start.
#pragma once

#include <lolcats/core/index.hpp>
#include <lolcats/core/rng.hpp>

#include <cmath>
#include <string_view>

namespace lolcats {

/// Feature j starts as coordinate j (all zeros under a skip connection, which then is the identity itself).
/// What the published commands select with `--lk_zero_init` [QUIRKS 16].
struct IdentityStart {
  static constexpr std::string_view name() { return "identity"; }
  static double weight(Rng&, Index row, Index column, Index, Index, bool skip) {
    return !skip && row == column ? 1.0 : 0.0;
  }
};

/// Uniform in +-sqrt(6 / (d f)): the (H, d, f) tensor taken for a convolution, as published [QUIRKS 17].
struct KaimingStart {
  static constexpr std::string_view name() { return "kaiming"; }
  static double weight(Rng& rng, Index, Index, Index rows, Index columns, bool) {
    const double bound = std::sqrt(6.0 / static_cast<double>(rows * columns));
    return rng.uniform(-bound, bound);
  }
};

/// Standard normal.
struct NormalStart {
  static constexpr std::string_view name() { return "normal"; }
  static double weight(Rng& rng, Index, Index, Index, Index, bool) { return rng.normal(); }
};

}  // namespace lolcats
