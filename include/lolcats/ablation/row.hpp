// What a study finds out: one row for each variant and seed.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

/// A curve: validation loss over updates, error over layers.
struct Series {
  std::string name;
  std::vector<double> x, y;
};

namespace detail {
/// The entry of a list of pairs with that name.
template <class List>
auto find_by_name(List& list, std::string_view name) {
  return std::ranges::find_if(list, [name](const auto& entry) { return entry.first == name; });
}
}  // namespace detail

/// One variant, trained with one seed.
struct AblationRow {
  std::string group;    // which part of a study with several, such as the data it trained on; else empty
  std::string variant;  // its name
  std::uint64_t seed = 0;
  std::string status = "done";                              // or why there are no (more) numbers
  std::vector<std::pair<std::string, std::string>> recipe;  // everything that decides the numbers
  std::vector<std::pair<std::string, double>> numbers;      // in the order they were set
  std::vector<Series> series;

  bool done() const { return status == "done"; }

  /// Sets or replaces a number.
  void set(std::string_view name, double value) {
    const auto found = detail::find_by_name(numbers, name);
    if (found != numbers.end())
      found->second = value;
    else
      numbers.emplace_back(name, value);
  }
  /// A number by its name; NaN if it was not set.
  double number(std::string_view name) const {
    const auto found = detail::find_by_name(numbers, name);
    return found != numbers.end() ? found->second : std::numeric_limits<double>::quiet_NaN();
  }
  /// A curve by its name; null if there is none.
  const Series* curve(std::string_view name) const {
    const auto found = std::ranges::find(series, name, &Series::name);
    return found != series.end() ? &*found : nullptr;
  }
};

/// Mean and sample standard deviation over seeds; rows without the number are left out.
struct Statistic {
  double mean = std::numeric_limits<double>::quiet_NaN();
  double spread = 0;  // 0 for a single value
  Index count = 0;
};
inline Statistic statistic_of(const std::vector<double>& values) {
  Statistic s;
  double sum = 0, squares = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    sum += value;
    ++s.count;
  }
  if (s.count == 0) return s;
  s.mean = sum / static_cast<double>(s.count);
  for (const double value : values) squares += std::isfinite(value) ? (value - s.mean) * (value - s.mean) : 0;
  if (s.count > 1) s.spread = std::sqrt(squares / static_cast<double>(s.count - 1));
  return s;
}

/// All rows of a study.
struct Ablation {
  std::vector<AblationRow> rows;

  /// The rows of one variant, in the order of the seeds.
  std::vector<const AblationRow*> of(std::string_view variant, std::string_view group = {}) const {
    std::vector<const AblationRow*> found;
    for (const AblationRow& row : rows) {
      if (row.variant == variant && row.group == group) found.push_back(&row);
    }
    return found;
  }
  /// What one seed gave.
  Ablation of_seed(std::uint64_t seed) const {
    Ablation found;
    std::ranges::copy_if(rows, std::back_inserter(found.rows), [&](const AblationRow& row) { return row.seed == seed; });
    return found;
  }
  /// Over the finished rows of a variant.
  Statistic statistic(std::string_view variant, std::string_view number, std::string_view group = {}) const {
    std::vector<double> values;
    for (const AblationRow* row : of(variant, group)) {
      if (row->done()) values.push_back(row->number(number));
    }
    return statistic_of(values);
  }
  template <class V>
  Statistic statistic(std::string_view number, std::string_view group = {}) const {
    return statistic(V::name(), number, group);
  }
  /// The mean over seeds; NaN if no row has the number.
  template <class V>
  double mean(std::string_view number, std::string_view group = {}) const {
    return statistic<V>(number, group).mean;
  }
  /// The mean curve over the seeds (over those x that all of them have), with lowest and highest values.
  struct Band {
    std::vector<double> x, y, low, high;
  };
  Band band(std::string_view variant, std::string_view curve, std::string_view group = {}) const {
    std::vector<const Series*> curves;
    for (const AblationRow* row : of(variant, group)) {
      if (const Series* series = row->curve(curve)) curves.push_back(series);
    }
    Band band;
    if (curves.empty()) return band;
    for (const double x : curves.front()->x) {
      std::vector<double> values;
      for (const Series* series : curves) {
        const auto at = std::ranges::find(series->x, x);
        if (at != series->x.end()) values.push_back(series->y[static_cast<std::size_t>(at - series->x.begin())]);
      }
      if (values.size() != curves.size()) continue;
      band.x.push_back(x);
      band.y.push_back(statistic_of(values).mean);
      band.low.push_back(*std::ranges::min_element(values));
      band.high.push_back(*std::ranges::max_element(values));
    }
    return band;
  }
  template <class V>
  Band band(std::string_view curve, std::string_view group = {}) const {
    return band(V::name(), curve, group);
  }

  /// Adds the rows of another part of the same study.
  void append(Ablation other) {
    rows.insert(rows.end(), std::make_move_iterator(other.rows.begin()), std::make_move_iterator(other.rows.end()));
  }
};

}  // namespace lolcats
