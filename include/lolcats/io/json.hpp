// Strict JSON: no duplicate keys, bounded nesting, and objects that know which of their keys were read.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <nlohmann/json.hpp>

#include <cmath>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace lolcats {

/// A name or a JSON value as messages show it, cut short: a hostile file may hold a name of many megabytes.
/// Nothing is formatted before a message is.
struct Shown {
  std::string_view text;
  const nlohmann::json* value = nullptr;
};
inline Shown shown(std::string_view text) { return {text}; }
inline Shown shown(const std::string& text) { return {text}; }
inline Shown shown(const nlohmann::json& value) { return {{}, &value}; }

}  // namespace lolcats

template <>
struct fmt::formatter<lolcats::Shown> : fmt::formatter<fmt::string_view> {
  template <class Context>
  auto format(const lolcats::Shown& item, Context& context) const {
    constexpr std::size_t most = 120;
    std::string text(item.text);
    if (item.value) text = item.value->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    if (text.size() > most) text = text.substr(0, most) + "...";
    return fmt::formatter<fmt::string_view>::format(text, context);
  }
};

namespace lolcats {

/// Parses one JSON document.  `file` names it in messages.
///
/// Errors: FormatError for malformed text, trailing text, a key that appears twice in one object, or nesting
/// deeper than `deepest` (nlohmann::json alone keeps the last of two equal keys).
inline nlohmann::json parse_json(std::string_view text, const std::string& file, int deepest = 16) {
  using nlohmann::json;
  // nlohmann::json takes a zero byte for the end and would skip what follows.
  require<FormatError>(text.find('\0') == std::string_view::npos, "{}: is not valid JSON: holds a zero byte", file);
  std::vector<std::set<std::string, std::less<>>> keys;
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    switch (event) {
      case json::parse_event_t::object_start: keys.emplace_back(); [[fallthrough]];
      case json::parse_event_t::array_start:
        require<FormatError>(depth < deepest, "{}: is nested deeper than {} levels", file, deepest);
        break;
      case json::parse_event_t::object_end: keys.pop_back(); break;
      case json::parse_event_t::key: {
        const auto& key = value.get_ref<const std::string&>();
        require<FormatError>(keys.back().insert(key).second, "{}: key '{}' appears twice", file, shown(key));
        break;
      }
      default: break;
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), check);
  } catch (const json::exception& error) {
    fail<FormatError>("{}: is not valid JSON: {}", file, shown(std::string_view(error.what())));
  }
}

/// What an option says when it is off: null, false, "", [] or {}.
inline bool is_off(const nlohmann::json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) || (value.is_structured() && value.empty()) ||
         (value.is_string() && value.get_ref<const std::string&>().empty());
}

/// One object of a configuration file: typed access, and at the end an error for every key that nobody read.
///
/// A key whose value is null counts as absent.  Errors: ConfigError naming file, key, got and expected.
class JsonObject {
 public:
  /// `file` and `path` ("rope_scaling.") name the object in messages.
  JsonObject(const nlohmann::json& value, std::string file, std::string path = "")
      : value_(&value), file_(std::move(file)), path_(std::move(path)) {
    require<ConfigError>(value.is_object(), "{}: {} is {}, expected an object", file_,
                         path_.empty() ? "the document" : fmt::format("'{}'", path_.substr(0, path_.size() - 1)),
                         shown(value));
  }

  JsonObject(nlohmann::json&&, std::string, std::string = "") = delete;  // the object must outlive this view

  const std::string& file() const { return file_; }

  /// True if the key is there and not null.  Does not count as reading it.
  bool has(std::string_view key) const {
    const auto found = value_->find(key);
    return found != value_->end() && !found->is_null();
  }

  /// True if the key is there and not off.  Does not count as reading it.
  bool is_on(std::string_view key) const {
    const auto found = value_->find(key);
    return found != value_->end() && !is_off(*found);
  }

  Index integer(std::string_view key) {
    const auto& value = at(key, "an integer");
    const bool fits =
        value.is_number_unsigned() ? value.get<std::uint64_t>() <= std::uint64_t{INT64_MAX} : value.is_number_integer();
    if (!fits) wrong(key, value, "an integer");
    return value.get<Index>();
  }
  Index integer(std::string_view key, Index absent) { return has(key) ? integer(key) : absent; }

  double number(std::string_view key) {
    const auto& value = at(key, "a number");
    if (!value.is_number()) wrong(key, value, "a number");
    return value.get<double>();
  }
  double number(std::string_view key, double absent) { return has(key) ? number(key) : absent; }

  bool boolean(std::string_view key) {
    const auto& value = at(key, "true or false");
    if (!value.is_boolean()) wrong(key, value, "true or false");
    return value.get<bool>();
  }
  bool boolean(std::string_view key, bool absent) { return has(key) ? boolean(key) : absent; }

  std::string text(std::string_view key) {
    const auto& value = at(key, "a string");
    if (!value.is_string()) wrong(key, value, "a string");
    return value.get<std::string>();
  }

  JsonObject object(std::string_view key) {
    return JsonObject(at(key, "an object"), file_, fmt::format("{}{}.", path_, key));
  }

  /// Any value; the key counts as read.
  const nlohmann::json& at(std::string_view key, const char* expected) {
    require<ConfigError>(has(key), "{}: '{}{}' is missing, expected {}", file_, path_, key, expected);
    read_.insert(std::string(key));
    return *value_->find(key);
  }

  /// Keys that do not change what is computed here.
  void ignore(std::initializer_list<std::string_view> keys) {
    for (const auto key : keys) read_.insert(std::string(key));
  }

  /// Throws for the first key that was neither read nor ignored; null is let through, with `let_off_pass` whatever
  /// is off, and what may_pass(key, value) says.
  void require_all_read(bool let_off_pass = false) const {
    require_all_read([let_off_pass](const std::string&, const auto& value) { return let_off_pass && is_off(value); });
  }
  template <class F>
    requires std::is_invocable_v<F, const std::string&, const nlohmann::json&>
  void require_all_read(F&& may_pass) const {
    for (const auto& [key, value] : value_->items()) {
      if (read_.contains(key) || value.is_null() || may_pass(key, value)) continue;
      fail<ConfigError>("{}: '{}{}' is {}, which is not supported", file_, path_, shown(key), shown(value));
    }
  }

  /// Throws "file: 'key' is got, expected expected".
  [[noreturn]] void wrong(std::string_view key, const nlohmann::json& got, std::string_view expected) const {
    fail<ConfigError>("{}: '{}{}' is {}, expected {}", file_, path_, key, shown(got), expected);
  }

 private:
  const nlohmann::json* value_;
  std::string file_;
  std::string path_;
  std::set<std::string, std::less<>> read_;
};

}  // namespace lolcats
