// From the regular expressions of tokenizers to PCRE2's.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/tokenizer/utf8.hpp>

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

namespace lolcats {

/// A pattern as messages show it, cut short.
inline std::string shown_pattern(std::string_view pattern) {
  return utf8::replace_invalid(pattern.size() > 120 ? std::string(pattern.substr(0, 120)) + "..."
                                                    : std::string(pattern));
}

namespace detail {

/// PCRE2's name of a Unicode property: general categories by their short names, scripts as scripts alone (PCRE2 would
/// take script extensions in), binary properties as they are.
inline std::string property_name(std::string name) {
  static const std::map<std::string, std::string, std::less<>> categories = {{"Letter", "L"},
                                                                             {"Mark", "M"},
                                                                             {"Number", "N"},
                                                                             {"Punctuation", "P"},
                                                                             {"Symbol", "S"},
                                                                             {"Separator", "Z"},
                                                                             {"Other", "C"},
                                                                             {"Uppercase_Letter", "Lu"},
                                                                             {"Lowercase_Letter", "Ll"},
                                                                             {"Titlecase_Letter", "Lt"},
                                                                             {"Modifier_Letter", "Lm"},
                                                                             {"Other_Letter", "Lo"},
                                                                             {"Decimal_Number", "Nd"},
                                                                             {"Letter_Number", "Nl"},
                                                                             {"Other_Number", "No"}};
  static const std::map<std::string, std::string, std::less<>> binary = {
      {"Alphabetic", ""}, {"White_Space", ""}, {"Uppercase", ""}, {"Lowercase", ""}, {"Emoji", ""}, {"Any", ""}};
  if (name.size() <= 2 || binary.contains(name)) return name;
  if (const auto found = categories.find(name); found != categories.end()) return found->second;
  return "sc:" + name;
}

}  // namespace detail

/// The pattern in PCRE2's syntax (with UTF, UCP and MULTILINE), for patterns in what Oniguruma's Ruby syntax and Rust's
/// regular expressions have in common.
///
/// \s is White_Space (PCRE2's would add U+180E), \w takes marks and connectors in, \p{Script} no script extensions.
/// Throws ConfigError for what means something else there: \h, \K, {n,m}+, nested and intersected classes, option
/// letters other than i and x, verbs, recursion.
inline std::string pcre2_syntax(std::string_view pattern, const std::string& origin) {
  const auto refuse = [&](std::string_view what) {
    fail<ConfigError>("{}: '{}' in the regular expression '{}' is not supported", origin, utf8::replace_invalid(what),
                      shown_pattern(pattern));
  };
  if (const std::size_t good = utf8::valid_prefix(pattern); good < pattern.size())
    fail<ConfigError>("{}: a regular expression is not valid UTF-8 at byte {}", origin, good);
  std::string result;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    const std::string_view rest = pattern.substr(i);
    if (c == '\\') {
      if (rest.size() < 2) refuse(rest);
      const char e = rest[1];
      const bool letter = (e >= 'a' && e <= 'z') || (e >= 'A' && e <= 'Z');
      if (e == 's' || e == 'S') {
        result += e == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
      } else if (e == 'w') {
        result += in_class ? "\\p{L}\\p{M}\\p{N}\\p{Pc}" : "[\\p{L}\\p{M}\\p{N}\\p{Pc}]";
      } else if (e == 'W' && !in_class) {
        result += "[^\\p{L}\\p{M}\\p{N}\\p{Pc}]";
      } else if (e == 'p' || e == 'P') {
        const std::size_t end = rest.find('}');
        if (rest.size() < 3 || rest[2] != '{' || end == std::string_view::npos) refuse(rest.substr(0, 3));
        std::string name(rest.substr(3, end - 3));
        const bool negated = name.starts_with('^');
        result += rest.substr(0, 2);
        result += (negated ? "{^" : "{") + detail::property_name(name.substr(negated ? 1 : 0)) + "}";
        i += end - 1;  // and one more below
      } else if (e == 'u') {
        if (rest.size() < 6) refuse(rest);
        result += "\\x{" + std::string(rest.substr(2, 4)) + "}";
        i += 4;
      } else if (letter && std::string_view("dDnrtfaexbBAzZ").find(e) == std::string_view::npos) {
        refuse(rest.substr(0, 2));
      } else if (in_class && (e == 'b' || e == 'B' || e == 'A' || e == 'z' || e == 'Z')) {
        refuse(rest.substr(0, 2));
      } else {  // with the whole character that is escaped
        const std::size_t length = utf8::at(pattern, i + 1).length;
        result += rest.substr(0, 1 + length);
        i += length - 1;
      }
      ++i;
    } else if (in_class) {
      if (c == '[' || rest.starts_with("&&")) refuse(rest.substr(0, 2));
      in_class = c != ']';
      result += c;
    } else if (c == '[') {
      in_class = true;
      result += c;
      if (rest.substr(1).starts_with('^')) {
        result += '^';
        ++i;
      }
      if (pattern.substr(i + 1).starts_with(']')) refuse("[]");
    } else if (c == '(' && rest.substr(1).starts_with('*')) {
      refuse("(*");
    } else if (c == '(' && rest.substr(1).starts_with('?')) {
      const std::size_t flags = rest.find_first_not_of("ix-", 2);
      const bool options = flags != std::string_view::npos && (rest[flags] == ':' || rest[flags] == ')');
      const bool group = rest.starts_with("(?=") || rest.starts_with("(?!") || rest.starts_with("(?>") ||
                         rest.starts_with("(?<=") || rest.starts_with("(?<!");
      if (!options && !group) refuse(rest.substr(0, 4));
      result += "(?";
      ++i;
    } else if (c == '}' && rest.substr(1).starts_with('+')) {
      refuse("}+");
    } else {
      result += c;
    }
  }
  return result;
}

}  // namespace lolcats
