// Prompts as EleutherAI's lm-evaluation-harness makes them: which questions, which shots, which tokens.
#pragma once

#include <lolcats/core/parallel.hpp>
#include <lolcats/eval/log_likelihood.hpp>
#include <lolcats/eval/tasks/benchmark.hpp>
#include <lolcats/eval/tasks/python_random.hpp>
#include <lolcats/eval/tasks/python_text.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>

#include <array>
#include <iterator>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

/// What published numbers differ by, besides the model.
struct Convention {
  std::string_view name;
  bool bos;       // do texts begin with BOS where the tokenizer says so?  Otherwise never.
  bool shuffled;  // questions are shuffled by the generator that draws shots next
  std::uint64_t seed;
  bool replaces_shots;  // Benchmark::shots_exclude_question holds for shots of a training set, too
  bool weighted;        // the accuracy of a group is that of its questions, not the mean over its tasks
};

/// Today's harness (August 2026).
inline constexpr Convention harness{"harness", true, false, 1234, true, true};
/// What LoLCATs and the first Open LLM Leaderboard used: commit b281b09 of June 2023.
inline constexpr Convention harness_2023{"harness-2023", false, true, 42, false, false};

/// Throws ConfigError for an unknown name.
inline const Convention& convention(std::string_view name) {
  static constexpr std::array all{&harness, &harness_2023};
  for (const Convention* c : all) {
    if (c->name == name) return *c;
  }
  fail<ConfigError>("convention '{}' is unknown, expected {} or {}", name, harness.name, harness_2023.name);
}

/// One context and continuation of a question, as text.
struct Prompt {
  std::string context;
  std::string continuation;
};

/// A question and what is asked of a model about it: a prompt per choice.
struct PromptedQuestion {
  Question question;
  std::vector<Prompt> prompts;
};

namespace detail {

inline bool replaces_shots(const Benchmark& task, const Convention& convention) {
  if (task.first_shots) return false;
  return task.shots_file == task.file || (task.shots_exclude_question && convention.replaces_shots);
}

/// How many shots are drawn for a question.  Throws DataError, naming the file, if there are fewer.
inline Index drawn_shots(const Benchmark& task, const Convention& convention, Index shots) {
  const Index drawn = shots > 0 ? shots + replaces_shots(task, convention) : 0;
  require<DataError>(drawn <= static_cast<Index>(task.shots.size()),
                     "{}: there are {} questions to draw shots from, expected {} for {} shots", task.shots_file,
                     task.shots.size(), drawn, shots);
  return drawn;
}

}  // namespace detail

