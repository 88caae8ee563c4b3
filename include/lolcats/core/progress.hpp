// What a long computation tells its caller while it runs.
#pragma once

#include <lolcats/core/index.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace lolcats {

/// One report of a running stage.  The library never prints: a program passes a callback and decides.
struct Progress {
  std::string_view stage;                 // valid during the callback only
  Index update = 0;                       // finished so far
  Index total = 0;                        // that will be done unless the stage stops early
  double loss = 0;                        // training loss of this update
  std::optional<double> validation = {};  // if this update was followed by an evaluation
  double tokens_per_second = 0;           // of training alone, since the start or the resumption
  double seconds_remaining = 0;           // at the rate so far, evaluations included
};

/// Called after every update; may be empty.  An exception thrown here ends the stage and reaches its caller.
using ProgressCallback = std::function<void(const Progress&)>;

/// "0:07", "12:30", "3:04:05"; "?" where the time is unknown.
inline std::string clock_time(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e9) return "?";
  const auto whole = static_cast<Index>(std::llround(seconds));
  const Index hours = whole / 3600, minutes = whole / 60 % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60)
                   : fmt::format("{}:{:02}", minutes, whole % 60);
}

/// One line without its end: "transfer   120/2300  loss 0.0123  valid 0.0119  31.4K tokens/s  2:05 left".
inline std::string to_string(const Progress& p) {
  const int digits = static_cast<int>(fmt::format("{}", p.total).size());
  std::string line = fmt::format("{}  {:>{}}/{}  loss {:.4g}", p.stage, p.update, digits, p.total, p.loss);
  if (p.validation) line += fmt::format("  valid {:.4g}", *p.validation);
  const double rate = p.tokens_per_second;
  line += rate >= 1e4 ? fmt::format("  {:.1f}K tokens/s", rate / 1e3) : fmt::format("  {:.0f} tokens/s", rate);
  return line + fmt::format("  {} left", clock_time(p.seconds_remaining));
}

}  // namespace lolcats
