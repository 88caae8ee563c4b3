// Multiple choice by log-likelihood.
#pragma once

#include <lolcats/eval/log_likelihood.hpp>

#include <cmath>
#include <concepts>
#include <utility>
#include <vector>

namespace lolcats {

/// A question: which choice goes on best after the context?
struct MultipleChoice {
  std::vector<Index> context;               // at least one token
  std::vector<std::vector<Index>> choices;  // at least one token each
  /// What the log-likelihood of a choice is divided by for the normalised answer: for acc_norm of EleutherAI's
  /// lm-evaluation-harness the characters (code points) of its text; empty: its tokens.
  std::vector<double> lengths = {};
  Index answer = 0;  // the right choice
};

/// What a model chose.
struct ChoiceScores {
  std::vector<double> log_likelihood;  // of each choice given the context, in nats
  Index chosen = 0;                    // most likely; ties go to the first
  Index chosen_normalized = 0;         // most likely per unit of length
};

/// Shares of right answers.
struct ChoiceAccuracy {
  double accuracy = 0;
  double normalized = 0;  // with length-normalised log-likelihoods
  std::vector<ChoiceScores> scores;
};

namespace detail {
inline void check_question(const MultipleChoice& q, std::size_t number) {
  require<DataError>(!q.context.empty() && !q.choices.empty(),
                     "multiple_choice: question {} has {} context tokens and {} choices, expected some of both", number,
                     q.context.size(), q.choices.size());
  for (std::size_t i = 0; i < q.choices.size(); ++i) {
    require<DataError>(!q.choices[i].empty(), "multiple_choice: choice {} of question {} is empty", i, number);
  }
  require<DataError>(q.answer >= 0 && q.answer < static_cast<Index>(q.choices.size()),
                     "multiple_choice: answer of question {} is {}, expected 0 to {}", number, q.answer,
                     q.choices.size() - 1);
  require<DataError>(q.lengths.empty() || q.lengths.size() == q.choices.size(),
                     "multiple_choice: question {} has {} lengths, expected {}, one per choice", number,
                     q.lengths.size(), q.choices.size());
  for (const double length : q.lengths) {
    require<DataError>(std::isfinite(length) && length > 0,
                       "multiple_choice: a length of question {} is {}, expected a positive number", number, length);
  }
}
}  // namespace detail

/// Scores of one question from the log-likelihoods of its choices.
inline ChoiceScores choose(const MultipleChoice& question, std::vector<double> log_likelihood) {
  ChoiceScores scores{std::move(log_likelihood)};
  double best = 0;
  for (std::size_t i = 0; i < scores.log_likelihood.size(); ++i) {
    const double likelihood = scores.log_likelihood[i];
    if (likelihood > scores.log_likelihood[static_cast<std::size_t>(scores.chosen)])
      scores.chosen = static_cast<Index>(i);
    const double normalized =
        likelihood / (question.lengths.empty() ? static_cast<double>(question.choices[i].size()) : question.lengths[i]);
    if (i == 0 || normalized > best) {
      best = normalized;
      scores.chosen_normalized = static_cast<Index>(i);
    }
  }
  return scores;
}

/// Answers every question, many of them in one forward pass.  Throws DataError for a question that is not one.
inline ChoiceAccuracy multiple_choice(LanguageModel& model, const std::vector<MultipleChoice>& questions,
                                      const ReadingOptions& options = {}) {
  require<DataError>(!questions.empty(), "multiple_choice: there are no questions");
  std::vector<Continuation> list;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    detail::check_question(questions[i], i);
    for (const auto& choice : questions[i].choices) list.push_back({questions[i].context, choice});
  }
  const std::vector<Likelihood> likelihoods = log_likelihoods(model, list, options);
  ChoiceAccuracy result;
  Index right = 0, right_normalized = 0;
  auto next = likelihoods.begin();
  for (const MultipleChoice& question : questions) {
    std::vector<double> sums;
    for (std::size_t i = 0; i < question.choices.size(); ++i) sums.push_back((next++)->log_likelihood);
    result.scores.push_back(choose(question, std::move(sums)));
    right += result.scores.back().chosen == question.answer;
    right_normalized += result.scores.back().chosen_normalized == question.answer;
  }
  const auto count = static_cast<double>(questions.size());
  result.accuracy = static_cast<double>(right) / count;
  result.normalized = static_cast<double>(right_normalized) / count;
  return result;
}

/// The same for a model of any type.
template <class Model>
requires(!std::derived_from<Model, LanguageModel>) ChoiceAccuracy
    multiple_choice(Model& model, const std::vector<MultipleChoice>& questions, const ReadingOptions& options = {}) {
  LanguageModelOf<Model> scored(model);
  return multiple_choice(static_cast<LanguageModel&>(scored), questions, options);
}

}  // namespace lolcats
