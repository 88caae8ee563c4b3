#include "../train/tiny_llama.hpp"
#include "plain_swapped.hpp"

#include <lolcats/eval/allot_cache.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

namespace {

using B = Cpu<double>;
using Recalling = Llama<B, Softmax<Sinks<1, Sliding<3>>, Kept<5, LearnedScore>>, Lora<2>>;
using Sizes = CacheSizes;

/// Scores that say something.
Recalling student(Index layers) {
  Recalling model = tiny::student<Recalling>(layers);
  Rng rng(8);
  for (Index l = 0; l < layers; ++l) {
    std::vector<double> scores(static_cast<std::size_t>(model.config().kv_heads * model.config().hidden_size));
    for (double& x : scores) x = rng.normal();
    model.layer(l).attention().set_scores(B{}, scores);
  }
  return model;
}

Sizes sizes_of(Recalling& model) {
  Sizes sizes;
  for (Index l = 0; l < model.layer_count(); ++l) sizes.push_back(model.layer(l).attention().cache_sizes(B{}));
  return sizes;
}

/// What the definition says, one model for each head.
Swapped plainly(const Recalling& model, const Sizes& sizes, const DataSet& data) {
  Recalling other = model;
  for (std::size_t l = 0; l < sizes.size(); ++l) other.layer(static_cast<Index>(l)).attention().set_cache_sizes(B{}, sizes[l]);
  auto teacher = convert<tiny::Teacher>(model);
  return plain::swapped(other, teacher, data);
}

}  // namespace

TEST_CASE("head_sensitivity: each head alone without its cache") {
  Recalling model = student(3);
  const Index heads = model.config().kv_heads;
  REQUIRE(heads > 1);
  model.layer(1).attention().set_cache_sizes(B{}, std::vector<Index>(static_cast<std::size_t>(heads), 2));
  const Sizes before = sizes_of(model), full(3, std::vector<Index>(static_cast<std::size_t>(heads), 5));
  const DataSet data = tiny::data(5, {17, 12});
  for (const Index rows : {2, 8}) {
    const HeadSensitivity got = head_sensitivity(model, data, {.rows = rows});
    REQUIRE(got.alone.size() == 3);
    const auto check = [&](const Swapped& x, const Sizes& sizes) {
      const Swapped want = plainly(model, sizes, data);
      CHECK(x.divergence == doctest::Approx(want.divergence).epsilon(1e-9));
      CHECK(x.loss == doctest::Approx(want.loss).epsilon(1e-12));
      CHECK(x.divergence > 1e-6);
    };
    check(got.student, full);
    for (std::size_t l = 0; l < 3; ++l) {
      REQUIRE(got.alone[l].size() == full[l].size());
      for (std::size_t g = 0; g < full[l].size(); ++g) {
        Sizes without = full;
        without[l][g] = 0;
        check(got.alone[l][g], without);
      }
    }
    CHECK(sizes_of(model) == before);
  }
  Sizes from = full, one = full;
  from[0][1] = 1;
  one[0] = {5, 1};
  one[2][0] = 1;
  const HeadSensitivity less = head_sensitivity(model, data, {.from = from, .less = 1});
  CHECK(less.alone[2][0].divergence == doctest::Approx(plainly(model, one, data).divergence).epsilon(1e-9));
  CHECK(less.alone[0][1].divergence == less.student.divergence);
  CHECK_THROWS_AS(head_sensitivity(model, data, {.from = {{5, 5}}}), ShapeError);
  CHECK_THROWS_AS(head_sensitivity(model, DataSet()), DataError);
  CHECK_THROWS_AS(head_sensitivity(model, data, {.rows = 0}), ConfigError);
  CHECK(sizes_of(model) == before);
}

TEST_CASE("cache_shares: as many full caches as there is room for") {
  const auto shares = [](Index heads, Index most, Index mean, Index rest) {
    const CacheShares s = cache_shares(heads, most, mean, rest);
    CHECK(s.full * most + (heads - s.full) * s.others <= heads * mean);
    return std::pair(s.full, s.others);
  };
  using Pair = std::pair<Index, Index>;
  CHECK(shares(6, 100, 100, 100) == Pair{6, 0});
  CHECK(shares(6, 100, 100, 3) == Pair{6, 0});
  CHECK(shares(6, 100, 0, 0) == Pair{0, 0});
  CHECK(shares(6, 100, 50, 0) == Pair{3, 0});
  CHECK(shares(6, 100, 40, 10) == Pair{2, 10});
  CHECK(shares(6, 100, 39, 10) == Pair{1, 26});  // 230 of 234: what is left widens the others
  CHECK(shares(90, 1920, 367, 80) == Pair{14, 80});
  CHECK(shares(6, 4096, 1301, 1200) == Pair{0, 1296});  // 8 bits
  CHECK(shares(6, 4096, 257, 0) == Pair{0, 256});
  CHECK(shares(6, 4096, 301, 301) == Pair{0, 301});  // no less than asked for
  for (const auto& [mean, rest] : {Pair{101, 0}, Pair{10, 11}, Pair{10, -1}}) CHECK_THROWS_AS(cache_shares(6, 100, mean, rest), ConfigError);
}

TEST_CASE("allot_largest: the heads of the largest worth") {
  const std::vector<std::vector<double>> worth{{0.5, 0.1}, {0.9, 0.5}, {0.0, 0.2}};
  CHECK(allot_largest(worth, 100, 40, 10) == Sizes{{100, 10}, {100, 10}, {10, 10}});  // of two equals, the first
  CHECK(allot_largest(worth, 100, 100, 10) == Sizes(3, {100, 100}));
  CHECK(allot_largest(worth, 100, 0, 0) == Sizes(3, {0, 0}));
  CHECK_THROWS_AS(allot_largest(worth, 100, 101, 0), ConfigError);
}

TEST_CASE("allot_cache: in rounds, those that matter least are cut") {
  Recalling model = student(3);
  const DataSet data = tiny::data(4, {17, 12});
  const Sizes before = sizes_of(model);
  REQUIRE(model.config().kv_heads == 2);
  const AllottedCache got = allot_cache(model, data, 3, 1);  // 6 heads: 3 of 5 places, 3 of 1
  CHECK(sizes_of(model) == before);
  Sizes sizes(3, {5, 5});
  std::vector<std::vector<double>> worth(3, {0, 0});
  for (const std::size_t left : {4, 3}) {
    std::vector<std::pair<double, std::pair<std::size_t, std::size_t>>> heads;
    const double all = plainly(model, sizes, data).divergence;
    for (std::size_t l = 0; l < 3; ++l) {
      for (std::size_t g = 0; g < 2; ++g) {
        if (sizes[l][g] == 1) continue;
        Sizes one = sizes;
        one[l][g] = 1;
        worth[l][g] = plainly(model, one, data).divergence - all;
        heads.push_back({worth[l][g], {l, g}});
      }
    }
    std::ranges::sort(heads);
    for (std::size_t i = 0; i + left < heads.size(); ++i) sizes[heads[i].second.first][heads[i].second.second] = 1;
  }
  CHECK(got.sizes == sizes);
  for (std::size_t l = 0; l < 3; ++l) {
    for (std::size_t g = 0; g < 2; ++g) CHECK(got.worth[l][g] == doctest::Approx(worth[l][g]).epsilon(1e-6));
  }
  CHECK(allot_cache(model, data, 5, 1).sizes == Sizes(3, {5, 5}));
  CHECK_THROWS_AS(allot_cache(model, data, 6, 1), ConfigError);
}
