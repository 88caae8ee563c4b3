#include "../../train/tiny_llama.hpp"

#include <lolcats/eval/perplexity.hpp>
#include <lolcats/eval/tasks/text_loss.hpp>

#include <doctest/doctest.h>

#include <numeric>

using namespace lolcats;

TEST_CASE("text_loss: the perplexity of rows, and the losses of their positions") {
  auto model = tiny::teacher(2);
  LanguageModelOf<tiny::Teacher> scored(model);
  std::vector<Row> rows;
  for (std::uint64_t r = 0; r < 5; ++r) {
    std::vector<Index> tokens;
    for (std::uint64_t i = 0; i < 30; ++i) tokens.push_back(static_cast<Index>(mix_bits(30 * r + i) % 19));
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
    const TextLoss got = text_loss(scored, DataSet(rows), 8, budget, [&](Index now, Index total) {
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
    const Index first[] = {0, 8, 16, 24}, last[] = {7, 15, 23, 31};
    for (std::size_t b = 0; b < 4; ++b) {
      CHECK(got.positions[b].first == first[b]);
      CHECK(got.positions[b].last == last[b]);
      const Index from = std::max<Index>(first[b], 1), until = std::min<Index>(last[b], 29), count = until - from + 1;
      CHECK(got.positions[b].tokens == 5 * count);
      CHECK(got.positions[b].loss == doctest::Approx(std::accumulate(at.begin() + from, at.begin() + until + 1, 0.0) /
                                                     static_cast<double>(count))
                                         .epsilon(1e-12));
    }
  }
  CHECK_THROWS_AS(text_loss(scored, DataSet(rows), 0), ConfigError);
  CHECK_THROWS_AS(text_loss(scored, DataSet()), DataError);
}

TEST_CASE("text_loss: labels that are ignored, rows of any lengths, documents kept apart") {
  auto model = tiny::teacher(1);
  LanguageModelOf<tiny::Teacher> scored(model);
  std::vector<Row> rows = {{{1, 2, 3, 4, 5}, {1, ignored_label, 3, 4, ignored_label}, {0, 3}},
                           {{7, 8, 9}, {7, 8, 9}, {0}}};
  for (const auto boundaries : {DocumentBoundaries::Joined, DocumentBoundaries::Separate}) {
    const DataSet data(rows, boundaries);
    const Perplexity want = perplexity(model, data);
    const TextLoss got = text_loss(scored, data, 1);
    CHECK(got.tokens == want.tokens);
    CHECK(got.loss == doctest::Approx(want.loss).epsilon(1e-12));
    // Of 3, 4, 8 and 9: joined they stand at 2, 3, 1, 2; apart the 4 begins a document and is not predicted.
    const std::vector<Index> counts =
        boundaries == DocumentBoundaries::Joined ? std::vector<Index>{0, 1, 2, 1} : std::vector<Index>{0, 1, 2};
    REQUIRE(got.positions.size() == counts.size());
    for (std::size_t i = 0; i < counts.size(); ++i) CHECK(got.positions[i].tokens == counts[i]);
  }
}
