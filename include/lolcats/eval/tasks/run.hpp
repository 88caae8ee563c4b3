// Scores of a model on tasks.
#pragma once

#include <lolcats/data/open_text.hpp>
#include <lolcats/data/synthetic.hpp>
#include <lolcats/eval/multiple_choice.hpp>
#include <lolcats/eval/recall.hpp>
#include <lolcats/eval/tasks/passkey.hpp>
#include <lolcats/eval/tasks/prompts.hpp>
#include <lolcats/eval/tasks/task_result.hpp>
#include <lolcats/eval/tasks/tasks.hpp>
#include <lolcats/eval/tasks/text_loss.hpp>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace lolcats {

/// Told while tasks run.
struct TaskHooks {
  std::function<void(const std::string& task, Index done, Index total)> progress = {};
  std::function<void(const TaskResult&)> result = {};
};

namespace detail {

class TaskRunner {
 public:
  TaskRunner(LanguageModel& model, const Tokenizer& tokenizer, const TaskSet& set, const TaskHooks& hooks)
      : model_(model),
        set_(set),
        options_(set.options),
        hooks_(hooks),
        rules_(convention(set.options.convention)),
        encoding_{tokenizer, options_.bos.value_or(rules_.bos && tokenizer.adds_bos()), model.config().max_position} {
    require<ConfigError>(tokenizer.vocab_size() <= model.config().vocab_size,
                         "run_tasks: the tokenizer has {} tokens, expected at most the {} of the model",
                         tokenizer.vocab_size(), model.config().vocab_size);
  }

  bool bos() const { return encoding_.bos; }

  std::vector<TaskResult> run() {
    auto next = set_.benchmarks.begin();
    for (const std::string& task : options_.tasks) {
      if (is_commonsense(task))
        finish(multiple_choice_task(*next++));
      else if (is_mmlu(task))
        next = mmlu(task, next);
      else if (task == "perplexity")
        perplexities();
      else if (task == "passkey")
        passkeys();
      else if (task == "needle")
        needles();
      else
        recall();
    }
    return std::move(results_);
  }

 private:
  using Clock = std::chrono::steady_clock;

  void start() { begin_ = Clock::now(); }
  void finish(TaskResult result) {
    result.seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
    begin_ = Clock::now();
    results_.push_back(std::move(result));
    if (hooks_.result) hooks_.result(results_.back());
  }
  std::function<void(Index, Index)> progress(const std::string& task) const {
    if (!hooks_.progress) return {};
    return [this, task](Index done, Index total) { hooks_.progress(task, done, total); };
  }
  std::vector<Likelihood> read(TaskResult& result, const std::vector<Continuation>& list, bool greedy) {
    ReadingCost cost;
    auto likelihoods = log_likelihoods(
        model_, list, {.batch_tokens = options_.batch_tokens, .greedy = greedy, .progress = progress(result.name)},
        &cost);
    result.passes = cost.passes;
    result.tokens = cost.tokens;
    return likelihoods;
  }

  TaskResult multiple_choice_task(const Benchmark& task) {
    start();
    TaskResult result{task.name, task.group, task.version, options_.shots.value_or(task.default_shots)};
    const auto questions = make_prompts(task, rules_, result.shots, options_.limit);
    std::vector<EncodedPrompt> encoded = encode_prompts(encoding_, questions);
    std::vector<Continuation> list;
    for (EncodedPrompt& prompt : encoded) {
      list.push_back(std::move(prompt.tokens));
      result.cut += prompt.cut;
    }
    const auto likelihoods = read(result, list, false);
    std::vector<double> plain, by_characters, by_bytes;
    auto at = likelihoods.begin();
    for (const PromptedQuestion& prompted : questions) {
      const Question& q = prompted.question;
      MultipleChoice asked;
      std::vector<double> sums, bytes;
      for (const std::string& choice : q.choices) {
        sums.push_back((at++)->log_likelihood);
        asked.lengths.push_back(static_cast<double>(std::max<Index>(1, python::length(choice))));
        bytes.push_back(static_cast<double>(std::max<std::size_t>(1, choice.size())));
      }
      const ChoiceScores scores = choose(asked, sums);
      asked.lengths = bytes;
      plain.push_back(scores.chosen == q.answer);
      by_characters.push_back(scores.chosen_normalized == q.answer);
      by_bytes.push_back(choose(asked, sums).chosen_normalized == q.answer);
    }
    result.questions = static_cast<Index>(task.questions.size());
    result.scored = static_cast<Index>(questions.size());
    result.metrics.push_back(mean_metric("acc", plain));
    if (task.normalized) {
      result.metrics.push_back(mean_metric("acc_norm", by_characters));
      result.metrics.push_back(mean_metric("acc_bytes", by_bytes));
    }
    result.details["file"] = task.file;
    // A digit per question, in the order of asking, for comparisons of models question by question.
    const auto digits = [](const std::vector<double>& right) {
      std::string text;
      for (const double one : right) text += one != 0 ? '1' : '0';
      return text;
    };
    result.details["right"] = digits(plain);
    if (task.normalized) result.details["right_norm"] = digits(by_characters);
    if (result.shots > 0) result.details["shots_file"] = task.shots_file;
    return result;
  }

