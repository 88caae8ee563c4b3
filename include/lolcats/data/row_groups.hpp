// The rows of a data set in groups, as many at once as memory allows.
#pragma once

#include <lolcats/core/index.hpp>

#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

namespace lolcats::detail {

/// Calls f(rows) for groups of at most `size` rows of a data set, in order.
template <class F>
void for_row_groups(Index rows, Index size, F&& f) {
  std::vector<Index> group;
  for (Index first = 0; first < rows; first += size) {
    group.resize(static_cast<std::size_t>(std::min(size, rows - first)));
    std::iota(group.begin(), group.end(), first);
    f(std::span<const Index>(group));
  }
}

}  // namespace lolcats::detail
