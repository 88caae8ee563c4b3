// Log-likelihoods of continuations by a tiny model, on any device: what every backend must find.
#pragma once

#include "end_to_end.hpp"

#include <lolcats/eval/log_likelihood.hpp>

namespace language_model {

using namespace lolcats;

/// Of all continuations: each text read for itself, and contexts read once and their states copied.
struct Scores {
  std::vector<double> alone, shared;
  std::vector<bool> greedy, greedy_shared;
};

/// Contexts of 2, 50 and 130 tokens with four continuations each.
inline std::vector<Continuation> questions() {
  std::vector<Continuation> list;
  for (const auto& context : end_to_end::prompts()) {
    for (Index c = 0; c < 4; ++c) {
      Continuation question{context, {}};
      for (Index i = 0; i <= 3 * c; ++i) question.continuation.push_back((7 * c + 11 * i * i + 5) % 67);
      list.push_back(std::move(question));
    }
  }
  return list;
}

template <Backend B, AttentionPolicy A>
Scores score() {
  using Model = Llama<B, A>;
  Model model = convert<Model>(random_llama<Llama<B>>(end_to_end::config(), 1, 0.2), 1);
  LanguageModelOf<Model> scored(model);
  Scores scores;
  for (const auto& x : log_likelihoods(scored, questions(), {.batch_tokens = 400, .shared_from = 100000, .greedy = true})) {
    scores.alone.push_back(x.log_likelihood);
    scores.greedy.push_back(x.greedy);
  }
  for (const auto& x : log_likelihoods(scored, questions(), {.batch_tokens = 400, .shared_from = 0, .greedy = true})) {
    scores.shared.push_back(x.log_likelihood);
    scores.greedy_shared.push_back(x.greedy);
  }
  return scores;
}

// On Cpu<float>; compiled by the host's compiler.
Scores hybrid_on_cpu();
Scores softmax_on_cpu();

}  // namespace language_model
