// The sizes of all caches of a model.
#pragma once

#include <lolcats/core/index.hpp>

#include <cstddef>
#include <vector>

namespace lolcats {

/// Places in the caches of all key/value heads, (L, G).
using CacheSizes = std::vector<std::vector<Index>>;

namespace detail {

/// Changes the sizes of caches; they are as they were before when this goes.
template <class Model>
class ResizedCaches {
 public:
  explicit ResizedCaches(Model& model) : model_(model) {
    for (Index l = 0; l < model.layer_count(); ++l) before_.push_back(model.layer(l).attention().cache_sizes(model.backend()));
  }
  ResizedCaches(const ResizedCaches&) = delete;
  ResizedCaches& operator=(const ResizedCaches&) = delete;
  ~ResizedCaches() {
    for (Index l = 0; l < model_.layer_count(); ++l) set(l, before_[static_cast<std::size_t>(l)]);
  }
  void set(Index layer, const std::vector<Index>& sizes) { model_.layer(layer).attention().set_cache_sizes(model_.backend(), sizes); }

 private:
  Model& model_;
  CacheSizes before_;
};

}  // namespace detail

}  // namespace lolcats
