#include <lolcats/data/row_groups.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

TEST_CASE("every row is in one group, in order, and groups are as large as asked for but for the last") {
  const auto groups = [](Index rows, Index size) {
    std::vector<std::vector<Index>> all;
    detail::for_row_groups(rows, size, [&](std::span<const Index> group) { all.emplace_back(group.begin(), group.end()); });
    return all;
  };
  CHECK(groups(7, 3) == std::vector<std::vector<Index>>{{0, 1, 2}, {3, 4, 5}, {6}});
  CHECK(groups(4, 2) == std::vector<std::vector<Index>>{{0, 1}, {2, 3}});
  CHECK(groups(2, 9) == std::vector<std::vector<Index>>{{0, 1}});
  CHECK(groups(0, 2).empty());
}
