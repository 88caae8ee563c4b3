// In which order the rows of a data set are trained on.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/core/rng.hpp>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

namespace lolcats {

/// Divides every epoch over `rows` rows into updates of `batch` rows; what is left over at the end of an epoch
/// forms a smaller last batch.
///
/// The rows of an update are a pure function of (rows, batch, seed, shuffle, update), so a run resumes anywhere.
/// Shuffled epochs are Fisher-Yates permutations, each from its own random stream.
class BatchOrder {
 public:
  BatchOrder(Index rows, Index batch, std::uint64_t seed, bool shuffle)
      : batch_(batch), seed_(seed), shuffle_(shuffle), order_(static_cast<std::size_t>(std::max<Index>(rows, 0))) {
    require<DataError>(rows > 0, "BatchOrder: the data has {} rows, expected at least one", rows);
    require<ConfigError>(batch > 0, "BatchOrder: batch is {}, expected at least 1", batch);
    std::iota(order_.begin(), order_.end(), Index{0});
  }

  Index updates_per_epoch() const { return (rows() + batch_ - 1) / batch_; }

  /// The rows of update u = 0, 1, ...; valid until the next call.
  std::span<const Index> rows_of(Index update) {
    const Index epoch = update / updates_per_epoch();
    const Index first = update % updates_per_epoch() * batch_;
    if (shuffle_ && epoch != epoch_) permute(epoch);
    return std::span(order_).subspan(static_cast<std::size_t>(first),
                                     static_cast<std::size_t>(std::min(batch_, rows() - first)));
  }

 private:
  Index rows() const { return static_cast<Index>(order_.size()); }

  void permute(Index epoch) {
    std::iota(order_.begin(), order_.end(), Index{0});
    Rng rng(seed_, static_cast<std::uint64_t>(epoch));
    for (std::size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[rng.below(i)]);
    epoch_ = epoch;
  }

  Index batch_;
  std::uint64_t seed_;
  bool shuffle_;
  Index epoch_ = -1;  // whose permutation `order_` holds
  std::vector<Index> order_;
};

/// How many updates a recipe makes on `rows` rows, unless it stops early.
template <class R>
Index planned_updates(const R& recipe, Index rows) {
  const Index whole = recipe.epochs * ((rows + recipe.batch - 1) / recipe.batch);
  return recipe.epochs == 0 ? recipe.max_updates : recipe.max_updates == 0 ? whole : std::min(whole, recipe.max_updates);
}

}  // namespace lolcats
