// Rows of a study as a table: mean and spread over the seeds, and a mark on the best.
#pragma once

#include <lolcats/ablation/row.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace lolcats {

/// Which end of a column is the better one.
enum class Best { lowest, highest, none };

/// A column of a table.
struct Column {
  std::string number;  // of the rows
  std::string title;
  Best best = Best::lowest;
  int digits = 4;  // significant
};

/// "3.61", "12.0", "1540", "8.2e-05": so many significant digits, no exponent between 1e-3 and 1e6.
inline std::string significant(double value, int digits) {
  if (!std::isfinite(value)) return "";
  const double size = std::abs(value);
  if (size != 0 && (size < 1e-3 || size >= 1e6)) return fmt::format("{:.{}e}", value, digits - 1);
  const int whole = size == 0 ? 1 : static_cast<int>(std::floor(std::log10(size))) + 1;
  return fmt::format("{:.{}f}", value, std::max(0, digits - whole));
}

/// The study as text, which is Markdown, too: one line for each variant of each group, "mean ± deviation" where there
/// are several seeds, and a star on the best of each column within its group.  Rows that failed say why below it.
inline std::string table(const Ablation& ablation, const std::vector<Column>& columns) {
  struct Line {
    std::string group, variant;
  };
  std::vector<Line> lines;
  for (const AblationRow& row : ablation.rows) {
    const bool known = std::ranges::any_of(
        lines, [&](const Line& line) { return line.group == row.group && line.variant == row.variant; });
    if (!known) lines.push_back({row.group, row.variant});
  }
  const bool grouped = std::ranges::any_of(lines, [](const Line& line) { return !line.group.empty(); });

  std::vector<std::vector<std::string>> cells(1);
  if (grouped) cells[0].push_back("");
  cells[0].push_back("variant");
  for (const Column& column : columns) cells[0].push_back(column.title);
  for (const Line& line : lines) {
    auto& to = cells.emplace_back();
    if (grouped) to.push_back(line.group);
    to.push_back(line.variant);
    for (const Column& column : columns) {
      const Statistic s = ablation.statistic(line.variant, column.number, line.group);
      std::string text = significant(s.mean, column.digits);
      if (s.count > 1 && s.spread > 1e-9 * std::abs(s.mean)) text += " ± " + significant(s.spread, 2);
      if (column.best != Best::none && s.count > 0) {
        const double sign = column.best == Best::lowest ? 1 : -1;
        const bool best = std::ranges::none_of(lines, [&](const Line& other) {
          return other.group == line.group &&
                 sign * ablation.statistic(other.variant, column.number, other.group).mean < sign * s.mean;
        });
        if (best) text += " *";
      }
      to.push_back(std::move(text));
    }
  }

  // Columns as wide as their widest cell, counted in characters, not bytes.
  const auto width = [](const std::string& text) {
    return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
  };
  std::vector<std::size_t> widths(cells[0].size(), 3);
  for (const auto& line : cells) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], width(line[i]));
  }
  const std::size_t text_columns = grouped ? 2 : 1;
  std::string out;
  for (std::size_t n = 0; n < cells.size(); ++n) {
    for (std::size_t i = 0; i < cells[n].size(); ++i) {
      const std::string space(widths[i] - width(cells[n][i]), ' ');
      out += "| " + (i < text_columns ? cells[n][i] + space : space + cells[n][i]) + " ";
    }
    out += "|\n";
    if (n > 0) continue;
    for (std::size_t i = 0; i < cells[0].size(); ++i) {
      out += "|" + std::string(widths[i] + 1, '-') + (i < text_columns ? "-" : ":");
    }
    out += "|\n";
  }
  for (const AblationRow& row : ablation.rows) {
    if (!row.done()) out += fmt::format("\n{}, seed {}: {}\n", row.variant, row.seed, row.status);
  }
  return out;
}

}  // namespace lolcats
