#include <lolcats/eval/tasks/python_random.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

namespace {

/// Written by CPython 3.11, in this order of calls:
///   r = random.Random(seed); [r.randrange(10000, 99999) for _ in range(3)]; r.random(); r.sample(range(10), 3)
///   r.sample(range(1000), 6); r.sample(range(60), 6); r.sample(range(2251), 5); r.randrange(2**40)
///   list = list(range(12)); r.shuffle(list)
struct Golden {
  std::uint64_t seed;
  std::vector<Index> ranges;
  double uniform;
  std::vector<Index> small, large, between, five;
  Index wide;
  std::vector<Index> shuffled;
};

const std::vector<Golden> goldens = {
    {0,
     {60494, 65125, 15306},
     0.25891675029296335,
     {8, 7, 6},
     {940, 802, 849, 310, 991, 488},
     {22, 37, 57, 13, 32, 8},
     {1154, 572, 388, 1026, 2181},
     325997320459,
     {6, 8, 9, 3, 2, 0, 11, 7, 5, 10, 1, 4}},
    {1234,
     {67767, 25315, 10981},
     0.09064360641670188,
     {9, 0, 1},
     {100, 784, 363, 242, 17, 31},
     {50, 1, 22, 41, 39, 30},
     {1898, 608, 373, 749, 468},
     33695515343,
     {2, 9, 11, 5, 6, 4, 0, 10, 1, 3, 7, 8}},
    {42,
     {93810, 24592, 13278},
     0.7415504997598329,
     {3, 9, 2},
     {754, 104, 692, 758, 913, 558},
     {5, 37, 27, 2, 1, 59},
     {895, 952, 2069, 108, 814},
     482838161060,
     {1, 6, 8, 10, 11, 3, 5, 2, 0, 4, 9, 7}},
    {1099511627783,
     {90439, 93823, 84762},
     0.705594871013791,
     {4, 2, 6},
     {533, 737, 371, 402, 453, 460},
     {55, 57, 23, 14, 53, 28},
     {736, 562, 2174, 667, 128},
     164294189567,
     {4, 1, 6, 3, 11, 7, 8, 9, 0, 10, 2, 5}},
};

}  // namespace

TEST_CASE("PythonRandom: the numbers of CPython") {
  for (const Golden& golden : goldens) {
    CAPTURE(golden.seed);
    PythonRandom random(golden.seed);
    for (const Index number : golden.ranges) CHECK(random.range(10000, 99999) == number);
    CHECK(random.uniform() == golden.uniform);
    CHECK(random.sample(10, 3) == golden.small);
    CHECK(random.sample(1000, 6) == golden.large);
    CHECK(random.sample(60, 6) == golden.between);
    CHECK(random.sample(2251, 5) == golden.five);
    CHECK(random.below(Index{1} << 40) == golden.wide);
    std::vector<Index> list = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    random.shuffle(list);
    CHECK(list == golden.shuffled);
  }
}

TEST_CASE("PythonRandom: what cannot be drawn") {
  PythonRandom random(0);
  CHECK(random.sample(3, 3).size() == 3);
  CHECK(random.sample(3, 0).empty());
  CHECK_THROWS_AS(random.sample(3, 4), ConfigError);
  CHECK_THROWS_AS(random.below(0), ConfigError);
}
