// Multiple choice by log-likelihood.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/ops/cross_entropy/cross_entropy.hpp>
#include <lolcats/tape/tape.hpp>
#include <lolcats/tensor/sequences.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

namespace lolcats {

/// A question: which choice goes on best after the context?
struct MultipleChoice {
  std::vector<Index> context;               // at least one token
  std::vector<std::vector<Index>> choices;  // at least one token each
  /// What the log-likelihood of a choice is divided by for the normalised answer, as a rule its bytes; empty: its
  /// tokens.
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

/// ln p(choice | context) of every choice of one question, which are read as one ragged batch.
template <class Model>
ChoiceScores score_choices(Model& model, Tape<typename Model::Device>& tape, const MultipleChoice& question) {
  using B = typename Model::Device;
  std::vector<Index> tokens, labels;
  std::vector<Extent> extents;
  for (const auto& choice : question.choices) {
    const auto first = static_cast<Index>(tokens.size());
    std::vector<Index> text = question.context;
    text.insert(text.end(), choice.begin(), choice.end());
    // The last token predicts nothing, so it need not be read.
    tokens.insert(tokens.end(), text.begin(), text.end() - 1);
    labels.resize(tokens.size(), ignored_label);
    for (std::size_t i = 0; i < choice.size(); ++i) {
      labels[static_cast<std::size_t>(first) + question.context.size() - 1 + i] = choice[i];
    }
    extents.push_back({first, static_cast<Index>(tokens.size()) - first, 0});
  }
  const Sequences sequences(static_cast<Index>(tokens.size()), std::move(extents));

  const typename Tape<B>::NoGradient quiet(tape);
  const typename Tape<B>::Scope scope(tape);
  const Var<B> hidden = model.hidden(tape, tokens, sequences);
  const View<Real<B>> losses = token_losses(tape, hidden.value(), model.head().value, labels);
  std::vector<double> host(tokens.size());
  tape.backend().to_host(losses.data, host.data(), losses.size());

  ChoiceScores scores;
  double best = 0;
  for (Index i = 0; i < sequences.count(); ++i) {
    double likelihood = 0;
    for (Index row = sequences[i].row; row < sequences[i].row + sequences[i].length; ++row) {
      likelihood -= host[static_cast<std::size_t>(row)];
    }
    require<NumericError>(std::isfinite(likelihood), "multiple_choice: the log-likelihood of choice {} is {}", i,
                          likelihood);
    const auto at = static_cast<std::size_t>(i);
    scores.log_likelihood.push_back(likelihood);
    if (likelihood > scores.log_likelihood[static_cast<std::size_t>(scores.chosen)]) scores.chosen = i;
    const double normalized = likelihood / (question.lengths.empty() ? static_cast<double>(question.choices[at].size())
                                                                     : question.lengths[at]);
    if (i == 0 || normalized > best) {
      best = normalized;
      scores.chosen_normalized = i;
    }
  }
  return scores;
}

/// Answers every question.  Throws DataError for a question that is not one.
template <class Model>
ChoiceAccuracy multiple_choice(Model& model, const std::vector<MultipleChoice>& questions) {
  require<DataError>(!questions.empty(), "multiple_choice: there are no questions");
  for (std::size_t i = 0; i < questions.size(); ++i) detail::check_question(questions[i], i);
  Tape<typename Model::Device> tape(model.backend());
  ChoiceAccuracy result;
  Index right = 0, right_normalized = 0;
  for (const MultipleChoice& question : questions) {
    result.scores.push_back(score_choices(model, tape, question));
    right += result.scores.back().chosen == question.answer;
    right_normalized += result.scores.back().chosen_normalized == question.answer;
  }
  const auto count = static_cast<double>(questions.size());
  result.accuracy = static_cast<double>(right) / count;
  result.normalized = static_cast<double>(right_normalized) / count;
  return result;
}

}  // namespace lolcats
