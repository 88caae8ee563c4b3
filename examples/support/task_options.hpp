// Options of programs that score models on tasks.
//
// `app` is a CLI::App; see options.hpp.
#pragma once

#include "command_line.hpp"

#include <lolcats/eval/tasks/run.hpp>

#include <fmt/core.h>

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

namespace examples {

/// Which tasks a model is scored on, and how.
struct TaskCommandLine {
  lolcats::TaskOptions options;
  lolcats::Index shots = -1;  // -1: each task's own

  /// `length_option` names the option for the rows of a text, where "--length" means something else.
  void add_tasks_to(auto& app, const std::string& length_option = "--text-length") {
    app.add_option("--tasks", options.tasks,
                   "piqa, arc_easy, arc_challenge, hellaswag, winogrande, mmlu or mmlu_SUBJECT; perplexity, passkey, needle, recall")
        ->delimiter(',');
    app.add_option("--data", options.data, "folder of the benchmarks as their authors publish them, or of one of them");
    app.add_option("--shots", shots, "answered questions in front of each (default: 5 for mmlu, 0 for others)")->check(non_negative);
    app.add_option("--limit", options.limit, "questions per task; 0: all")->capture_default_str()->check(non_negative);
    app.add_option("--convention", options.convention,
                   "harness (lm-evaluation-harness of 2026) or harness-2023 (what LoLCATs used: no BOS, means over subjects)")
        ->capture_default_str();
    app.add_option("--batch-tokens", options.batch_tokens, "tokens of a forward pass; 0: what suits the device")->capture_default_str()->check(non_negative);
    app.add_option("--text", options.texts, "texts for perplexity, the first also for needle, of any kind that linearize --train takes");
    app.add_option(length_option, options.length, "tokens per row of a text")->capture_default_str()->check(positive);
    app.add_option("--bucket", options.bucket, "positions whose losses are averaged")->capture_default_str()->check(positive);
    app.add_option("--lengths", options.lengths, "tokens of the texts that hide a pass key")->delimiter(',')->capture_default_str()->check(positive);
    app.add_option("--passkeys", options.passkeys, "texts per length")->capture_default_str()->check(positive);
    app.add_option("--passkey-seed", options.passkey_seed, "of the keys and depths in filler")->capture_default_str()->check(non_negative);
    app.add_option("--passkey-shuffle", options.passkey_shuffle, "items that this generator shuffles first, as a program that used it before did")
        ->capture_default_str()->check(non_negative);
    app.add_option("--needle-seed", options.needle_seed, "of the keys, places and depths in prose")->capture_default_str()->check(non_negative);
  }

  /// Reads the data.  Errors: as load_tasks.
  lolcats::TaskSet load() {
    if (shots >= 0) options.shots = shots;
    return lolcats::load_tasks(options);
  }
};

/// Progress on stderr, and a line per result on stdout as it comes.
inline lolcats::TaskHooks print_tasks() {
  using Clock = std::chrono::steady_clock;
  struct State {
    Clock::time_point last;
    bool header = false;
  };
  const auto state = std::make_shared<State>();
  const bool terminal = isatty(STDERR_FILENO) != 0;
  lolcats::TaskHooks hooks;
  hooks.progress = [state, terminal](const std::string& task, lolcats::Index done, lolcats::Index total) {
    const auto now = Clock::now();
    if (now - state->last < (terminal ? std::chrono::milliseconds(200) : std::chrono::seconds(10))) return;
    state->last = now;
    fmt::print(stderr, "{}{}  {}/{}{}", terminal ? "\r\033[K" : "", task, done, total, terminal ? "" : "\n");
    std::fflush(stderr);
  };
  hooks.result = [state, terminal](const lolcats::TaskResult& result) {
    if (terminal) fmt::print(stderr, "\r\033[K");
    if (!state->header) fmt::print("{}\n", lolcats::table_header());
    state->header = true;
    fmt::print("{}", lolcats::table(result));
    if (result.cut > 0) fmt::print("{:<32} {} prompts were longer than the model's context and lost their beginnings\n", "", result.cut);
    std::fflush(stdout);
  };
  return hooks;
}

}  // namespace examples
