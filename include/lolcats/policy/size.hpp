// Sizes as template arguments, known when a program is compiled or when it runs.
#pragma once

#include <lolcats/core/index.hpp>

#include <string>

namespace lolcats {

/// As a template argument: the size is given to the constructor instead.
inline constexpr Index dynamic = -1;

namespace detail {
inline std::string size_name(Index size) { return size == dynamic ? "dynamic" : std::to_string(size); }
}  // namespace detail

}  // namespace lolcats
