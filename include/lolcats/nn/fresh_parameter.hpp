// Parameters before training, and which random numbers they and dropout draw.
#pragma once

#include <lolcats/tape/parameter.hpp>

#include <cstdint>
#include <utility>
#include <vector>

namespace lolcats::detail {

/// Which random numbers belong to what.  Initial values come from (model seed, stream), dropout from (tape seed,
/// stream); the blocks keep the two apart even where both seeds are the same.
inline constexpr std::uint64_t adapter_streams = std::uint64_t{1} << 32;
inline constexpr std::uint64_t map_streams = std::uint64_t{2} << 32;
inline constexpr std::uint64_t base_streams = std::uint64_t{3} << 32;
inline constexpr std::uint64_t window_streams = std::uint64_t{4} << 32;

/// A fresh array with the given values.
template <Backend B>
Parameter<B> make_parameter(const B& backend, const Shape& shape, const std::vector<double>& values) {
  Array<B> array(shape);
  backend.from_host(values.data(), array.data(), array.size());
  return Parameter<B>(std::move(array));
}

}  // namespace lolcats::detail
