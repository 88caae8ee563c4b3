// Errors for bytes that a vocabulary cannot spell.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/tokenizer/utf8.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace lolcats {

/// Throws DataError for `byte`, which is no UTF-8 where it stands in `text`, with the line (from 1) and the offset.
[[noreturn]] inline void fail_unknown_byte(const std::string& origin, char byte, std::string_view text) {
  std::size_t offset = 0;
  while (offset < text.size()) {
    const utf8::Character c = utf8::at(text, offset);
    if (!c.valid() && text[offset] == byte) break;
    offset += c.length;
  }
  const auto line =
      1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min(offset, text.size())), '\n');
  fail<DataError>("{}: the text is not valid UTF-8 at line {}, byte {} (0x{:02X}), and the vocabulary cannot spell it",
                  origin, line, offset, static_cast<unsigned>(static_cast<unsigned char>(byte)));
}

}  // namespace lolcats
