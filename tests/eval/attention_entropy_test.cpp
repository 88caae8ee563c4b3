#include "plain_weights.hpp"

#include <lolcats/eval/attention_entropy.hpp>
#include <lolcats/eval/attention_error.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using EntropyStudent = Llama<Cpu<double>, Hybrid<Hedgehog<2>, Terraced<3>>>;

namespace {

double entropy_of(Index, const std::vector<double>& a) {
  double sum = 0;
  for (const double p : a) sum -= p > 0 ? p * std::log(p) : 0;
  return sum;
}

}  // namespace

TEST_CASE("teacher_attention_entropy: per layer and head, by plain loops over the weights") {
  EntropyStudent model = tiny::student<EntropyStudent>(2);
  const DataSet data = tiny::data(3, {17, 9});
  const auto weights = [](auto q, auto k, Index h) { return tiny::softmax_weights(q, k, h); };
  const auto want = tiny::plain_average(model, data, weights, entropy_of);
  for (const Index rows : {1, 2, 8}) {
    const PerHead got = teacher_attention_entropy(model, data, rows);
    REQUIRE(got.values.size() == 2);
    for (std::size_t l = 0; l < 2; ++l) {
      for (std::size_t h = 0; h < 4; ++h) {
        CHECK(want[l][h] > 0.1);
        CHECK(want[l][h] < std::log(17));
        CHECK(got.values[l][h] == doctest::Approx(want[l][h]).epsilon(1e-12));
      }
    }
  }
}

TEST_CASE("error_by_entropy: each query falls in its bin with its error, by plain loops") {
  EntropyStudent model = tiny::student<EntropyStudent>(2);
  const DataSet data = tiny::data(5, {17, 9});
  const std::vector<double> edges{0.2, 0.9, 1.4, 1.8, 2.4};
  for (const Index first : {0, 5}) {
    std::vector<double> sums(4, 0.0);
    std::vector<Index> counts(4, 0);
    for (Index r = 0; r < data.size(); ++r) {
      const Batch batch = data.batch(r, 1);
      Tape<Cpu<double>> tape;
      Var<Cpu<double>> x = model.embed(tape, batch.tokens);
      for (Index l = 0; l < 2; ++l) {
        const auto qkv = model.layer(l).project(tape, x, batch.sequences, model.rope());
        const auto v = qkv.v.value();
        for (Index h = 0; h < 4; ++h) {
          const auto a = tiny::softmax_weights(qkv.q.value(), qkv.k.value(), h);
          const auto b = tiny::hybrid_weights(qkv.q.value(), qkv.k.value(), h, Terraced<3>());
          for (std::size_t n = static_cast<std::size_t>(first); n < a.size(); ++n) {
            double error = 0;
            for (Index d = 0; d < 4; ++d) {
              double gap = 0;
              for (std::size_t j = 0; j <= n; ++j) {
                gap += (b[n][j] - a[n][j]) * v.data[static_cast<Index>(j) * 8 + h / 2 * 4 + d];
              }
              error += gap * gap / 4;
            }
            const double entropy = entropy_of(0, a[n]);
            for (std::size_t bin = 0; bin < 4; ++bin) {
              if (entropy < edges[bin] || entropy >= edges[bin + 1]) continue;
              sums[bin] += error;
              ++counts[bin];
            }
          }
        }
        x = model.layer(l).forward_softmax(tape, x, batch.sequences, model.rope());
      }
    }
    for (const Index rows : {1, 8}) {
      const auto bins = error_by_entropy(model, data, edges, first, rows);
      REQUIRE(bins.size() == 4);
      for (std::size_t i = 0; i < 4; ++i) {
        CHECK(counts[i] > 3);
        CHECK(bins[i].low == edges[i]);
        CHECK(bins[i].high == edges[i + 1]);
        CHECK(bins[i].count == counts[i]);
        CHECK(bins[i].mse == doctest::Approx(sums[i] / static_cast<double>(counts[i])).epsilon(1e-9));
      }
    }
  }
}

TEST_CASE("error_by_entropy: one bin for all is the attention error") {
  EntropyStudent model = tiny::student<EntropyStudent>(2);
  const DataSet data = tiny::data(4, {17});
  const auto bins = error_by_entropy(model, data, {-1, 100, 200});
  CHECK(bins[0].count == 4 * 17 * 2 * 4);
  CHECK(bins[0].mse == doctest::Approx(attention_error(model, data).mean()).epsilon(1e-12));
  CHECK(bins[1].count == 0);
  CHECK(bins[1].mse == 0);
  CHECK(error_by_entropy(model, data, {-1, 100}, 99)[0].count == 0);
  // The first query has one key, and an entropy of exactly 0: a bin holds its lower edge.
  CHECK(error_by_entropy(model, data, {0, 100})[0].count == 4 * 17 * 2 * 4);
  CHECK_THROWS_AS(error_by_entropy(model, data, {1}), ConfigError);
  CHECK_THROWS_AS(error_by_entropy(model, data, {1, 1}), ConfigError);
}
