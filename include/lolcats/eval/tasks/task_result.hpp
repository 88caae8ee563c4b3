// What a task found out, and how the harness writes it down.
#pragma once

#include <lolcats/core/index.hpp>

#include <nlohmann/json.hpp>

#include <fmt/format.h>

#include <cmath>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace lolcats {

/// A number with its standard error, where it has one.
struct Metric {
  std::string name;
  double value = 0;
  std::optional<double> deviation = {};
};

struct TaskResult {
  std::string name;
  std::string group = {};
  Index version = 1;
  Index shots = 0;
  Index questions = 0;  // there are
  Index scored = 0;
  Index cut = 0;  // prompts that were too long for the model
  std::vector<Metric> metrics = {};
  double seconds = 0;
  Index passes = 0, tokens = 0;            // read
  nlohmann::ordered_json details = {};     // what the harness has no place for
  std::vector<std::string> subtasks = {};  // of a group
};

/// The mean and its standard error: the deviation of a sample (n - 1) over the root of n; none for a single value.
inline Metric mean_metric(std::string name, std::span<const double> values) {
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  const double mean = sum / n;
  for (const double value : values) squares += (value - mean) * (value - mean);
  Metric metric{std::move(name), mean};
  if (values.size() > 1) metric.deviation = std::sqrt(squares / (n - 1)) / std::sqrt(n);
  return metric;
}

/// One number for the metric `name` of several tasks.
///
/// Weighted: the mean over all questions, with the harness's pooled error
/// sqrt(sum (n_i - 1) n_i e_i^2 / (N - k) / N) of k tasks with n_i questions and errors e_i.
/// Otherwise the mean over the tasks, with error sqrt(sum e_i^2) / k.
inline Metric group_metric(std::string name, std::span<const TaskResult> tasks, bool weighted) {
  double sum = 0, total = 0, variance = 0, pooled = 0;
  bool known = true;
  for (const TaskResult& task : tasks) {
    for (const Metric& metric : task.metrics) {
      if (metric.name != name) continue;
      const auto n = static_cast<double>(task.scored);
      sum += metric.value * (weighted ? n : 1.0);
      total += n;
      known = known && metric.deviation.has_value();
      const double error = metric.deviation.value_or(0);
      variance += error * error;
      pooled += (n - 1) * n * error * error;
    }
  }
  const auto count = static_cast<double>(tasks.size());
  Metric metric{std::move(name), sum / (weighted ? total : count)};
  if (known) metric.deviation = weighted ? std::sqrt(pooled / (total - count) / total) : std::sqrt(variance) / count;
  return metric;
}

/// The results of several tasks in the harness's layout: results, group_subtasks, versions, n-shot, n-samples, with
/// `config` as given, and under "details" what that layout has no place for.
inline nlohmann::ordered_json results_json(std::span<const TaskResult> tasks, const nlohmann::ordered_json& config) {
  nlohmann::ordered_json json;
  json["results"] = nlohmann::ordered_json::object();
  json["group_subtasks"] = nlohmann::ordered_json::object();
  for (const TaskResult& task : tasks) {
    auto& entry = json["results"][task.name];
    entry["alias"] = task.name;
    for (const Metric& metric : task.metrics) {
      entry[metric.name + ",none"] = metric.value;
      if (metric.deviation)
        entry[metric.name + "_stderr,none"] = *metric.deviation;
      else
        entry[metric.name + "_stderr,none"] = "N/A";
    }
    if (!task.subtasks.empty()) json["group_subtasks"][task.name] = task.subtasks;
    json["versions"][task.name] = task.version;
    json["n-shot"][task.name] = task.shots;
    json["n-samples"][task.name] = {{"original", task.questions}, {"effective", task.scored}};
    auto& details = json["details"][task.name];
    details = task.details;
    details["seconds"] = task.seconds;
    details["tokens_read"] = task.tokens;
    details["forward_passes"] = task.passes;
    details["prompts_cut"] = task.cut;
  }
  json["config"] = config;
  return json;
}

/// A line of a table: task, n, shots, metric, value, standard error, seconds.
inline std::string table_line(const TaskResult& task, const Metric& metric, bool first) {
  std::string line =
      fmt::format("{:<32} {:>6} {:>5}  {:<12} {:>9.4f} {:>9}", first ? task.name : "",
                  first ? fmt::format("{}", task.scored) : "", first ? fmt::format("{}", task.shots) : "", metric.name,
                  metric.value, metric.deviation ? fmt::format("{:.4f}", *metric.deviation) : "");
  if (first) line += fmt::format(" {:>8.1f}", task.seconds);
  return line.substr(0, line.find_last_not_of(' ') + 1);
}
inline std::string table_header() {
  return fmt::format("{:<32} {:>6} {:>5}  {:<12} {:>9} {:>9} {:>8}", "task", "n", "shots", "metric", "value", "stderr",
                     "seconds");
}
inline std::string table(const TaskResult& task) {
  std::string text;
  for (std::size_t i = 0; i < task.metrics.size(); ++i) (text += table_line(task, task.metrics[i], i == 0)) += '\n';
  return text;
}

}  // namespace lolcats
