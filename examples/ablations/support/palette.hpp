// Which colour a student has on the pictures of all studies.
#pragma once

#include "study.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace examples {

/// The style of the curve of an attention, by its name: the same on every picture, whatever stands beside it.  `other` is the
/// same colour dashed, for the same student at another point, such as before its transfer.
/// Two that no study draws together may share a style.  Throws ConfigError for a name without one.
inline std::size_t style_of(std::string_view attention, bool other = false) {
  static const std::vector<std::pair<std::string, std::size_t>> styles{
      {Linear<Hedgehog<rank>>::name(), 0},
      {Hybrid<Hedgehog<rank>, Terraced<64>>::name(), 1},
      {Linear<T2R<2 * rank>>::name(), 2},
      {Hybrid<T2R<2 * rank>, Terraced<64>>::name(), 3},
      {Hybrid<Hedgehog<rank>, Sliding<16>>::name(), 4},
      {Hybrid<T2R<2 * rank>, Sliding<16>>::name(), 5},
      {Softmax<>::name(), 6},
      {Softmax<Terraced<64>>::name(), 7},
      {Linear<HedgehogExp<rank>>::name(), 4},
      {Linear<EluPlusOne<2 * rank>>::name(), 5},
      {Linear<Relu<2 * rank>>::name(), 7}};
  for (const auto& [name, style] : styles) {
    if (name == attention) return style + (other ? palette_size : 0);
  }
  fail<ConfigError>("palette: '{}' has no style", attention);
}

}  // namespace examples
