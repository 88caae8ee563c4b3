#include "../train/tiny_llama.hpp"

#include <lolcats/eval/perplexity.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace lolcats;

namespace {

/// -log p of every labelled token of one row, from whole logits.
std::vector<double> plain_losses(tiny::Teacher& model, const Row& row) {
  const auto length = static_cast<Index>(row.tokens.size());
  const Sequences sequences = Sequences::rectangular(1, length);
  Tape<Cpu<double>> tape;
  const auto logits = model.logits(tape, row.tokens, sequences).value();
  std::vector<double> losses;
  for (Index i = 0; i + 1 < length; ++i) {
    const Index label = row.labels[static_cast<std::size_t>(i + 1)];
    if (label < 0) continue;
    double total = 0;
    for (Index v = 0; v < logits.cols(); ++v) total += std::exp(logits.data[i * logits.cols() + v]);
    losses.push_back(std::log(total) - logits.data[i * logits.cols() + label]);
  }
  return losses;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

}  // namespace

TEST_CASE("perplexity: exp of the mean over tokens, and the mean over rows of exp") {
  auto model = tiny::teacher(2);
  std::vector<Row> rows = tiny::data(7, {9, 4, 13}).rows();
  rows[2].labels[5] = rows[2].labels[6] = ignored_label;
  rows[4].labels.assign(rows[4].labels.size(), ignored_label);  // nothing to predict in this row
  std::vector<double> all, exponentials;
  for (const Row& row : rows) {
    const auto losses = plain_losses(model, row);
    all.insert(all.end(), losses.begin(), losses.end());
    if (!losses.empty()) exponentials.push_back(std::exp(mean(losses)));
  }
  const DataSet data(rows);
  for (const Index together : {1, 3, 100}) {
    const Perplexity p = perplexity(model, data, together);
    CHECK(p.tokens == static_cast<Index>(all.size()));
    CHECK(p.sequences == 6);
    CHECK(p.loss == doctest::Approx(mean(all)).epsilon(1e-12));
    CHECK(p.perplexity == doctest::Approx(std::exp(mean(all))).epsilon(1e-12));
    CHECK(p.mean_of_sequences == doctest::Approx(mean(exponentials)).epsilon(1e-12));
  }
}

TEST_CASE("perplexity: nothing to predict and nothing finite are errors") {
  auto model = tiny::teacher(2);
  std::vector<Row> rows = tiny::data(3).rows();
  CHECK_THROWS_AS(perplexity(model, DataSet(rows), 0), ConfigError);
  CHECK_THROWS_AS(perplexity(model, DataSet()), DataError);
  for (Row& row : rows) row.labels.assign(row.labels.size(), ignored_label);
  CHECK_THROWS_AS(perplexity(model, DataSet(rows)), DataError);

  auto* head = model.base_parameters().back().parameter;
  head->own(model.backend());
  head->mutable_value().data[0] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH_AS(perplexity(model, tiny::data(3)), doctest::Contains("the loss of row 0 is"), NumericError);
}