  template <class Iterator>
  Iterator mmlu(const std::string& name, Iterator next) {
    if (name != "mmlu") {
      finish(multiple_choice_task(*next));
      return ++next;
    }
    const std::size_t first = results_.size();
    const auto begin = Clock::now();
    for (; next != set_.benchmarks.end() && next->group == "mmlu"; ++next) finish(multiple_choice_task(*next));
    TaskResult whole{"mmlu"};
    whole.version = 2;
    const std::span<const TaskResult> subjects = std::span(results_).subspan(first);
    for (const TaskResult& subject : subjects) {
      whole.subtasks.push_back(subject.name);
      whole.shots = subject.shots;
      whole.questions += subject.questions;
      whole.scored += subject.scored;
      whole.cut += subject.cut;
      whole.passes += subject.passes;
      whole.tokens += subject.tokens;
    }
    whole.metrics.push_back(group_metric("acc", subjects, rules_.weighted));
    whole.details["subjects"] = whole.subtasks.size();
    whole.details["weighted_by_size"] = rules_.weighted;
    begin_ = begin;
    finish(std::move(whole));
    return next;
  }

  /// A text as stages of training read it: its documents one behind the other, in rows.
  DataSet rows_of(const std::filesystem::path& file) const {
    return open_text({file}, encoding_.tokenizer, {.length = options_.length});
  }

  void perplexities() {
    for (const std::filesystem::path& file : options_.texts) {
      start();
      TaskResult result{options_.texts.size() == 1 ? "perplexity" : "perplexity_" + file.stem().string()};
      const DataSet rows = rows_of(file);
      const TextLoss loss = text_loss(model_, rows, options_.bucket, options_.batch_tokens, progress(result.name));
      result.questions = result.scored = loss.rows;
      result.tokens = rows.tokens();
      result.metrics = {{"perplexity", loss.perplexity}, {"loss", loss.loss}};
      result.details["file"] = file.string();
      result.details["length"] = options_.length;
      result.details["tokens_predicted"] = loss.tokens;
      for (const PositionLoss& p : loss.positions) {
        if (p.tokens == 0) continue;
        result.details["positions"].push_back(
            {{"first", p.first}, {"last", p.last}, {"loss", p.loss}, {"tokens", p.tokens}});
      }
      finish(std::move(result));
    }
  }

