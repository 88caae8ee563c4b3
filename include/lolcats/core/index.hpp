// The one integer type for sizes and positions.
#pragma once

#include <cstdint>

namespace lolcats {

/// Sizes, strides, positions and token counts.  Signed, so that differences are differences.
using Index = std::int64_t;

}  // namespace lolcats
