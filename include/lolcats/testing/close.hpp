// Are two arrays equal up to rounding?  And if not, where and by how much?
#pragma once

#include <lolcats/core/index.hpp>
#include <lolcats/tensor/tensor.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ostream>
#include <span>
#include <string>
#include <vector>

namespace lolcats::testing {

/// The result of a comparison: true or false, with a line that says why.  `CHECK(close(...))` prints the line.
struct Verdict {
  bool passed = false;
  std::string text;

  explicit operator bool() const { return passed; }
  friend std::ostream& operator<<(std::ostream& out, const Verdict& verdict) { return out << verdict.text; }
};

/// Host numbers of any kind as doubles.
template <class Numbers>
std::vector<double> as_doubles(const Numbers& numbers) {
  if constexpr (requires { numbers.span(); }) {
    return as_doubles(numbers.span());
  } else {
    std::vector<double> result;
    for (const auto& value : numbers) result.push_back(static_cast<double>(value));
    return result;
  }
}

/// What a comparison of nothing with nothing says.  It passes only where a test asks for it: two empty arrays usually mean
/// that nothing was computed.
enum class OfNothing { fails, passes };

/// Does every |got - want| lie within tolerance times the largest |want| (or the tolerance itself if all are zero)?
///
/// Both are ranges of numbers, Views or Tensors in host memory.  Different sizes, no numbers, NaN and infinity on either
/// side fail.  The text has the largest relative error, its index, and the ratio of the RMS of the error to the RMS of `want`.
template <class Want, class Got>
Verdict close(const Want& want, const Got& got, double tolerance, OfNothing nothing = OfNothing::fails) {
  const std::vector<double> expected = as_doubles(want), actual = as_doubles(got);
  if (expected.size() != actual.size()) {
    return {false, fmt::format("close: got {} numbers, expected {}", actual.size(), expected.size())};
  }
  if (expected.empty()) return {nothing == OfNothing::passes, "close: no numbers on either side"};
  double largest = 0, squares = 0, error_squares = 0, worst = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(actual[i] - expected[i]);
    if (!std::isfinite(error)) {
      return {false, fmt::format("close: got {} at {}, expected {}", actual[i], i, expected[i])};
    }
    largest = std::max(largest, std::abs(expected[i]));
    squares += expected[i] * expected[i];
    error_squares += error * error;
    if (error > worst) {
      worst = error;
      at = i;
    }
  }
  const double unit = largest > 0 ? largest : 1.0;
  const bool passed = worst <= tolerance * unit;
  return {passed, fmt::format("close: largest error {:.3g} of the largest entry {:.6g} (tolerance {:.3g}) at {}: got "
                              "{:.17g}, expected {:.17g}; RMS ratio {:.3g}",
                              worst / unit, largest, tolerance, at, actual[at], expected[at],
                              squares > 0 ? std::sqrt(error_squares / squares) : std::sqrt(error_squares))};
}

/// Is the norm of the error at most `tolerance` times the norm of `want`?  For gradients in bf16, whose single entries err
/// by what the largest of many terms was rounded by.
template <class Want, class Got>
Verdict close_in_norm(const Want& want, const Got& got, double tolerance) {
  const std::vector<double> expected = as_doubles(want), actual = as_doubles(got);
  if (expected.size() != actual.size()) {
    return {false, fmt::format("close_in_norm: got {} numbers, expected {}", actual.size(), expected.size())};
  }
  if (expected.empty()) return {false, "close_in_norm: no numbers on either side"};
  double squares = 0, error_squares = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    squares += expected[i] * expected[i];
    error_squares += (actual[i] - expected[i]) * (actual[i] - expected[i]);
  }
  const double norm = std::sqrt(squares), error = std::sqrt(error_squares);
  const bool passed = error <= tolerance * (norm > 0 ? norm : 1.0);  // NaN fails
  return {passed, fmt::format("close_in_norm: error {:.3g} of the norm {:.6g} (tolerance {:.3g})",
                              norm > 0 ? error / norm : error, norm, tolerance)};
}

/// The same bits.
template <class Want, class Got>
Verdict same(const Want& want, const Got& got) {
  return close(want, got, 0.0);
}

}  // namespace lolcats::testing
