// Decoding token by token, in whole characters.
#pragma once

#include <lolcats/core/index.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>
#include <lolcats/tokenizer/utf8.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace lolcats {

/// Joins the pieces of tokens into whole UTF-8 characters, for showing text while it is generated.
///
///   StreamDecoder decoder(tokenizer, prompt.back());
///   for each token: show(decoder.push(token));
///   show(decoder.finish());
///
/// All that is returned, joined, is the text of all tokens, with U+FFFD for each byte that belongs to no character.
class StreamDecoder {
 public:
  /// `previous` is the token in front of the first one (-1: none); `special` shows special tokens.  The tokenizer must
  /// outlive the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer, Index previous = -1, bool special = false)
      : tokenizer_(&tokenizer), previous_(previous), special_(special) {}

  /// The characters that `token` completes.
  std::string push(Index token) {
    pending_ += tokenizer_->decode_piece(std::exchange(previous_, token), token, special_);
    const std::size_t end = pending_.size() - unfinished(pending_);
    std::string text = utf8::replace_invalid(std::string_view(pending_).substr(0, end));
    pending_.erase(0, end);
    return text;
  }

  /// What is left at the end: U+FFFD for each byte of an unfinished character.
  std::string finish() { return utf8::replace_invalid(std::exchange(pending_, {})); }

 private:
  /// The bytes at the end of `text` that begin a character and lack its end.
  static std::size_t unfinished(std::string_view text) {
    for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
      const auto byte = static_cast<unsigned char>(text[text.size() - back]);
      if ((byte & 0xC0U) == 0x80U) continue;
      const std::size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC2 ? 2 : 1;
      return byte <= 0xF4 && length > back ? back : 0;
    }
    return 0;
  }

  const Tokenizer* tokenizer_;
  Index previous_;
  bool special_;
  std::string pending_;
};

}  // namespace lolcats
