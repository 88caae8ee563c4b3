// Caches of unequal size: all of a student's places to the heads that recall.
#pragma once

#include <lolcats/eval/head_sensitivity.hpp>

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace lolcats {

/// How many heads get a full cache, and the places of each other one.
struct CacheShares {
  Index full = 0, others = 0;
};

/// The most heads of `heads` that can have `most` places, when the others have at least `rest` and the mean is at most `mean`; what
/// is left over widens the others.  Their number of places is rounded down to 8 significant bits, which every backend holds, but
/// not below `rest`.
/// Throws ConfigError for numbers that do not fit: 0 <= rest <= mean <= most.
inline CacheShares cache_shares(Index heads, Index most, Index mean, Index rest) {
  require<ConfigError>(rest >= 0 && rest <= mean && mean <= most,
                       "cache_shares: {} places per head on average and {} for the rest, expected 0 <= rest <= mean <= {}, the most",
                       mean, rest, most);
  CacheShares shares;
  shares.full = most == rest ? heads : heads * (mean - rest) / (most - rest);
  if (shares.full < heads) shares.others = (heads * mean - shares.full * most) / (heads - shares.full);
  for (Index step = 1; shares.others / step >= 256; step *= 2) shares.others -= shares.others % (2 * step);
  if (shares.full < heads) shares.others = std::max(shares.others, rest);
  return shares;
}

/// Sizes with `mean` places per head on average: `most` for the heads of the largest worth (L, G), the others as cache_shares says;
/// of equals, the first.  Errors: as cache_shares.
inline CacheSizes allot_largest(const std::vector<std::vector<double>>& worth, Index most, Index mean, Index rest) {
  std::vector<std::pair<std::size_t, std::size_t>> heads;
  for (std::size_t l = 0; l < worth.size(); ++l) {
    for (std::size_t g = 0; g < worth[l].size(); ++g) heads.emplace_back(l, g);
  }
  const CacheShares shares = cache_shares(static_cast<Index>(heads.size()), most, mean, rest);
  std::ranges::stable_sort(heads, std::ranges::greater{}, [&](const auto& head) { return worth[head.first][head.second]; });
  CacheSizes sizes;
  for (const auto& layer : worth) sizes.emplace_back(layer.size(), shares.others);
  for (std::size_t i = 0; i < static_cast<std::size_t>(shares.full); ++i) sizes[heads[i].first][heads[i].second] = most;
  return sizes;
}

struct AllottedCache {
  CacheSizes sizes;                        // (L, G)
  std::vector<std::vector<double>> worth;  // (L, G) the divergence in nats that a small cache adds, when last measured
};

/// Sizes of a student's caches with `mean` places per head on average: the heads whose cache matters most get all that the type holds,
/// the others `rest` or a little more (cache_shares).  Heads stand in for each other, so they are chosen in rounds: of the heads
/// with a full cache, the third that matters least on `data` (head_sensitivity) is cut to `rest`, and the others are measured again,
/// until so many are left as there is room for.  Costs about three times head_sensitivity.  The student is not changed.
/// Errors: as cache_shares and head_sensitivity.
template <LlamaModel Model, class Data>
AllottedCache allot_cache(Model& student, const Data& data, Index mean, Index rest, HeadSensitivityOptions options = {}) {
  constexpr Index most = cache_places<typename Model::Attention>;
  const auto layers = static_cast<std::size_t>(student.layer_count()), groups = static_cast<std::size_t>(student.config().kv_heads);
  const CacheShares shares = cache_shares(static_cast<Index>(layers * groups), most, mean, rest);
  AllottedCache result{CacheSizes(layers, std::vector<Index>(groups, most)), std::vector<std::vector<double>>(layers, std::vector<double>(groups))};
  std::vector<std::pair<std::size_t, std::size_t>> full;
  for (std::size_t l = 0; l < layers; ++l) {
    for (std::size_t g = 0; g < groups; ++g) full.emplace_back(l, g);
  }
  const auto room = static_cast<std::size_t>(shares.full);
  options.less = rest;
  while (full.size() > room) {
    options.from = result.sizes;
    const HeadSensitivity now = head_sensitivity(student, data, options);
    const auto worth = [&](const auto& head) -> double& { return result.worth[head.first][head.second]; };
    for (const auto& head : full) worth(head) = now.alone[head.first][head.second].divergence - now.student.divergence;
    std::ranges::stable_sort(full, std::ranges::greater{}, worth);
    for (const std::size_t left = std::max(room, full.size() * 2 / 3); full.size() > left; full.pop_back()) {
      result.sizes[full.back().first][full.back().second] = rest;
    }
  }
  for (auto& layer : result.sizes) {
    for (Index& size : layer) {
      if (size < most) size = shares.others;
    }
  }
  return result;
}

}  // namespace lolcats