  void retrieval(const std::string& name, Index length, const std::vector<PassKey>& keys) {
    TaskResult result{name};
    std::vector<Continuation> list;
    for (const PassKey& key : keys) {
      list.push_back(key.tokens);
      result.cut += key.cut;
    }
    const auto likelihoods = read(result, list, true);
    std::vector<double> found, by_depth[5];
    for (std::size_t i = 0; i < keys.size(); ++i) {
      found.push_back(likelihoods[i].greedy);
      by_depth[std::min(4, static_cast<int>(5 * keys[i].depth))].push_back(likelihoods[i].greedy);
      result.details["keys"].push_back({{"key", keys[i].key},
                                        {"depth", keys[i].depth},
                                        {"distance", keys[i].distance},
                                        {"tokens", keys[i].tokens.context.size()},
                                        {"log_likelihood", likelihoods[i].log_likelihood},
                                        {"found", likelihoods[i].greedy}});
    }
    result.questions = result.scored = static_cast<Index>(keys.size());
    result.metrics = {mean_metric("acc", found)};
    result.details["length"] = length;
    for (int d = 0; d < 5; ++d) {
      if (by_depth[d].empty()) continue;
      result.details["by_depth"].push_back(
          {{"from", d / 5.0}, {"n", by_depth[d].size()}, {"acc", mean_metric("", by_depth[d]).value}});
    }
    finish(std::move(result));
  }
  void passkeys() {
    PythonRandom random(options_.passkey_seed);
    std::vector<Index> others(static_cast<std::size_t>(options_.passkey_shuffle));
    random.shuffle(others);
    for (const Index length : options_.lengths) {
      start();
      retrieval(fmt::format("passkey_{}", length), length,
                filler_passkeys(encoding_, length, options_.passkeys, random));
    }
  }
  void needles() {
    PythonRandom random(options_.needle_seed);
    start();
    std::vector<Index> haystack;
    const DataSet rows = rows_of(options_.texts.front());
    for (Index i = 0; i < rows.size(); ++i) {
      const std::vector<Index> tokens = rows[i].tokens;
      haystack.insert(haystack.end(), tokens.begin(), tokens.end());
    }
    for (const Index length : options_.lengths) {
      retrieval(fmt::format("needle_{}", length), length,
                prose_passkeys(encoding_, haystack, length, options_.passkeys, random));
    }
  }

  void recall() {
    start();
    const SyntheticCorpus corpus({.length = options_.length});
    require<DataError>(corpus.vocabulary().size() <= model_.config().vocab_size,
                       "run_tasks: the synthetic corpus has {} words, expected at most the {} tokens of the model",
                       corpus.vocabulary().size(), model_.config().vocab_size);
    std::vector<SyntheticDocument> documents;
    for (std::uint64_t i = 0; i < 64; ++i) documents.push_back(corpus.document(3, i));  // 3: of validation
    const Recall found = recall_by_distance(model_, documents, {10, 65, 129, 257});
    TaskResult result{"recall"};
    result.questions = result.scored = found.total();
    result.metrics = {{"acc", found.accuracy()}};
    for (const RecallBin& bin : found.bins) {
      result.details["by_distance"].push_back({{"from", bin.first}, {"n", bin.total}, {"acc", bin.accuracy()}});
    }
    finish(std::move(result));
  }

  LanguageModel& model_;
  const TaskSet& set_;
  const TaskOptions& options_;
  const TaskHooks& hooks_;
  const Convention& rules_;
  Encoding encoding_;
  Clock::time_point begin_ = Clock::now();
  std::vector<TaskResult> results_;
};

}  // namespace detail

/// What all tasks said, and in which circumstances.
struct TaskReport {
  std::vector<TaskResult> results;
  nlohmann::ordered_json config;

  /// The harness's layout.
  nlohmann::ordered_json json() const { return results_json(results, config); }
  std::string table() const {
    std::string text = table_header() + "\n";
    for (const TaskResult& result : results) text += lolcats::table(result);
    return text;
  }
};

/// Scores a model on tasks that were loaded.  Errors: ConfigError for a tokenizer with more tokens than the model,
/// DataError for texts that it cannot spell or that are too short, NumericError.
inline TaskReport run_tasks(LanguageModel& model, const Tokenizer& tokenizer, const TaskSet& tasks,
                            const TaskHooks& hooks = {}) {
  detail::TaskRunner runner(model, tokenizer, tasks, hooks);
  TaskReport report;
  report.config["model"] = model.name();
  report.config["tokenizer_fingerprint"] = fmt::format("{:016x}", tokenizer.fingerprint());
  report.config["convention"] = tasks.options.convention;
  report.config["bos"] = runner.bos();
  report.config["max_length"] = model.config().max_position;
  report.config["batch_tokens"] = tasks.options.batch_tokens > 0 ? tasks.options.batch_tokens : model.batch_tokens();
  if (tasks.options.limit > 0)
    report.config["limit"] = tasks.options.limit;
  else
    report.config["limit"] = nullptr;
  report.results = runner.run();
  return report;
}

}  // namespace lolcats
