// Which far keys stay raw, and for which queries: the plan of one key/value head on the CPU.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/core/index.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <tuple>
#include <vector>

namespace lolcats::eigen {

/// A near key beside those of the window: queries at positions [from, until) read it.
struct KeptKey {
  Index key = 0;  // row
  Index from = 0;
  Index until = 0;
};

/// What becomes of the keys of one key/value head while queries at positions [first, end) are read.
struct CachePlan {
  std::vector<KeptKey> kept;  // those that are in the cache for a while
  /// Keys in the order in which they become far for good, and the first position that sees each so, at most `end`.
  std::vector<Index> far, far_from;
  std::vector<Index> left;  // keys in the cache when position `end` is read, oldest first
};

/// Keys are rows 0 ... scores.size() - 1, in order of their positions; the first `cached` are in a cache of `size` already.
/// Row cached + i leaves the window when position leaves[i] is read, which never decreases; rows that leave later than
/// `end` are left alone.  One score each; the highest stay, of equals the earlier one.  NaN is less than all numbers.
inline CachePlan plan_cache(const std::vector<double>& scores, Index cached, const std::vector<Index>& leaves, Index size,
                            Index first, Index end) {
  CachePlan plan;
  using Entry = std::tuple<double, Index, Index>;  // score, minus row, index in plan.kept: the least goes first
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> cache;
  const auto enter = [&](Index row, Index at) {
    plan.kept.push_back({row, at, end + 1});
    const double score = std::fmax(scores[static_cast<std::size_t>(row)], -std::numeric_limits<double>::infinity());
    cache.emplace(score, -row, static_cast<Index>(plan.kept.size()) - 1);
    if (static_cast<Index>(cache.size()) <= size) return;
    KeptKey& out = plan.kept[static_cast<std::size_t>(std::get<2>(cache.top()))];
    out.until = at;
    plan.far.push_back(out.key);
    plan.far_from.push_back(at);
    cache.pop();
  };
  for (Index row = 0; row < cached; ++row) enter(row, first);
  for (std::size_t i = 0; i < leaves.size() && leaves[i] <= end; ++i) enter(cached + static_cast<Index>(i), leaves[i]);
  for (const KeptKey& key : plan.kept) {
    if (key.until > end) plan.left.push_back(key.key);
  }
  std::erase_if(plan.kept, [](const KeptKey& key) { return key.until <= key.from; });
  return plan;
}

/// Those rows of x, one below the other.
template <class T, class X>
RowMatrix<T> gather(const X& x, const std::vector<Index>& from) {
  RowMatrix<T> to(static_cast<Index>(from.size()), x.cols());
  for (std::size_t i = 0; i < from.size(); ++i) to.row(static_cast<Index>(i)) = x.row(from[i]);
  return to;
}

}  // namespace lolcats::eigen
