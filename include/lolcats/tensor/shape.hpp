// Shapes of up to four axes, row-major.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <array>
#include <initializer_list>
#include <string>

namespace lolcats {

/// Extents of a dense row-major array; the last axis is contiguous.  A scalar has no axes.
class Shape {
 public:
  static constexpr int max_rank = 4;

  constexpr Shape() = default;
  constexpr Shape(std::initializer_list<Index> extents) {
    if (extents.size() > max_rank) throw ShapeError("Shape: more than four axes");
    for (const Index extent : extents) extents_[static_cast<std::size_t>(rank_++)] = extent;
  }

  constexpr int rank() const { return rank_; }
  constexpr Index operator[](int axis) const { return extents_[static_cast<std::size_t>(axis)]; }

  /// Number of elements.
  constexpr Index size() const {
    Index n = 1;
    for (int i = 0; i < rank_; ++i) n *= (*this)[i];
    return n;
  }

  /// The array seen as a matrix: all axes but the last are rows.
  constexpr Index cols() const { return rank_ == 0 ? 1 : (*this)[rank_ - 1]; }
  constexpr Index rows() const {
    Index n = 1;
    for (int i = 0; i + 1 < rank_; ++i) n *= (*this)[i];
    return n;
  }

  /// Adds an axis behind the last.
  constexpr void append(Index extent) {
    if (rank_ == max_rank) throw ShapeError("Shape: more than four axes");
    extents_[static_cast<std::size_t>(rank_++)] = extent;
  }

  friend constexpr bool operator==(const Shape&, const Shape&) = default;

 private:
  std::array<Index, max_rank> extents_{};
  int rank_ = 0;
};

/// "(2, 3)"; "()" for a scalar.
inline std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (int i = 0; i < shape.rank(); ++i) text += fmt::format("{}{}", i ? ", " : "", shape[i]);
  return text + ")";
}

/// Throws ShapeError "function: argument has shape got, expected want" unless they are equal.
inline void check_shape(const char* function, const char* argument, const Shape& got, const Shape& want) {
  require<ShapeError>(got == want, "{}: {} has shape {}, expected {}", function, argument, to_string(got),
                      to_string(want));
}

}  // namespace lolcats
