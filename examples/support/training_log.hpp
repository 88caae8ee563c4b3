// The log of a run's training: a line of JSON for every update.
#pragma once

#include "program.hpp"

#include <lolcats/io/file.hpp>
#include <lolcats/train/recipe.hpp>

#include <nlohmann/json.hpp>

#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace examples {

/// Lines of {"stage", "update", "loss", "validation", "learning_rate", "gradient_norm", "seconds", "tokens_per_second",
/// "memory": most bytes the process ever held}, each update once, however often the run was interrupted.
///
/// When a stage starts, its lines behind the resumed state are cut off (and a last one that a kill left half written), and
/// lines that are not there are filled in.  Lines of other stages stay.
class JsonLines {
 public:
  explicit JsonLines(std::filesystem::path path) : path_(std::move(path)) {}

  void operator()(std::string_view stage, std::span<const lolcats::TrainingPoint> points) {
    if (stage_ != stage) {
      stage_ = stage;
      resume(points);
      return;
    }
    for (const auto& point : points) writer_->write(line_of(point, peak_memory()));
  }

 private:
  void resume(std::span<const lolcats::TrainingPoint> points) {
    std::vector<std::string> own(points.size());
    std::string text;
    const std::string old = lolcats::path_exists(path_) ? lolcats::read_text(path_) : std::string();
    for (std::size_t at = 0, end = 0; (end = old.find('\n', at)) != std::string::npos; at = end + 1) {
      const std::string line = old.substr(at, end + 1 - at);
      const auto json = nlohmann::json::parse(line, nullptr, false);
      if (!json.is_object() || json.value("stage", "") != stage_) {
        text += line;
        continue;
      }
      const auto update = json.value("update", std::size_t{0});
      if (update >= 1 && update <= own.size()) own[update - 1] = line;
    }
    for (std::size_t i = 0; i < own.size(); ++i) text += own[i].empty() ? line_of(points[i], 0) : own[i];
    lolcats::write_file_atomically(path_, std::string_view(text));
    file_ = std::make_unique<lolcats::detail::Descriptor>(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    lolcats::require<lolcats::FileError>(file_->get() >= 0, "{}: cannot open for writing: {}", path_.string(), lolcats::detail::system_message(errno));
    writer_ = std::make_unique<lolcats::FileWriter>(file_->get(), path_.string());
  }

  /// What is not finite is null.
  std::string line_of(const lolcats::TrainingPoint& p, std::size_t memory) const {
    nlohmann::ordered_json line{{"stage", stage_}, {"update", p.update}, {"loss", p.loss}};
    if (p.validation) line["validation"] = *p.validation;
    line["learning_rate"] = p.learning_rate;
    line["gradient_norm"] = p.gradient_norm;
    line["seconds"] = p.seconds;
    line["tokens_per_second"] = p.tokens_per_second;
    if (memory > 0) line["memory"] = memory;
    return line.dump() + "\n";
  }

  std::filesystem::path path_;
  std::string stage_;  // that is running
  std::unique_ptr<lolcats::detail::Descriptor> file_;
  std::unique_ptr<lolcats::FileWriter> writer_;
};

/// A log for a recipe.
inline lolcats::TrainingLog json_lines(const std::filesystem::path& path) {
  return [lines = std::make_shared<JsonLines>(path)](std::string_view stage, std::span<const lolcats::TrainingPoint> points) {
    (*lines)(stage, points);
  };
}

}  // namespace examples
