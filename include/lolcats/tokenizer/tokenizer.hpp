// The interface between text and token ids.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lolcats {

/// Turns text into token ids and back.  Ids run from 0 to vocab_size() - 1.  All functions may be called from several
/// threads at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// The ids of `text` (UTF-8; other bytes are taken as they are where the vocabulary can spell them), with `bos` behind
  /// the begin-of-sequence id.  With `special`, special tokens spelled in the text become their ids; otherwise they are
  /// characters like any others.
  /// Throws DataError for bytes that the vocabulary cannot spell, and for `bos` where there is no such token.  (Characters
  /// that it cannot spell are what the original makes of them: bytes, an unknown token, nothing.)
  std::vector<Index> encode(std::string_view text, bool bos, bool special = false) const {
    std::vector<Index> tokens;
    if (bos) {
      const std::optional<Index> id = this->bos();
      require<DataError>(id.has_value(), "Tokenizer: a begin-of-sequence token is asked for, but there is none");
      tokens.push_back(*id);
    }
    append(text, special, tokens);
    return tokens;
  }

  /// The bytes that `token` adds behind `previous` (-1: nothing); special tokens add none unless `special`.  A piece may
  /// end inside a character.  Throws DataError for ids outside of the vocabulary.
  std::string decode_piece(Index previous, Index token, bool special = false) const {
    return piece(previous, token, special);
  }

  /// The text of all tokens.  decode(encode(text, bos)) is `text`, unless the tokenizer normalises it.
  std::string decode(std::span<const Index> tokens, bool special = false) const {
    std::string text;
    Index previous = -1;
    for (const Index token : tokens) {
      text += piece(previous, token, special);
      previous = token;
    }
    return text;
  }

  virtual Index vocab_size() const = 0;
  virtual std::optional<Index> bos() const = 0;
  /// The token that ends a text.  A model's config may name others.
  virtual std::optional<Index> eos() const = 0;
  /// Whether texts begin with BOS unless a user says otherwise: the tokenizer's own default.
  virtual bool adds_bos() const = 0;
  /// Equal for tokenizers that encode all texts alike; other tokenizers differ, all but certainly.
  virtual std::uint64_t fingerprint() const = 0;

 protected:
  Tokenizer() = default;
  Tokenizer(const Tokenizer&) = default;
  Tokenizer& operator=(const Tokenizer&) = default;

  /// Appends the ids of `text`, as encode() says.
  virtual void append(std::string_view text, bool special, std::vector<Index>& tokens) const = 0;
  /// As decode_piece() says.
  virtual std::string piece(Index previous, Index token, bool special) const = 0;
};

}  // namespace lolcats
