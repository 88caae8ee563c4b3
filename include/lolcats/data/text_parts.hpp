// Divides long documents where that changes no token.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/data/text_file.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace lolcats::detail {

/// Whether `text` may be divided before `at`: the tokens around it are those of the two sides, the right one encoded
/// behind a line feed whose own tokens are then dropped (a tokenizer may put a space in front of a text).
inline bool divides_tokens(std::string_view text, std::size_t at, const Tokenizer& tokenizer) {
  constexpr std::size_t reach = 256;
  const auto inside = [&](std::size_t i) {
    return i < text.size() && (static_cast<unsigned char>(text[i]) & 0xc0) == 0x80;
  };
  std::size_t first = at - std::min(at, reach), last = std::min(at + reach, text.size());
  while (first < at && inside(first)) ++first;
  while (last > at && inside(last)) --last;
  // a run of white space that is longer than what is seen may be one token with what lies farther off
  if (strip(text.substr(first, at - first)).empty() || strip(text.substr(at, last - at)).empty()) return false;
  const std::string left = with_line_feeds(text.substr(first, at - first)),
                    right = with_line_feeds(text.substr(at, last - at));
  try {
    std::vector<Index> parts = tokenizer.encode(left, false);
    const std::vector<Index> line_feed = tokenizer.encode("\n", false), behind = tokenizer.encode("\n" + right, false);
    if (behind.size() < line_feed.size() || !std::equal(line_feed.begin(), line_feed.end(), behind.begin()))
      return false;
    parts.insert(parts.end(), behind.begin() + static_cast<std::ptrdiff_t>(line_feed.size()), behind.end());
    return parts == tokenizer.encode(left + right, false);
  } catch (const DataError&) {
    return false;  // found again, and told of, when the text is encoded
  }
}

/// Parts of at least `size` bytes (the last may be smaller), each but the first beginning with a line.  Where no place is
/// found the text stays whole.  `mapped` is as for RecordReader.
inline std::vector<std::string_view> parts_of_text(std::string_view text, const Tokenizer& tokenizer, std::size_t size,
                                                   bool mapped = false) {
  std::vector<std::string_view> parts;
  constexpr int attempts = 64;
  std::size_t begin = 0;
  int failed = 0;
  for (std::size_t at = size; at < text.size() && failed < attempts;) {
    const std::size_t end = text.find('\n', at);
    if (end == text.npos || end + 1 >= text.size()) break;
    at = end + 1;
    if (text[at] == '\n' || text[at] == '\r') continue;
    if (!divides_tokens(text, at, tokenizer)) {
      ++failed;
      continue;
    }
    parts.push_back(text.substr(begin, at - begin));
    if (mapped) forget_pages(parts.back());
    begin = at;
    at += size;
  }
  parts.push_back(text.substr(begin));
  return parts;
}

}  // namespace lolcats::detail
