// Tasks by name: their options, and their data from a disk.
#pragma once

#include <lolcats/data/text_file.hpp>
#include <lolcats/eval/tasks/commonsense.hpp>
#include <lolcats/eval/tasks/mmlu.hpp>
#include <lolcats/eval/tasks/prompts.hpp>
#include <lolcats/io/file.hpp>

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lolcats {

/// Which tasks, and how.
struct TaskOptions {
  /// piqa, arc_easy, arc_challenge, hellaswag, winogrande, mmlu or one of its subjects as mmlu_anatomy; perplexity (of
  /// `texts`), passkey (in filler), needle (in prose, the first of `texts`), recall (in the synthetic corpus).
  std::vector<std::string> tasks = {};
  std::filesystem::path data = {};     // folder of the benchmarks, or of one of them
  std::optional<Index> shots = {};     // default: the task's own, 5 for MMLU and 0 for others
  Index limit = 0;                     // questions per task (and subject); 0: all
  std::string convention = "harness";  // or "harness-2023"
  std::optional<bool> bos = {};        // default: what the convention says
  Index batch_tokens = 0;              // of a forward pass; 0: the model's own
  std::vector<std::filesystem::path> texts = {};
  Index length = 1024;                                  // tokens per row of a text, and of a synthetic document
  Index bucket = 64;                                    // positions whose losses are averaged
  std::vector<Index> lengths = {256, 512, 1024, 2048};  // of texts with a pass key
  Index passkeys = 64;                                  // per length
  std::uint64_t passkey_seed = 0, needle_seed = 5;
  Index passkey_shuffle = 0;  // items that the generator shuffles first, where another program did so
};

/// Tasks whose data have been read.
struct TaskSet {
  TaskOptions options;
  std::vector<Benchmark> benchmarks;  // in the order of options.tasks
};

namespace detail {

inline constexpr std::array commonsense_tasks{"piqa", "arc_easy", "arc_challenge", "hellaswag", "winogrande"};

inline bool is_commonsense(const std::string& task) {
  return std::find(commonsense_tasks.begin(), commonsense_tasks.end(), task) != commonsense_tasks.end();
}
inline bool is_mmlu(const std::string& task) { return task == "mmlu" || task.starts_with("mmlu_"); }

}  // namespace detail

/// Reads what the tasks need and checks the options, so that nothing is missing when a model runs.
/// Errors: ConfigError for unknown names and values, DataError, FileError.
inline TaskSet load_tasks(const TaskOptions& options) {
  TaskSet set{options, {}};
  const Convention& rules = convention(options.convention);
  require<ConfigError>(!options.tasks.empty(), "load_tasks: there are no tasks");
  require<ConfigError>(
      options.limit >= 0 && options.shots.value_or(0) >= 0 && options.batch_tokens >= 0 && options.length > 1 &&
          options.bucket > 0 && options.passkeys > 0 && options.passkey_shuffle >= 0,
      "load_tasks: limit {}, shots {}, batch_tokens {}, length {}, bucket {}, passkeys {}: one is too small",
      options.limit, options.shots.value_or(0), options.batch_tokens, options.length, options.bucket, options.passkeys);
  bool wants_texts = false;
  for (const std::string& task : options.tasks) {
    const bool benchmark = detail::is_commonsense(task) || detail::is_mmlu(task);
    require<ConfigError>(benchmark || task == "perplexity" || task == "passkey" || task == "needle" || task == "recall",
                         "task '{}' is unknown, expected {}, mmlu, mmlu_SUBJECT, perplexity, passkey, needle or recall",
                         task, fmt::join(detail::commonsense_tasks, ", "));
    require<ConfigError>(std::count(options.tasks.begin(), options.tasks.end(), task) == 1, "task '{}' is named twice",
                         task);
    wants_texts = wants_texts || task == "perplexity" || task == "needle";
    require<ConfigError>(!benchmark || !options.data.empty(), "task '{}' needs a folder of data", task);
    if (detail::is_commonsense(task)) set.benchmarks.push_back(read_commonsense(task, options.data));
    if (detail::is_mmlu(task)) {
      bool found = false;
      for (Benchmark& subject : read_mmlu_subjects(options.data)) {
        if (task != "mmlu" && subject.name != task) continue;
        found = true;
        if (task != "mmlu") subject.group.clear();
        set.benchmarks.push_back(std::move(subject));
      }
      require<DataError>(found, "{}: no data of task '{}'", options.data.string(), task);
    }
  }
  for (const Benchmark& task : set.benchmarks)
    detail::drawn_shots(task, rules, options.shots.value_or(task.default_shots));
  require<ConfigError>(!wants_texts || !options.texts.empty(), "tasks 'perplexity' and 'needle' need a text");
  if (wants_texts) {
    for (const auto& file : options.texts) {
      const MappedFile text(file);
      require_text(text.text(), text.name());
      kind_of_text(file, text.text());
    }
  }
  return set;
}

}  // namespace lolcats
