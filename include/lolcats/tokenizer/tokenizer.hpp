// The interface between text and token ids.
#pragma once

#include <lolcats/core/index.hpp>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lolcats {

/// Turns text into token ids and back.  Ids run from 0 to vocab_size() - 1.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// The ids of `text` (UTF-8; other bytes are taken as they are), with `bos` behind the begin-of-sequence id.
  /// Throws DataError for text that the vocabulary cannot spell.
  virtual std::vector<Index> encode(std::string_view text, bool bos) const = 0;

  /// The text that `token` adds behind `previous`; special tokens add none.  Throws DataError for ids outside of the
  /// vocabulary.
  virtual std::string decode_piece(Index previous, Index token) const = 0;

  virtual Index vocab_size() const = 0;
  virtual Index bos() const = 0;
  virtual Index eos() const = 0;

  /// The text of all tokens.  decode(encode(text, true)) is `text`.
  std::string decode(std::span<const Index> tokens) const {
    std::string text;
    Index previous = -1;
    for (const Index token : tokens) {
      text += decode_piece(previous, token);
      previous = token;
    }
    return text;
  }

 protected:
  Tokenizer() = default;
  Tokenizer(const Tokenizer&) = default;
  Tokenizer& operator=(const Tokenizer&) = default;
};

}  // namespace lolcats
