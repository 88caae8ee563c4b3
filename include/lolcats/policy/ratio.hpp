// A number with a fraction as a template argument.
#pragma once

namespace lolcats {

/// A ratio that can be a template argument: Ratio{1, 20} is 0.05.
struct Ratio {
  int numerator = 0;
  int denominator = 1;
  constexpr double value() const { return static_cast<double>(numerator) / denominator; }
  friend constexpr bool operator==(Ratio, Ratio) = default;
};

}  // namespace lolcats
