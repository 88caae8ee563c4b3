// Records of benchmarks: lines of JSON, and files of labels beside them.
#pragma once

#include <lolcats/io/file.hpp>
#include <lolcats/io/json.hpp>

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

/// One object of a file.  Fields that nobody asks for are skipped: benchmarks carry identifiers and sources.
/// Errors: DataError "file: line 3: 'field' is got, expected expected".
class Record {
 public:
  Record(nlohmann::json value, std::string file, Index line)
      : value_(std::move(value)), file_(std::move(file)), line_(line) {
    require<DataError>(value_.is_object(), "{}: line {}: is {}, expected an object", file_, line_, shown(value_));
  }

  const std::string& file() const { return file_; }
  Index line() const { return line_; }

  /// Is the field there, and neither null nor ""?
  bool has(std::string_view field) const {
    const auto found = value_.find(field);
    return found != value_.end() && !found->is_null() &&
           !(found->is_string() && found->get_ref<const std::string&>().empty());
  }
  std::string text(std::string_view field) const {
    const auto& value = at(field, "a string");
    if (!value.is_string()) wrong(field, value, "a string");
    return value.get<std::string>();
  }
  std::vector<std::string> texts(std::string_view field) const {
    const auto& value = at(field, "a list of strings");
    std::vector<std::string> list;
    if (!value.is_array()) wrong(field, value, "a list of strings");
    for (const auto& item : value) {
      if (!item.is_string()) wrong(field, value, "a list of strings");
      list.push_back(item.get<std::string>());
    }
    return list;
  }
  Record object(std::string_view field) const {
    const auto& value = at(field, "an object");
    if (!value.is_object()) wrong(field, value, "an object");
    return Record(value, file_, line_);
  }
  std::vector<Record> objects(std::string_view field) const {
    const auto& value = at(field, "a list of objects");
    std::vector<Record> list;
    if (!value.is_array()) wrong(field, value, "a list of objects");
    for (const auto& item : value) {
      if (!item.is_object()) wrong(field, value, "a list of objects");
      list.emplace_back(item, file_, line_);
    }
    return list;
  }
  /// A number, or a string that spells one, from `first` to `last`.
  Index number(std::string_view field, Index first, Index last) const {
    const auto& value = at(field, "a number");
    const std::string text = value.is_string()           ? value.get<std::string>()
                             : value.is_number_integer() ? value.dump()
                                                         : "";
    for (Index i = first; i <= last; ++i) {
      if (text == std::to_string(i)) return i;
    }
    wrong(field, value, fmt::format("{} to {}", first, last));
  }
  [[noreturn]] void wrong(std::string_view field, const nlohmann::json& got, std::string_view expected) const {
    fail<DataError>("{}: line {}: '{}' is {}, expected {}", file_, line_, field, shown(got), expected);
  }

 private:
  const nlohmann::json& at(std::string_view field, const char* expected) const {
    const auto found = value_.find(field);
    require<DataError>(found != value_.end(), "{}: line {}: '{}' is missing, expected {}", file_, line_, field,
                       expected);
    return *found;
  }

  nlohmann::json value_;
  std::string file_;
  Index line_;
};

/// f(line, number from 1) for each line that is not blank, without its end.
template <class F>
void for_each_line(std::string_view text, F&& f) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  Index number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") != line.npos) f(line, number);
  }
}

/// The records of a file with one JSON object per line.  Errors: FileError; DataError for a file without records and for
/// a line that is not JSON.
inline std::vector<Record> read_records(const std::filesystem::path& path) {
  const std::string file = path.string();
  const MappedFile mapped(path);
  std::vector<Record> records;
  for_each_line(mapped.text(), [&](std::string_view line, Index number) {
    nlohmann::json value;
    try {
      value = parse_json(line, fmt::format("{}: line {}", file, number));
    } catch (const FormatError& error) {
      throw DataError(error.what());
    }
    records.emplace_back(std::move(value), file, number);
  });
  require<DataError>(!records.empty(), "{}: holds no records", file);
  return records;
}

/// The labels of a file with one number from `first` to `last` per line; as many as there are records of `records_file`.
/// Errors: FileError, DataError.
inline std::vector<Index> read_labels(const std::filesystem::path& path, Index first, Index last, std::size_t count,
                                      const std::filesystem::path& records_file) {
  const std::string file = path.string();
  const MappedFile mapped(path);
  std::vector<Index> labels;
  for_each_line(mapped.text(), [&](std::string_view line, Index number) {
    const std::size_t begin = line.find_first_not_of(" \t");
    const std::string_view word = line.substr(begin, line.find_last_not_of(" \t") + 1 - begin);
    for (Index i = first; i <= last; ++i) {
      if (word == std::to_string(i)) {
        labels.push_back(i);
        return;
      }
    }
    fail<DataError>("{}: line {}: the label is '{}', expected {} to {}", file, number, shown(word), first, last);
  });
  require<DataError>(labels.size() == count, "{}: holds {} labels, expected {}, one per record of {}", file,
                     labels.size(), count, records_file.string());
  return labels;
}

}  // namespace lolcats
