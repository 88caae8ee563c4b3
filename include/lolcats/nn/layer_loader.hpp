// Base weights of decoder layers that are in memory only while their layer computes.
#pragma once

#include <lolcats/tape/parameter.hpp>

#include <span>
#include <string>

namespace lolcats {

/// Where layers get their base weights from whenever they are about to use them.  Models that share a base share its loader.
///
/// load(layer): in the order of DecoderLayer::visit_base; what it gave for other layers may be overwritten by what is computed later.
/// So nothing may keep such a weight for a backward pass: the layer is run again there (tape/checkpoint.hpp).
template <Backend B>
class LayerLoader {
 public:
  LayerLoader() = default;
  LayerLoader(const LayerLoader&) = delete;
  LayerLoader& operator=(const LayerLoader&) = delete;
  virtual ~LayerLoader() = default;

  virtual std::span<const Parameter<B>> load(Index layer) = 0;
  /// Of the whole base, as model/fingerprint.hpp computes it, with numbers as they are or rounded to bf16.
  virtual const std::string& fingerprint(bool rounded) const = 0;
};

}  // namespace lolcats
