#include "../train/tiny_llama.hpp"

#include <lolcats/eval/head_sensitivity.hpp>
#include <lolcats/eval/perplexity.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>
#include <lolcats/ops/divergence/naive.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

namespace {

using B = Cpu<double>;
using Recalling = Llama<B, Softmax<Sinks<1, Sliding<3>>, Kept<5, LearnedScore>>, Lora<2>>;
using Sizes = std::vector<std::vector<Index>>;

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

/// What the definition says, one model for each head and one row at a time.
Swapped plainly(const Recalling& model, const Sizes& sizes, const DataSet& data) {
  Recalling other = model;
  for (std::size_t l = 0; l < sizes.size(); ++l) other.layer(static_cast<Index>(l)).attention().set_cache_sizes(B{}, sizes[l]);
  auto teacher = convert<tiny::Teacher>(model);
  Swapped sum;
  double tokens = 0;
  for (Index r = 0; r < data.size(); ++r) {
    const Batch batch = data.batch(r, 1);
    Tape<B> tape;
    const auto host = [](View<const double> x) { return std::vector<double>(x.data, x.data + x.size()); };
    const auto hidden = host(other.hidden(tape, batch.tokens, batch.sequences).value());
    const auto wanted = host(teacher.hidden(tape, batch.tokens, batch.sequences).value());
    for (const double x : naive::token_divergences(hidden, wanted, host(other.head().value), batch.labels, 19, 16, 1.0)) sum.divergence += x;
    tokens += static_cast<double>(batch.supervised());
  }
  sum.divergence /= tokens;
  sum.loss = perplexity(other, data).loss;
  return sum;
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
    CHECK(got.places == 5);
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
  CHECK_THROWS_AS(head_sensitivity(model, DataSet()), DataError);
  CHECK_THROWS_AS(head_sensitivity(model, data, {.rows = 0}), ConfigError);
  CHECK(sizes_of(model) == before);
}

TEST_CASE("caches are allotted to the heads that they matter to") {
  HeadSensitivity sensitivity;
  sensitivity.places = 100;
  for (const std::vector<double>& layer : {std::vector<double>{0.1, 0.5}, {0.2, 0.5}, {0.05, 0.3}}) {
    std::vector<Swapped> heads;
    for (const double x : layer) heads.push_back({.divergence = x, .loss = 1});
    sensitivity.alone.push_back(heads);
  }
  CHECK(allot_cache(sensitivity, 100, 100) == Sizes{{100, 100}, {100, 100}, {100, 100}});
  CHECK(allot_cache(sensitivity, 100, 3) == Sizes{{100, 100}, {100, 100}, {100, 100}});
  CHECK(allot_cache(sensitivity, 0, 0) == Sizes{{0, 0}, {0, 0}, {0, 0}});
  CHECK(allot_cache(sensitivity, 50, 0) == Sizes{{0, 100}, {0, 100}, {0, 100}});
  CHECK(allot_cache(sensitivity, 40, 10) == Sizes{{10, 100}, {10, 100}, {10, 10}});  // 240 of 240
  CHECK(allot_cache(sensitivity, 39, 10) == Sizes{{26, 100}, {26, 26}, {26, 26}});   // 230 of 234: what is left widens the rest
  CHECK(allot_cache(sensitivity, 20, 15) == Sizes{{20, 20}, {20, 20}, {20, 20}});
  sensitivity.places = 4096;
  CHECK(allot_cache(sensitivity, 1301, 1200) == Sizes{{1296, 1296}, {1296, 1296}, {1296, 1296}});  // 8 bits
  CHECK(allot_cache(sensitivity, 257, 0) == Sizes{{256, 256}, {256, 256}, {256, 256}});
  for (const auto& [mean, rest] : {std::pair<Index, Index>{4097, 0}, {10, 11}, {10, -1}}) CHECK_THROWS_AS(allot_cache(sensitivity, mean, rest), ConfigError);
}
