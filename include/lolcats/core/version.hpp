// The version of the library, which CMakeLists.txt reads here.
#pragma once

#include <string_view>

namespace lolcats {

inline constexpr std::string_view version = "0.1.0";

}  // namespace lolcats