/// The first `limit` questions (0: all) with `shots` answered ones in front of each.
/// Throws DataError if there are fewer to draw from, naming the file.
inline std::vector<PromptedQuestion> make_prompts(const Benchmark& task, const Convention& convention, Index shots,
                                                  Index limit = 0) {
  require<ConfigError>(shots >= 0 && limit >= 0, "make_prompts: {} shots and a limit of {}, expected 0 or more", shots,
                       limit);
  PythonRandom random(convention.seed);
  std::vector<std::size_t> order(task.questions.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (convention.shuffled) random.shuffle(order);
  if (limit > 0 && static_cast<std::size_t>(limit) < order.size()) order.resize(static_cast<std::size_t>(limit));

  const bool replace = detail::replaces_shots(task, convention);
  const Index drawn = detail::drawn_shots(task, convention, shots);
  std::vector<PromptedQuestion> result;
  for (const std::size_t i : order) {
    const Question& question = task.questions[i];
    std::vector<Index> places(static_cast<std::size_t>(drawn));
    if (task.first_shots)
      std::iota(places.begin(), places.end(), Index{0});
    else if (drawn > 0)
      places = random.sample(static_cast<Index>(task.shots.size()), drawn);
    std::string before = task.description;
    Index taken = 0;
    for (const Index place : places) {
      const Question& shot = task.shots[static_cast<std::size_t>(place)];
      if (taken == shots || (replace && shot == question)) continue;
      const auto right = static_cast<std::size_t>(shot.answer);
      before += shot.context(right) + " " + shot.choices[right] + "\n\n";
      ++taken;
    }
    PromptedQuestion prompted{question, {}};
    for (std::size_t c = 0; c < question.choices.size(); ++c) {
      prompted.prompts.push_back({before + question.context(c), " " + question.choices[c]});
    }
    result.push_back(std::move(prompted));
  }
  return result;
}

/// How texts become tokens.
struct Encoding {
  const Tokenizer& tokenizer;
  bool bos = false;      // texts begin with BOS, unless they spell it themselves
  Index max_tokens = 0;  // the longest text that the model reads; 0: any
};

/// Tokens of a text, special tokens in it parsed, as Python's tokenizers do.
inline std::vector<Index> encode_text(const Encoding& encoding, std::string_view text) {
  std::vector<Index> tokens = encoding.tokenizer.encode(text, false, true);
  if (!encoding.bos) return tokens;
  const std::optional<Index> bos = encoding.tokenizer.bos();
  require<DataError>(bos.has_value(), "encode_text: texts should begin with BOS, but the tokenizer has none");
  if (tokens.empty() || tokens.front() != *bos) tokens.insert(tokens.begin(), *bos);
  return tokens;
}

/// A prompt in tokens.
struct EncodedPrompt {
  Continuation tokens;
  bool cut = false;  // too long for the model: the beginning is lost
};

namespace detail {

/// `before` are the tokens of the context alone.
inline EncodedPrompt encode_prompt(const Encoding& encoding, const Prompt& prompt, std::vector<Index> before) {
  const std::vector<Index> whole = encode_text(encoding, prompt.context + prompt.continuation);
  EncodedPrompt result;
  require<DataError>(whole.size() > before.size(), "encode_prompt: the continuation '{}' adds no token",
                     prompt.continuation);
  result.tokens.continuation.assign(whole.begin() + static_cast<std::ptrdiff_t>(before.size()), whole.end());
  if (before.empty()) {
    const auto& t = encoding.tokenizer;
    require<DataError>(t.bos() || t.eos(),
                       "encode_prompt: the context is empty, and the tokenizer has neither BOS nor EOS");
    before.push_back(t.bos() ? *t.bos() : *t.eos());
  }
  const auto most = static_cast<std::size_t>(encoding.max_tokens);
  const std::size_t size = before.size() + result.tokens.continuation.size();
  if (most > 0 && size > most + 1) {
    const std::size_t surplus = size - most - 1;
    require<DataError>(surplus < before.size(),
                       "encode_prompt: a continuation of {} tokens does not fit the model's {}",
                       result.tokens.continuation.size(), most);
    before.erase(before.begin(), before.begin() + static_cast<std::ptrdiff_t>(surplus));
    result.cut = true;
  }
  result.tokens.context = std::move(before);
  return result;
}

}  // namespace detail

/// Context and continuation are encoded together, and what lies behind as many tokens as the context has alone is the
/// continuation; blanks at the end of the context belong to it.  An empty context is BOS, or the end of a text.
/// Too long a text loses its beginning, so that `max_tokens` are read.
/// Throws DataError for a continuation that adds no token, or is itself too long.
inline EncodedPrompt encode_prompt(const Encoding& encoding, const Prompt& prompt) {
  return detail::encode_prompt(encoding, prompt, encode_text(encoding, python::strip_end(prompt.context)));
}

/// The prompts of many questions, one list for all, on all cores.
inline std::vector<EncodedPrompt> encode_prompts(const Encoding& encoding,
                                                 const std::vector<PromptedQuestion>& questions) {
  std::vector<std::vector<EncodedPrompt>> encoded(questions.size());
  parallel_for(static_cast<Index>(questions.size()), [&](Index n) {
    const auto& prompts = questions[static_cast<std::size_t>(n)].prompts;
    std::vector<Index> context;
    for (std::size_t c = 0; c < prompts.size(); ++c) {
      if (c == 0 || prompts[c].context != prompts[c - 1].context) {
        context = encode_text(encoding, python::strip_end(prompts[c].context));
      }
      encoded[static_cast<std::size_t>(n)].push_back(detail::encode_prompt(encoding, prompts[c], context));
    }
  });
  std::vector<EncodedPrompt> all;
  for (auto& list : encoded) std::move(list.begin(), list.end(), std::back_inserter(all));
  return all;
}

}  // namespace lolcats
