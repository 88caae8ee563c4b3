// GPT-2's alphabet: every byte as one printable character.
#pragma once

#include <lolcats/tokenizer/utf8.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lolcats::byte_alphabet {

/// The code point of a byte: itself where it is printable in Latin-1 ('!' to '~', U+00A1 to U+00AC, U+00AE to U+00FF),
/// otherwise the next one from U+0100 on.  Source: openai/gpt-2, src/encoder.py, bytes_to_unicode.
inline const std::array<std::int32_t, 256>& codes() {
  static const std::array<std::int32_t, 256> table = [] {
    std::array<std::int32_t, 256> codes{};
    std::int32_t next = 256;
    for (std::int32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      codes[static_cast<std::size_t>(byte)] = printable ? byte : next++;
    }
    return codes;
  }();
  return table;
}

/// The byte of a code point, or -1 if it is not of the alphabet.
inline int byte_of(std::int32_t code) {
  static const std::array<std::int16_t, 324> table = [] {
    std::array<std::int16_t, 324> bytes;
    bytes.fill(-1);
    for (std::size_t byte = 0; byte < 256; ++byte)
      bytes[static_cast<std::size_t>(codes()[byte])] = static_cast<std::int16_t>(byte);
    return bytes;
  }();
  return code >= 0 && code < static_cast<std::int32_t>(table.size()) ? table[static_cast<std::size_t>(code)] : -1;
}

/// Bytes spelled in the alphabet.
inline std::string spell(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) utf8::append(text, codes()[static_cast<unsigned char>(c)]);
  return text;
}

/// The bytes that a text of the alphabet spells; nothing if it holds other characters.
inline std::optional<std::string> bytes_of(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size();) {
    const utf8::Character c = utf8::at(text, i);
    const int byte = byte_of(c.code);
    if (byte < 0) return std::nullopt;
    bytes += static_cast<char>(static_cast<unsigned char>(byte));
    i += c.length;
  }
  return bytes;
}

}  // namespace lolcats::byte_alphabet
