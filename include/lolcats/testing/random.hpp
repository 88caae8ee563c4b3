// Reproducible inputs, and memory that must not be read before it is written.
#pragma once

#include <lolcats/core/rng.hpp>
#include <lolcats/tape/tape.hpp>

#include <limits>
#include <vector>

namespace lolcats::testing {

/// Doubles in the memory of a backend, rounded to T.
template <Backend B, class T = Scalar<B>>
Array<B, T> array(const Shape& shape, const std::vector<double>& values, const B& backend = {}) {
  require<ShapeError>(static_cast<Index>(values.size()) == shape.size(), "array: {} values, expected {} for {}",
                      values.size(), shape.size(), to_string(shape));
  Array<B, T> result(shape);
  backend.from_host(values.data(), result.data(), result.size());
  return result;
}

/// An array of the backend as doubles on the host; nothing for a null view.
template <Backend B, class T>
std::vector<double> host(const B& backend, View<T> view) {
  if (!view) return {};
  std::vector<double> values(static_cast<std::size_t>(view.size()));
  backend.to_host(view.data, values.data(), view.size());
  return values;
}

/// The numbers as the backend holds them: a reference that should not differ by the rounding of inputs takes these.
template <Backend B>
std::vector<double> rounded(const std::vector<double>& values, const B& backend = {}) {
  auto there = array<B>(Shape{static_cast<Index>(values.size())}, values, backend);
  return host(backend, there.view());
}

/// Independent normal numbers, rounded to float32 so that Cpu<float> and Cpu<double> hold the same.
template <Backend B, class T = Scalar<B>>
Array<B, T> normal(const Shape& shape, Rng& rng, double scale = 1.0, double mean = 0.0, const B& backend = {}) {
  std::vector<double> values(static_cast<std::size_t>(shape.size()));
  for (double& value : values) value = static_cast<float>(mean + scale * rng.normal());
  return array<B, T>(shape, values, backend);
}

/// Integers below `count`.
inline std::vector<Index> indices(Index size, Index count, Rng& rng) {
  std::vector<Index> result;
  for (Index i = 0; i < size; ++i) result.push_back(static_cast<Index>(rng.below(static_cast<std::uint64_t>(count))));
  return result;
}

/// Fills memory with NaN.
template <Backend B, class T>
void poison(const B& backend, View<T> view) {
  const std::vector<double> nan(static_cast<std::size_t>(view.size()), std::numeric_limits<double>::quiet_NaN());
  backend.from_host(nan.data(), view.data, view.size());
}

/// Fills the next `reals` numbers that the tape will hand out with NaN: an operation that reads a result or a gradient
/// before it writes it shows up as NaN.
template <Backend B>
void poison(Tape<B>& tape, Index reals = Index{1} << 18) {
  const typename Tape<B>::Scope scope(tape);
  poison(tape.backend(), tape.template scratch<Real<B>>(Shape{reals}));
}

}  // namespace lolcats::testing
