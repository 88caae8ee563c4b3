// Rows of a study in files: kept one by one while it runs, written together as JSON and CSV at its end.
#pragma once

#include <lolcats/core/fingerprint.hpp>
#include <lolcats/ablation/row_store.hpp>
#include <lolcats/io/file.hpp>
#include <lolcats/io/json.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

namespace detail {

/// JSON has no infinities and no NaN: those become text.
inline nlohmann::ordered_json number_json(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

inline double number_from(const nlohmann::json& value, const std::string& file) {
  if (value.is_number()) return value.get<double>();
  require<FormatError>(value == "nan" || value == "inf" || value == "-inf", "{}: '{}', expected a number", file,
                       shown(value));
  return value == "nan"   ? std::numeric_limits<double>::quiet_NaN()
         : value == "inf" ? std::numeric_limits<double>::infinity()
                          : -std::numeric_limits<double>::infinity();
}

}  // namespace detail

/// {"group", "variant", "seed", "status", "recipe": {}, "numbers": {}, "series": {NAME: {"x": [], "y": []}}}.
inline nlohmann::ordered_json to_json(const AblationRow& row) {
  using Json = nlohmann::ordered_json;
  Json json{{"group", row.group}, {"variant", row.variant}, {"seed", row.seed}, {"status", row.status}};
  json["recipe"] = Json::object();
  for (const auto& [name, value] : row.recipe) json["recipe"][name] = value;
  json["numbers"] = Json::object();
  for (const auto& [name, value] : row.numbers) json["numbers"][name] = detail::number_json(value);
  json["series"] = Json::object();
  for (const Series& series : row.series) {
    Json x = Json::array(), y = Json::array();
    for (const double value : series.x) x.push_back(detail::number_json(value));
    for (const double value : series.y) y.push_back(detail::number_json(value));
    json["series"][series.name] = {{"x", std::move(x)}, {"y", std::move(y)}};
  }
  return json;
}

/// Reads what `to_json` made.  Errors: FormatError naming `file`.
inline AblationRow row_from_json(const nlohmann::ordered_json& json, const std::string& file) {
  AblationRow row;
  try {
    row.group = json.at("group").get<std::string>();
    row.variant = json.at("variant").get<std::string>();
    require<FormatError>(json.at("seed").is_number_unsigned(), "{}: 'seed' is {:.80}, expected a count", file,
                         json["seed"].dump());
    row.seed = json["seed"].get<std::uint64_t>();
    row.status = json.at("status").get<std::string>();
    for (const auto& [name, value] : json.at("recipe").items()) row.recipe.emplace_back(name, value.get<std::string>());
    for (const auto& [name, value] : json.at("numbers").items()) {
      row.numbers.emplace_back(name, detail::number_from(value, file));
    }
    for (const auto& [name, value] : json.at("series").items()) {
      Series series{name, {}, {}};
      for (const auto& x : value.at("x")) series.x.push_back(detail::number_from(x, file));
      for (const auto& y : value.at("y")) series.y.push_back(detail::number_from(y, file));
      row.series.push_back(std::move(series));
    }
  } catch (const nlohmann::json::exception& error) {
    fail<FormatError>("{}: not a row of a study: {:.200}", file, error.what());
  }
  return row;
}

/// One line for each row: group, variant, seed, status, all numbers, all of the recipe.  A field that a row lacks stays
/// empty.
inline std::string to_csv(const Ablation& ablation) {
  std::vector<std::string> numbers, fields;
  const auto add = [](std::vector<std::string>& list, const std::string& name) {
    if (std::ranges::find(list, name) == list.end()) list.push_back(name);
  };
  for (const AblationRow& row : ablation.rows) {
    for (const auto& [name, value] : row.numbers) add(numbers, name);
    for (const auto& [name, value] : row.recipe) add(fields, name);
  }
  const auto quoted = [](const std::string& text) {
    if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
    std::string out = "\"";
    for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
    return out + "\"";
  };
  std::string csv = "group,variant,seed,status";
  for (const std::string& name : numbers) csv += "," + quoted(name);
  for (const std::string& name : fields) csv += "," + quoted(name);
  csv += "\n";
  for (const AblationRow& row : ablation.rows) {
    csv += fmt::format("{},{},{},{}", quoted(row.group), quoted(row.variant), row.seed, quoted(row.status));
    for (const std::string& name : numbers) {
      const double value = row.number(name);
      csv += std::isnan(value) ? "," : fmt::format(",{}", value);
    }
    for (const std::string& name : fields) {
      const auto found = detail::find_by_name(row.recipe, name);
      csv += "," + (found != row.recipe.end() ? quoted(found->second) : std::string());
    }
    csv += "\n";
  }
  return csv;
}

/// A folder of rows, a file for each, and of the states of trainings.  Files of other recipes are left alone, so that
/// a study with other settings may share the folder.
class RowFolder : public RowStore {
 public:
  /// Makes the folder.  Errors: FileError.
  explicit RowFolder(std::filesystem::path folder) : folder_(std::move(folder)) { create_folder(folder_); }

  std::optional<AblationRow> find(const AblationRow& asked) override {
    const std::filesystem::path file = path_of(asked);
    if (!path_exists(file)) return std::nullopt;
    nlohmann::ordered_json json;
    try {
      json = nlohmann::ordered_json::parse(read_text(file));
    } catch (const nlohmann::json::exception& error) {
      fail<FormatError>("{}: not a row of a study: {:.200}; remove it to compute the row again", file.string(),
                        error.what());
    }
    AblationRow row = row_from_json(json, file.string());
    if (row.recipe != asked.recipe) return std::nullopt;  // two recipes of one fingerprint
    return row;
  }

  void keep(const AblationRow& row) override {
    write_file_atomically(path_of(row), std::string_view(to_json(row).dump(1) + "\n"));
  }

  std::filesystem::path state(const std::string& key, Index updates) override {
    const auto file = [&](Index n) { return folder_ / fmt::format("{}-{}.state", key, n); };
    if (path_exists(file(updates))) return file(updates);
    Index longest = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with(key + "-") || !name.ends_with(".state")) continue;
      Index n = 0;
      std::from_chars(name.data() + key.size() + 1, name.data() + name.size(), n);
      if (n < updates) longest = std::max(longest, n);
    }
    if (longest > 0) {
      write_file_atomically(file(updates), std::string_view(read_text(file(longest))));
    }
    return file(updates);
  }

  /// Removes the states: for when all rows are finished.
  void remove_states() {
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      // Block-wise transfer has a state for each block: KEY-N.state.block0.
      if (entry.path().filename().string().find(".state") != std::string::npos) std::filesystem::remove(entry.path());
    }
  }

 private:
  std::filesystem::path path_of(const AblationRow& row) const {
    Fingerprint print;
    for (const std::string* text : {&row.group, &row.variant}) print.add(*text);
    print.add(row.seed);
    for (const auto& [field, value] : row.recipe) {
      print.add(field);
      print.add(value);
    }
    return folder_ / ("row-" + print.text() + ".json");
  }

  std::filesystem::path folder_;
};

}  // namespace lolcats
