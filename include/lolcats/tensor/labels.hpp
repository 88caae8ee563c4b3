// Labels of tokens.
#pragma once

#include <lolcats/core/index.hpp>

namespace lolcats {

/// The label of a token that carries no loss.
inline constexpr Index ignored_label = -100;

}  // namespace lolcats
