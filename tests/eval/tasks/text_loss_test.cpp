#include "../../train/tiny_llama.hpp"

#include <lolcats/eval/perplexity.hpp>
#include <lolcats/eval/tasks/text_loss.hpp>

#include <doctest/doctest.h>

#include <numeric>

using namespace lolcats;

TEST_CASE("text_loss: the perplexity of rows, and the losses of their positions") {
  auto model = tiny::teacher(2);
  LanguageModelOf<tiny::Teacher> scored(model);
  std::vector<Index> text;
  for (std::uint64_t i = 0; i < 5 * 30 + 17; ++i) text.push_back(static_cast<Index>(mix_bits(i) % 19));
  std::vector<Row> rows;
  for (std::size_t r = 0; r < 5; ++r) {
    const std::vector<Index> tokens(text.begin() + static_cast<std::ptrdiff_t>(30 * r),
                                    text.begin() + static_cast<std::ptrdiff_t>(30 * r + 30));
    rows.push_back({tokens, tokens, {0}});
  }
  const Perplexity want = perplexity(model, DataSet(rows));
  // Losses of each position by rows of their own: text_loss of one position's bucket.
  std::vector<double> at(30, 0.0);
  for (const Row& row : rows) {
    Tape<Cpu<double>> tape;
    const auto logits = model.logits(tape, row.tokens, Sequences::rectangular(1, 30)).value();
    for (std::size_t i = 1; i < 30; ++i) {
      double total = 0;
      const double* x = logits.data + static_cast<Index>(i - 1) * logits.cols();
      for (Index v = 0; v < 19; ++v) total += std::exp(x[v]);
      at[i] += (std::log(total) - x[row.tokens[i]]) / 5;
    }
  }
  for (const Index budget : {1, 60, 10000}) {
    Index done = 0;
    const TextLoss got = text_loss(scored, text, 30, 8, budget, [&](Index now, Index total) {
      CHECK(now > done);
      CHECK(total == 5);
      done = now;
    });
    CHECK(done == 5);
    CHECK(got.rows == 5);
    CHECK(got.tokens == 5 * 29);
    CHECK(got.loss == doctest::Approx(want.loss).epsilon(1e-12));
    CHECK(got.perplexity == doctest::Approx(want.perplexity).epsilon(1e-12));
    REQUIRE(got.positions.size() == 4);
    const Index first[] = {0, 8, 16, 24}, last[] = {7, 15, 23, 29};
    for (std::size_t b = 0; b < 4; ++b) {
      CHECK(got.positions[b].first == first[b]);
      CHECK(got.positions[b].last == last[b]);
      const Index from = std::max<Index>(first[b], 1), count = last[b] - from + 1;
      CHECK(got.positions[b].tokens == 5 * count);
      CHECK(got.positions[b].loss == doctest::Approx(std::accumulate(at.begin() + from, at.begin() + last[b] + 1, 0.0) /
                                                     static_cast<double>(count))
                                         .epsilon(1e-12));
    }
  }
  CHECK_THROWS_AS(text_loss(scored, text, 200), DataError);
  CHECK_THROWS_AS(text_loss(scored, text, 1), ConfigError);
  CHECK_THROWS_AS(text_loss(scored, text, 30, 0), ConfigError);
}
