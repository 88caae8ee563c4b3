// UTF-8: which bytes are whole characters, and code points in and out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace lolcats::utf8 {

/// A character of a text: its code point and its bytes.  A byte that begins no valid character is one of length 1 and
/// code point -1.
struct Character {
  std::int32_t code = -1;
  std::size_t length = 1;

  bool valid() const { return code >= 0; }
};

/// The character at `at` < text.size().  Valid is what Unicode says: shortest form, no surrogates, at most U+10FFFF.
inline Character at(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const auto continues = [&](std::size_t i) { return at + i < text.size() && (byte(i) & 0xC0U) == 0x80U; };
  const unsigned first = byte(0);
  if (first < 0x80) return {static_cast<std::int32_t>(first), 1};
  if (first >= 0xC2 && first <= 0xDF && continues(1))
    return {static_cast<std::int32_t>((first & 0x1FU) << 6 | (byte(1) & 0x3FU)), 2};
  if (first >= 0xE0 && first <= 0xEF && continues(1) && continues(2)) {
    const auto code = static_cast<std::int32_t>((first & 0x0FU) << 12 | (byte(1) & 0x3FU) << 6 | (byte(2) & 0x3FU));
    if (code >= 0x800 && (code < 0xD800 || code > 0xDFFF)) return {code, 3};
  }
  if (first >= 0xF0 && first <= 0xF4 && continues(1) && continues(2) && continues(3)) {
    const auto code = static_cast<std::int32_t>((first & 0x07U) << 18 | (byte(1) & 0x3FU) << 12 |
                                                (byte(2) & 0x3FU) << 6 | (byte(3) & 0x3FU));
    if (code >= 0x10000 && code <= 0x10FFFF) return {code, 4};
  }
  return {};
}

/// The length of the longest prefix that is valid UTF-8.
inline std::size_t valid_prefix(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    std::uint64_t word = 0;
    if (i + sizeof word <= text.size()) {  // eight ASCII characters at once
      std::memcpy(&word, text.data() + i, sizeof word);
      if ((word & 0x8080808080808080ULL) == 0) {
        i += sizeof word;
        continue;
      }
    }
    const Character c = at(text, i);
    if (!c.valid()) return i;
    i += c.length;
  }
  return i;
}

inline bool is_valid(std::string_view text) { return valid_prefix(text) == text.size(); }

/// Appends the character of a code point of at most U+10FFFF.
inline void append(std::string& text, std::int32_t code) {
  const auto c = static_cast<std::uint32_t>(code);
  const auto put = [&](std::uint32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) return put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  if (c < 0x10000) return put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
}

/// Calls f(stretch, valid) for the longest stretches of valid characters and of bytes that are none, in order.
template <class F>
void for_each_stretch(std::string_view text, F&& f) {
  while (!text.empty()) {
    const std::size_t good = valid_prefix(text);
    if (good > 0) f(text.substr(0, good), true);
    std::size_t end = good;
    while (end < text.size() && !at(text, end).valid()) ++end;
    if (end > good) f(text.substr(good, end - good), false);
    text.remove_prefix(end);
  }
}

/// The text with U+FFFD in the place of each byte that is not part of a character.
inline std::string replace_invalid(std::string_view text) {
  std::string result;
  for_each_stretch(text, [&](std::string_view stretch, bool valid) {
    if (valid) {
      result += stretch;
    } else {
      for (std::size_t i = 0; i < stretch.size(); ++i) result += "\xEF\xBF\xBD";
    }
  });
  return result;
}

}  // namespace lolcats::utf8
