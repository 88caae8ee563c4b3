#include "../train/tiny_llama.hpp"

#include <lolcats/eval/multiple_choice.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace lolcats;

namespace {

/// ln p(choice | context), from the whole logits of their concatenation.
double plain_choice(tiny::Teacher& model, const std::vector<Index>& context, const std::vector<Index>& choice) {
  std::vector<Index> text = context;
  text.insert(text.end(), choice.begin(), choice.end());
  const Sequences sequences = Sequences::rectangular(1, static_cast<Index>(text.size()));
  Tape<Cpu<double>> tape;
  const auto logits = model.logits(tape, text, sequences).value();
  double sum = 0;
  for (std::size_t i = context.size(); i < text.size(); ++i) {
    const double* row = logits.data + static_cast<Index>(i - 1) * logits.cols();
    double total = 0;
    for (Index v = 0; v < logits.cols(); ++v) total += std::exp(row[v]);
    sum += row[text[i]] - std::log(total);
  }
  return sum;
}

}  // namespace

TEST_CASE("multiple_choice: log-likelihoods and answers against whole logits") {
  auto model = tiny::teacher(2);
  const std::vector<MultipleChoice> questions = {
      {.context = {1, 2, 3}, .choices = {{4}, {5, 6, 7}, {8, 9}}, .answer = 1},
      {.context = {7}, .choices = {{1, 2, 3, 4}, {3}}, .lengths = {40, 1}, .answer = 0},
      {.context = {4, 4, 4, 4}, .choices = {{1}, {1}}, .answer = 0},
  };
  const auto result = multiple_choice(model, questions);
  REQUIRE(result.scores.size() == 3);
  double right = 0, right_normalized = 0;
  for (std::size_t q = 0; q < questions.size(); ++q) {
    Index best = 0, best_normalized = 0;
    std::vector<double> likelihood, normalized;
    for (std::size_t i = 0; i < questions[q].choices.size(); ++i) {
      likelihood.push_back(plain_choice(model, questions[q].context, questions[q].choices[i]));
      normalized.push_back(likelihood[i] / (questions[q].lengths.empty()
                                                ? static_cast<double>(questions[q].choices[i].size())
                                                : questions[q].lengths[i]));
      CHECK(result.scores[q].log_likelihood[i] == doctest::Approx(likelihood[i]).epsilon(1e-12));
      if (likelihood[i] > likelihood[static_cast<std::size_t>(best)]) best = static_cast<Index>(i);
      if (normalized[i] > normalized[static_cast<std::size_t>(best_normalized)])
        best_normalized = static_cast<Index>(i);
    }
    if (q < 2) {  // the third is a tie up to rounding
      CHECK(result.scores[q].chosen == best);
      CHECK(result.scores[q].chosen_normalized == best_normalized);
    }
    right += result.scores[q].chosen == questions[q].answer;
    right_normalized += result.scores[q].chosen_normalized == questions[q].answer;
  }
  CHECK(result.accuracy == doctest::Approx(right / 3));
  CHECK(result.normalized == doctest::Approx(right_normalized / 3));
  // Four tokens over forty bytes: the long choice can only win when lengths count.
  CHECK(result.scores[1].chosen == 1);
  CHECK(result.scores[1].chosen_normalized == 0);
}

TEST_CASE("multiple_choice: what is no question is an error") {
  auto model = tiny::teacher(1);
  CHECK_THROWS_AS(multiple_choice(model, {}), DataError);
  CHECK_THROWS_AS(multiple_choice(model, {{.context = {}, .choices = {{1}}}}), DataError);
  CHECK_THROWS_AS(multiple_choice(model, {{.context = {1}, .choices = {}}}), DataError);
  CHECK_THROWS_AS(multiple_choice(model, {{.context = {1}, .choices = {{1}, {}}}}), DataError);
  CHECK_THROWS_AS(multiple_choice(model, {{.context = {1}, .choices = {{1}, {2}}, .answer = 2}}), DataError);
  CHECK_THROWS_AS(multiple_choice(model, {{.context = {1}, .choices = {{1}, {2}}, .lengths = {1}}}), DataError);
  CHECK_THROWS_AS(multiple_choice(model, {{.context = {1}, .choices = {{1}}, .lengths = {0}}}), DataError);
  CHECK_THROWS_AS(multiple_choice(model, {{.context = {1}, .choices = {{19}}}}), DataError);
}

TEST_CASE("choose: ties go to the first, plain_choice and normalised") {
  const MultipleChoice equal{.context = {1}, .choices = {{1}, {2}, {3}}, .lengths = {2, 1, 1}};
  CHECK(choose(equal, {-3, -3, -3}).chosen == 0);
  CHECK(choose(equal, {-5, -3, -3}).chosen == 1);
  CHECK(choose(equal, {-6, -3, -3}).chosen_normalized == 0);  // all of them -3 per unit
  CHECK(choose(equal, {-8, -3, -3}).chosen_normalized == 1);
}
