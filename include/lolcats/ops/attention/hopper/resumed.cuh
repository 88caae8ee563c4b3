// Sequences that go on behind tokens read before: what the fused forward kernels of a prefill need to know of them.
#pragma once

#include <lolcats/ops/attention/attention.hpp>

#include <algorithm>

namespace lolcats::hopper {

/// One sequence.  Its extent is that of its keys, the kept ones first; positions count from the first of them.
struct Resumed {
  int query_row;    // the row of q and y beside the first key; below 0 if fewer rows are before the first query
  int first_query;  // the position of the first query, the number of kept keys
  int leaving;      // keys that are far from the token behind the last one on
  float* sums;      // S (H, F, D) and z (H, F), of the keys before the first, then of the leaving ones, too
  float* normalizer;
};

/// Does the window see in positions counted from `first` what it sees in true ones, for queries [begin, end) counted so?
template <Window W>
bool sees_the_same(const W& window, Index first, Index begin, Index end) {
  if (first == 0) return true;
  for (Index n = begin; n < end; ++n) {
    if (window.begin(n) != std::max<Index>(window.begin(first + n) - first, 0)) return false;
  }
  return true;
}

}  // namespace lolcats::hopper
