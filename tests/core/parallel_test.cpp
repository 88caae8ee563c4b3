// parallel_for and parallel_ranges.
#include <lolcats/core/parallel.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <vector>

using namespace lolcats;

TEST_CASE("every item runs once") {
  for (const Index count : {0, 1, 3, 63, 64, 65, 1000}) {
    std::vector<int> runs(static_cast<std::size_t>(count));
    parallel_for(count, [&](Index i) { ++runs[static_cast<std::size_t>(i)]; });
    for (const int n : runs) CHECK(n == 1);
  }
}

TEST_CASE("ranges depend on count and grain alone, and cover everything once") {
  const auto ranges = [](Index count, Index grain) {
    std::set<std::pair<Index, Index>> found;
    std::mutex mutex;
    parallel_ranges(count, grain, [&](Index first, Index last) {
      const std::lock_guard lock(mutex);
      found.insert({first, last});
    });
    return found;
  };
  CHECK(ranges(10, 4) == std::set<std::pair<Index, Index>>{{0, 4}, {4, 8}, {8, 10}});
  CHECK(ranges(4, 4) == std::set<std::pair<Index, Index>>{{0, 4}});
  CHECK(ranges(2, 0) == std::set<std::pair<Index, Index>>{{0, 1}, {1, 2}});
  CHECK(ranges(0, 4).empty());
}

TEST_CASE("an exception of an item arrives here, and the others still run") {
  std::atomic<int> runs = 0;
  CHECK_THROWS_WITH_AS(parallel_for(100,
                                    [&](Index i) {
                                      ++runs;
                                      if (i == 99) throw std::runtime_error("item 99");
                                    }),
                       "item 99", std::runtime_error);
  CHECK(runs == 100);
}

TEST_CASE("a loop inside a loop runs serially, and there is at least one thread") {
  std::atomic<int> runs = 0;
  parallel_for(8, [&](Index) { parallel_for(8, [&](Index) { ++runs; }); });
  CHECK(runs == 64);
  CHECK(max_threads() >= 1);
}
