#include <lolcats/train/batch_order.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

using namespace lolcats;

namespace {

std::vector<Index> epoch(BatchOrder& order, Index number) {
  std::vector<Index> rows;
  for (Index u = number * order.updates_per_epoch(); u < (number + 1) * order.updates_per_epoch(); ++u) {
    for (const Index row : order.rows_of(u)) rows.push_back(row);
  }
  return rows;
}

}  // namespace

TEST_CASE("in order: batches follow each other and the last of an epoch is smaller") {
  BatchOrder order(7, 3, 1, false);
  CHECK(order.updates_per_epoch() == 3);
  CHECK(BatchOrder(6, 3, 1, false).updates_per_epoch() == 2);
  const std::vector<std::vector<Index>> want{{0, 1, 2}, {3, 4, 5}, {6}, {0, 1, 2}};
  for (std::size_t u = 0; u < want.size(); ++u) {
    const auto rows = order.rows_of(static_cast<Index>(u));
    CHECK(std::vector<Index>(rows.begin(), rows.end()) == want[u]);
  }
}

TEST_CASE("shuffled: every epoch is another permutation, every seed another order") {
  BatchOrder order(50, 8, 1, true), other(50, 8, 2, true);
  const auto first = epoch(order, 0), second = epoch(order, 1);
  auto sorted = first;
  std::sort(sorted.begin(), sorted.end());
  for (Index i = 0; i < 50; ++i) CHECK(sorted[static_cast<std::size_t>(i)] == i);
  CHECK(first != second);
  CHECK(first != sorted);
  CHECK(epoch(other, 0) != first);
  BatchOrder later(50, 8, 1, true);  // asked in another order
  CHECK(epoch(later, 1) == second);
  CHECK(epoch(later, 0) == first);
}

TEST_CASE("a shuffle prefers no order") {
  // 24 orders of 4 rows over 2400 epochs: 100 each, deviation 9.8; 5 deviations either way
  BatchOrder order(4, 4, 3, true);
  std::vector<int> seen(256);
  for (Index e = 0; e < 2400; ++e) {
    const auto rows = epoch(order, e);
    ++seen[static_cast<std::size_t>(rows[0] + 4 * rows[1] + 16 * rows[2] + 64 * rows[3])];
  }
  CHECK(std::count_if(seen.begin(), seen.end(), [](int n) { return n > 0; }) == 24);
  CHECK(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 0 || (n > 51 && n < 149); }));
}

TEST_CASE("no rows and no batch are errors") {
  CHECK_THROWS_AS(BatchOrder(0, 1, 0, true), DataError);
  CHECK_THROWS_AS(BatchOrder(1, 0, 0, true), ConfigError);
}
