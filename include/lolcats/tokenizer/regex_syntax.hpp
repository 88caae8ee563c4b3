// From the regular expressions of tokenizers to PCRE2's.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/tokenizer/new_characters.hpp>
#include <lolcats/tokenizer/utf8.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace lolcats {

/// A pattern as messages show it, cut short.
inline std::string shown_pattern(std::string_view pattern) {
  return utf8::replace_invalid(pattern.size() > 120 ? std::string(pattern.substr(0, 120)) + "..."
                                                    : std::string(pattern));
}

/// The items of a class of word characters as Rust's regular expressions have it.
inline constexpr std::string_view rust_word_items =
    R"(\p{L}\p{M}\p{Nl}\p{Nd}\p{Pc}\x{200C}\x{200D}\x{24B6}-\x{24E9}\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})";

namespace detail {

/// \w of the originals: letters, marks, decimal digits, connectors, letters in circles and squares, and the superscripts
/// and fractions of Latin-1.
inline std::string word_items(bool with_new) {
  std::string items = R"(\p{L}\p{M}\p{Nl}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE}\x{24B6}-\x{24E9})"
                      R"(\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})";
  if (with_new) {
    for (const char* category : {"L", "M", "Nd", "Nl", "Pc"}) items += new_characters_of(category);
  }
  return items;
}

/// The items of a class that stand for a Unicode property: general categories by their short names; scripts as scripts
/// alone (PCRE2 would take script extensions in); binary properties as they are.
inline std::string property_items(const std::string& name, bool with_new) {
  static const std::map<std::string, std::string, std::less<>> categories = {{"Letter", "L"},
                                                                             {"Mark", "M"},
                                                                             {"Number", "N"},
                                                                             {"Punctuation", "P"},
                                                                             {"Symbol", "S"},
                                                                             {"Separator", "Z"},
                                                                             {"Uppercase_Letter", "Lu"},
                                                                             {"Lowercase_Letter", "Ll"},
                                                                             {"Titlecase_Letter", "Lt"},
                                                                             {"Modifier_Letter", "Lm"},
                                                                             {"Other_Letter", "Lo"},
                                                                             {"Decimal_Number", "Nd"}};
  if (const auto found = categories.find(name); found != categories.end())
    return property_items(found->second, with_new);
  if (name.size() <= 2) return "\\p{" + name + "}" + (with_new && name[0] != 'C' ? new_characters_of(name) : "");
  for (const char* binary : {"White_Space", "Emoji", "Any"}) {
    if (name == binary) return "\\p{" + name + "}";
  }
  return "\\p{sc:" + name + "}" +
         (with_new && name == "Han" ? R"(\x{2B739}\x{2EBF0}-\x{2EE5D}\x{31350}-\x{323AF})" : "");
}

}  // namespace detail

/// The pattern in PCRE2's syntax (with UTF, UCP and MULTILINE), for patterns in what Oniguruma's Ruby syntax and Rust's
/// regular expressions have in common.
///
/// \s is White_Space (PCRE2's would add U+180E), \w takes marks and connectors in but not all numbers, \p{Script} no script
/// extensions.  Classes hold the characters of PCRE2's Unicode version, 14.0 in 10.42, and `with_new` those that 15 and 16
/// have added, which is slower.
/// Throws ConfigError for what means something else there: \h, \K, {n,m}+, nested and intersected classes, option
/// letters other than i and x, verbs, recursion.
inline std::string pcre2_syntax(std::string_view pattern, const std::string& origin, bool with_new) {
  const std::string word = detail::word_items(with_new);
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
      } else if (e == 'w' || (e == 'W' && !in_class)) {
        result += in_class ? word : (e == 'w' ? "[" : "[^") + word + "]";
      } else if ((e == 'b' || e == 'B') && !in_class) {
        const std::string whole = "[" + word + "]", same = e == 'b' ? "!" : "=", other = e == 'b' ? "=" : "!";
        result += "(?:(?<=" + whole + ")(?" + same + whole + ")|(?<!" + whole + ")(?" + other + whole + "))";
      } else if (e == 'd' || e == 'D' || e == 'p' || e == 'P') {
        std::string name = "Nd";
        bool negated = e == 'D' || e == 'P';
        if (e == 'p' || e == 'P') {
          const std::size_t end = rest.find('}');
          if (rest.size() < 3 || rest[2] != '{' || end == std::string_view::npos) refuse(rest.substr(0, 3));
          name = rest.substr(3, end - 3);
          if (name.starts_with('^')) {
            negated = !negated;
            name.erase(0, 1);
          }
          const auto plain = [](char l) { return (l >= 'a' && l <= 'z') || (l >= 'A' && l <= 'Z') || l == '_'; };
          if (name.empty() || !std::all_of(name.begin(), name.end(), plain)) refuse(rest.substr(0, end + 1));
          i += end - 1;  // and one more below
        }
        const std::string items = detail::property_items(name, with_new);
        if (!in_class) {
          const bool alone = items.ends_with('}') && items.find('}') + 1 == items.size();
          result += !alone ? (negated ? "[^" : "[") + items + "]" : negated ? "\\P" + items.substr(2) : items;
        } else {
          if (negated && with_new && items.find("\\x") != std::string::npos) refuse(rest.substr(0, 2));
          result += negated ? "\\P" + items.substr(2) : items;
        }
      } else if (e == 'u') {
        if (rest.size() < 6) refuse(rest);
        result += "\\x{" + std::string(rest.substr(2, 4)) + "}";
        i += 4;
      } else if (letter && std::string_view("nrtfaexAzZ").find(e) == std::string_view::npos) {
        refuse(rest.substr(0, 2));
      } else if (in_class && (e == 'A' || e == 'z' || e == 'Z')) {
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
