// The log of a run's training: a line of JSON for every update.
#pragma once

#include "program.hpp"

#include <lolcats/io/file.hpp>
#include <lolcats/train/recipe.hpp>

#include <cstdlib>
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
    const std::string start = fmt::format("{{\"stage\": \"{}\", \"update\": ", stage);
    if (start_ != start) {
      start_ = start;
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
      if (!line.starts_with(start_)) {
        text += line;
        continue;
      }
      const auto update = std::strtoull(line.c_str() + start_.size(), nullptr, 10);
      if (update >= 1 && update <= own.size()) own[update - 1] = line;
    }
    for (std::size_t i = 0; i < own.size(); ++i) text += own[i].empty() ? line_of(points[i], 0) : own[i];
    lolcats::write_file_atomically(path_, std::string_view(text));
    file_ = std::make_unique<lolcats::detail::Descriptor>(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    lolcats::require<lolcats::FileError>(file_->get() >= 0, "{}: cannot open for writing: {}", path_.string(), lolcats::detail::system_message(errno));
    writer_ = std::make_unique<lolcats::FileWriter>(file_->get(), path_.string());
  }

  std::string line_of(const lolcats::TrainingPoint& p, std::size_t memory) const {
    const std::string validation = p.validation ? fmt::format(", \"validation\": {}", *p.validation) : "";
    const std::string peak = memory > 0 ? fmt::format(", \"memory\": {}", memory) : "";
    return fmt::format("{}{}, \"loss\": {}{}, \"learning_rate\": {}, \"gradient_norm\": {}, \"seconds\": {:.3f}, \"tokens_per_second\": {:.1f}{}}}\n",
                       start_, p.update, p.loss, validation, p.learning_rate, p.gradient_norm, p.seconds, p.tokens_per_second, peak);
  }

  std::filesystem::path path_;
  std::string start_;  // of the lines of the running stage
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
