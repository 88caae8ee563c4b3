// Unicode normalization form C, by utf8proc.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/tokenizer/utf8.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#ifdef LOLCATS_WITH_UTF8PROC
#include <utf8proc.h>
#endif

namespace lolcats {

#ifdef LOLCATS_WITH_UTF8PROC
inline constexpr bool has_nfc = true;

namespace detail {

/// Marks that came after Unicode 9, whose tables the `tokenizers` library normalizes by: nothing moves past them there,
/// and nothing combines with them.
inline bool is_newer_mark(std::int32_t code) {
  static constexpr std::int32_t ranges[][2] = {
      {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
      {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0xECE, 0xECE},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},
      {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF},
      {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E},
      {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
      {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45},
      {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136},
      {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}};
  if (code < 0x7FD) return false;
  for (const auto& range : ranges) {
    if (code <= range[1]) return code >= range[0];
  }
  return false;
}

/// The normal form of a text that holds no newer mark.
inline void append_nfc_of_old(std::string& result, std::string_view valid) {
  std::vector<std::int32_t> codes;  // decomposed
  codes.reserve(valid.size() + 32);
  for (std::size_t i = 0; i < valid.size();) {
    const utf8::Character c = utf8::at(valid, i);
    std::int32_t parts[32];
    int boundary = 0;
    const auto count = utf8proc_decompose_char(c.code, parts, 32, UTF8PROC_DECOMPOSE, &boundary);
    require<Error>(count >= 0 && count <= 32, "nfc: utf8proc cannot decompose U+{:04X}", c.code);
    codes.insert(codes.end(), parts, parts + count);
    i += c.length;
  }
  // Marks are put in order here: utf8proc does it by exchanging neighbours, which is quadratic.
  const auto mark_class = [](std::int32_t code) { return utf8proc_get_property(code)->combining_class; };
  for (std::size_t i = 0; i < codes.size();) {
    std::size_t end = i;
    while (end < codes.size() && mark_class(codes[end]) != 0) ++end;
    std::stable_sort(codes.begin() + static_cast<std::ptrdiff_t>(i), codes.begin() + static_cast<std::ptrdiff_t>(end),
                     [&](std::int32_t a, std::int32_t b) { return mark_class(a) < mark_class(b); });
    i = std::max(end, i + 1);
  }
  const auto count = utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
                                              static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  require<Error>(count >= 0, "nfc: {}", utf8proc_errmsg(count));
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) utf8::append(result, codes[i]);
}

inline void append_nfc(std::string& result, std::string_view valid) {
  std::size_t done = 0;
  for (std::size_t i = 0; i < valid.size();) {
    const utf8::Character c = utf8::at(valid, i);
    if (is_newer_mark(c.code)) {
      append_nfc_of_old(result, valid.substr(done, i - done));
      result += valid.substr(i, c.length);
      done = i + c.length;
    }
    i += c.length;
  }
  append_nfc_of_old(result, valid.substr(done));
}

}  // namespace detail
#else
inline constexpr bool has_nfc = false;
#endif

/// The text in Unicode's normalization form C (UAX #15), as the `tokenizers` library computes it; bytes that are no UTF-8 stay where they are.
/// Throws ConfigError in a build without utf8proc, unless the text is its own normal form at first sight.
inline std::string nfc(std::string_view text) {
  // Below U+0300, whose first byte is 0xCC, nothing combines.
  const bool changes =
      std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0xCC; });
  if (!changes) return std::string(text);
#ifdef LOLCATS_WITH_UTF8PROC
  std::string result;
  result.reserve(text.size());
  utf8::for_each_stretch(text, [&](std::string_view stretch, bool valid) {
    valid ? detail::append_nfc(result, stretch) : void(result += stretch);
  });
  return result;
#else
  fail<ConfigError>("nfc: needs utf8proc, which this build was made without");
#endif
}

}  // namespace lolcats
