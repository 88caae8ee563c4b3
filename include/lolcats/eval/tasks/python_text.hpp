// What Python's str does to prompts: lengths in code points, strip, capitalize.
#pragma once

#include <lolcats/core/index.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace lolcats::python {

/// A code point of UTF-8 and the bytes that spell it.  A byte that spells nothing counts as one of its own.
struct CodePoint {
  char32_t value = 0;
  std::size_t bytes = 1;
};

/// The code point at the beginning of `text`, which is not empty.
inline CodePoint first_code_point(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const std::size_t length = lead < 0x80                   ? 1
                             : lead >= 0xc2 && lead < 0xe0 ? 2
                             : lead >= 0xe0 && lead < 0xf0 ? 3
                             : lead >= 0xf0 && lead < 0xf5 ? 4
                                                           : 0;
  if (length == 1) return {lead, 1};
  const CodePoint broken{0xfffd, 1};
  if (length == 0 || text.size() < length) return broken;
  char32_t value = lead & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return broken;
    value = value << 6 | (byte(i) & 0x3fU);
  }
  return {value, length};
}

/// UTF-8.
inline void append_code_point(std::string& text, char32_t value) {
  const auto add = [&](char32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (value < 0x80) return add(value);
  if (value < 0x800) {
    add(0xc0 | value >> 6);
  } else {
    if (value < 0x10000) {
      add(0xe0 | value >> 12);
    } else {
      add(0xf0 | value >> 18);
      add(0x80 | (value >> 12 & 0x3f));
    }
    add(0x80 | (value >> 6 & 0x3f));
  }
  add(0x80 | (value & 0x3f));
}

/// len(text).
inline Index length(std::string_view text) {
  Index count = 0;
  for (; !text.empty(); ++count) text.remove_prefix(first_code_point(text).bytes);
  return count;
}

/// str.isspace() of one code point.
constexpr bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/// text.rstrip().
inline std::string_view strip_end(std::string_view text) {
  while (!text.empty()) {
    std::size_t last = text.size() - 1;
    while (last > 0 && text.size() - last < 4 && (static_cast<unsigned char>(text[last]) & 0xc0) == 0x80) --last;
    const CodePoint c = first_code_point(text.substr(last));
    if (last + c.bytes != text.size() || !is_space(c.value)) break;
    text = text.substr(0, last);
  }
  return text;
}

/// text.strip().
inline std::string_view strip(std::string_view text) {
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    if (!is_space(c.value)) break;
    text.remove_prefix(c.bytes);
  }
  return strip_end(text);
}

/// Letters of ASCII, Latin-1, Latin Extended-A, Greek and Cyrillic; others stay as they are, as do the few of these
/// whose other case is a letter of another length.
constexpr char32_t to_lower(char32_t c) {
  if ((c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3a9 && c != 0x3a2) ||
      (c >= 0x410 && c <= 0x42f)) {
    return c + 0x20;
  }
  if (c >= 0x400 && c <= 0x40f) return c + 0x50;
  const bool even = (c >= 0x100 && c <= 0x12e) || (c >= 0x132 && c <= 0x136) || (c >= 0x14a && c <= 0x176);
  const bool odd = (c >= 0x139 && c <= 0x147) || (c >= 0x179 && c <= 0x17d);
  if ((even && c % 2 == 0) || (odd && c % 2 == 1)) return c + 1;
  return c == 0x178 ? 0xff : c;
}
constexpr char32_t to_upper(char32_t c) {
  if ((c >= 'a' && c <= 'z') || (c >= 0xe0 && c <= 0xfe && c != 0xf7) || (c >= 0x3b1 && c <= 0x3c9 && c != 0x3c2) ||
      (c >= 0x430 && c <= 0x44f)) {
    return c - 0x20;
  }
  if (c >= 0x450 && c <= 0x45f) return c - 0x50;
  if (c > 0x100 && c <= 0x17e && to_lower(c - 1) == c) return c - 1;
  return c == 0xff ? 0x178 : c;
}

/// text.capitalize(): the first letter large and all others small.
inline std::string capitalize(std::string_view text) {
  std::string result;
  for (bool first = true; !text.empty(); first = false) {
    const CodePoint c = first_code_point(text);
    if (c.bytes == 1 && c.value == 0xfffd)
      result += text[0];  // a byte that spells nothing
    else
      append_code_point(result, first ? to_upper(c.value) : to_lower(c.value));
    text.remove_prefix(c.bytes);
  }
  return result;
}

/// text.replace(from, to).
inline std::string replace(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

}  // namespace lolcats::python
