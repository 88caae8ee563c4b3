// Questions of benchmarks, ready to be made prompts of.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace lolcats {

/// A question with its answers.  Between context and choice there will be one blank.
struct Question {
  std::vector<std::string> contexts;  // one for all choices, or one for each
  std::vector<std::string> choices;
  Index answer = 0;  // the right choice

  const std::string& context(std::size_t choice) const { return contexts[contexts.size() == 1 ? 0 : choice]; }
  friend bool operator==(const Question&, const Question&) = default;
};

/// A task as its authors publish it.
struct Benchmark {
  std::string name;         // as the harness calls it: "piqa", "mmlu_anatomy"
  std::string group;        // "mmlu", or none
  Index version = 1;        // of the harness's task
  std::string description;  // in front of everything
  std::vector<Question> questions;
  bool normalized = true;    // are accuracies by length reported?
  Index default_shots = 0;   // what publications use
  bool first_shots = false;  // shots are the first of `shots`, not drawn
  /// Is a question that is drawn as a shot for itself replaced?  So it is where shots come from the questions
  /// themselves, and, in today's harness, in tasks that name neither a test split nor a split for shots.
  bool shots_exclude_question = false;
  std::vector<Question> shots;   // what shots are drawn from
  std::string file, shots_file;  // where both were read
};

namespace detail {

/// The first of some files that exists below `data`; empty if none does.
inline std::filesystem::path find_file(const std::filesystem::path& data, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    std::error_code failure;
    if (std::filesystem::exists(data / name, failure)) return data / name;
  }
  return {};
}
inline std::filesystem::path require_file(const std::string& task, const std::filesystem::path& data,
                                          const std::vector<std::string>& names) {
  const std::filesystem::path file = find_file(data, names);
  require<DataError>(!file.empty(), "{}: no data of task '{}', expected one of {}", data.string(), task,
                     fmt::join(names, ", "));
  return file;
}

}  // namespace detail

}  // namespace lolcats
