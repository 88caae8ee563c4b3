// Byte pair encoding as GPT-2, Llama 3, Qwen and SmolLM2 use it, and over characters with byte fallback as Llama 2 does.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/fingerprint.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/tokenizer/added_tokens.hpp>
#include <lolcats/tokenizer/byte_alphabet.hpp>
#include <lolcats/tokenizer/merge_table.hpp>
#include <lolcats/tokenizer/normalizer.hpp>
#include <lolcats/tokenizer/pre_tokenizer.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>
#include <lolcats/tokenizer/unknown_bytes.hpp>
#include <lolcats/tokenizer/word_cache.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lolcats {

/// What a file says about a tokenizer of this kind.
struct BytePairParts {
  std::string origin = "BytePairTokenizer";  // names the source in errors
  std::vector<std::string> pieces = {};      // of the model by id, as spelled in the file; "" where the model has none
  std::vector<std::string> texts = {};       // what each piece decodes to
  MergeTable merges = {};
  bool byte_level = false;     // pieces are bytes, spelled in GPT-2's alphabet; otherwise they are characters
  bool ignore_merges = false;  // a word that is a piece is that piece, whatever the merges say
  bool byte_fallback = false;  // a character without a piece becomes pieces "<0xNN>"
  bool fuse_unknown = false;   // neighbouring unknown characters become one unknown token
  std::optional<Index> unknown = {};
  std::vector<AddedToken> added = {};
  Normalizer normalizer = {};
  PreTokenizer pre_tokenizer = {};
  bool drops_first_space = false;  // decoding takes one space off the text, which encoding has put there
  std::optional<Index> bos = {}, eos = {};
  bool adds_bos = false;
  std::string pipeline = {};  // all of the above that is neither pieces, merges nor added tokens, for the fingerprint
};

/// Splits a text at its added tokens, normalizes what is between, cuts it into words and merges within each.
///
/// Characters without a piece are dropped, as the `tokenizers` library does; bytes that are no UTF-8 and have no piece are
/// a DataError, with line and offset.  The space that encoding puts in front of a stretch of text is dropped in decoding
/// at the start, behind BOS, and behind an added token if a space was put there.
class BytePairTokenizer final : public Tokenizer {
 public:
  /// Throws FormatError for ids or contents that do not fit together.
  explicit BytePairTokenizer(BytePairParts parts) : parts_(std::move(parts)) {
    const std::string& origin = parts_.origin;
    const std::size_t count = parts_.pieces.size();
    require<FormatError>(parts_.texts.size() == count, "{}: {} pieces but {} texts", origin, count,
                         parts_.texts.size());
    require<FormatError>(count <= most_tokens, "{}: {} pieces, expected at most {}", origin, count, most_tokens);
    ids_.reserve(count);
    keys_.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::string& piece = parts_.pieces[i];
      keys_.push_back(parts_.byte_level ? byte_alphabet::bytes_of(piece).value_or("") : piece);
      if (keys_[i].empty()) continue;
      const auto [place, fresh] = ids_.emplace(keys_[i], static_cast<Token>(i));
      require<FormatError>(fresh, "{}: tokens {} and {} are the same piece", origin, place->second, i);
    }
    for (std::size_t b = 0; b < 256; ++b) {
      const char c = static_cast<char>(static_cast<unsigned char>(b));
      byte_[b] = find(parts_.byte_level ? std::string(1, c) : fmt::format("<0x{:02X}>", b));
    }
    size_ = count;
    std::vector<AddedToken> raw, normalized;
    Regex::Scratch* scratch = nullptr;
    std::optional<Regex::Scratch> made;
    for (const AddedToken& token : parts_.added) {
      require<FormatError>(token.id >= 0 && token.id < static_cast<Index>(most_tokens),
                           "{}: added token {} has id {}, expected 0 to {}", origin, shown_pattern(token.content),
                           token.id, most_tokens - 1);
      require<FormatError>(utf8::is_valid(token.content), "{}: the added token {} is not valid UTF-8", origin,
                           token.id);
      const auto [place, fresh] = added_.emplace(static_cast<Token>(token.id), token);
      require<FormatError>(fresh, "{}: added token {} is there twice", origin, token.id);
      size_ = std::max(size_, static_cast<std::size_t>(token.id) + 1);
      if (!token.normalized) {
        raw.push_back(token);
        continue;
      }
      if (!scratch) scratch = &made.emplace();
      normalized.push_back(token);
      normalized.back().content = parts_.normalizer(token.content, *scratch);
    }
    require<FormatError>(size_ <= count + (1 << 20) + 16 * parts_.added.size(),
                         "{}: an added token has id {}, but there are {} pieces", origin, size_ - 1, count);
    for (const auto& id : {parts_.bos, parts_.eos, parts_.unknown})
      require<FormatError>(!id || (*id >= 0 && *id < vocab_size()), "{}: BOS, EOS or unknown is {}, expected 0 to {}",
                           origin, id.value_or(0), vocab_size() - 1);
    require<FormatError>(!parts_.adds_bos || parts_.bos, "{}: is said to add BOS, but has none", origin);
    raw_ = AddedTokens(std::move(raw));
    normalized_ = AddedTokens(std::move(normalized));
    metaspace_always_ = std::any_of(parts_.pre_tokenizer.stages().begin(), parts_.pre_tokenizer.stages().end(),
                                    [](const auto& stage) { return stage.prepend == PreTokenizer::Prepend::always; });
    Fingerprint fingerprint;
    fingerprint.add("byte pairs");
    fingerprint.add(parts_.pipeline);
    for (const std::string& piece : parts_.pieces) fingerprint.add(piece);
    for (const AddedToken& token : parts_.added) {
      fingerprint.add(token.content);
      fingerprint.add(static_cast<std::uint64_t>(token.id) << 5 | (token.special ? 16U : 0U) |
                      (token.normalized ? 8U : 0U) | (token.left_strip ? 4U : 0U) | (token.right_strip ? 2U : 0U) |
                      (token.single_word ? 1U : 0U));
    }
    fingerprint.add(parts_.merges.fingerprint());
    fingerprint.add(parts_.bos ? static_cast<std::uint64_t>(*parts_.bos) : ~std::uint64_t{0});
    fingerprint_ = fingerprint.value();
  }

  BytePairTokenizer(const BytePairTokenizer&) = delete;  // ids_ looks into keys_
  BytePairTokenizer& operator=(const BytePairTokenizer&) = delete;

  Index vocab_size() const override { return static_cast<Index>(size_); }
  std::optional<Index> bos() const override { return parts_.bos; }
  std::optional<Index> eos() const override { return parts_.eos; }
  bool adds_bos() const override { return parts_.adds_bos; }
  std::uint64_t fingerprint() const override { return fingerprint_; }

  /// The token that is spelled so: an added one, or a piece as in the file.
  std::optional<Index> find_token(std::string_view spelling) const {
    for (const auto& [id, token] : added_) {
      if (token.content == spelling) return id;
    }
    const Token id = find(parts_.byte_level ? byte_alphabet::bytes_of(spelling).value_or("") : std::string(spelling));
    return id < 0 ? std::nullopt : std::optional<Index>(id);
  }

 protected:
  void append(std::string_view text, bool special, std::vector<Index>& tokens) const override {
    Pool<Work>::Loan work(pool_);
    const bool valid = utf8::is_valid(text);
    bool first = true;
    const auto words = [&](std::string_view part) {
      parts_.pre_tokenizer(part, first, valid, work->scratch,
                           [&](std::string_view word) { append_word(word, text, tokens, *work); });
      first = false;
    };
    const auto token = [&](const AddedToken& added) {
      tokens.push_back(added.id);
      first = false;
    };
    raw_.split(
        text, special, work->scratch,
        [&](std::string_view section) {
          if (parts_.normalizer.empty()) return normalized_.split(section, special, work->scratch, words, token);
          const std::string normal = parts_.normalizer(section, work->scratch);
          normalized_.split(normal, special, work->scratch, words, token);
        },
        token);
  }

  std::string piece(Index previous, Index token, bool special) const override {
    require<DataError>(token >= 0 && token < vocab_size(), "{}: token {} lies outside of the vocabulary of {}",
                       parts_.origin, token, vocab_size());
    if (const auto found = added_.find(static_cast<Token>(token)); found != added_.end())
      return found->second.special && !special ? "" : found->second.content;
    if (static_cast<std::size_t>(token) >= parts_.texts.size()) return "";
    const std::string& text = parts_.texts[static_cast<std::size_t>(token)];
    return parts_.drops_first_space && text.starts_with(' ') && begins_stretch(previous) ? text.substr(1) : text;
  }

 private:
  using Token = MergeTable::Token;
  static constexpr std::size_t most_tokens = 1 << 26;

  struct Work {
    Regex::Scratch scratch;
    WordCache cache;
    std::vector<Token> tokens;
  };

  Token find(std::string_view key) const {
    const auto found = key.empty() ? ids_.end() : ids_.find(key);
    return found == ids_.end() ? -1 : found->second;
  }

  /// Whether encoding puts a space in front of what comes behind `previous`.
  bool begins_stretch(Index previous) const {
    if (previous < 0 || previous == parts_.bos) return true;
    const auto found = added_.find(static_cast<Token>(previous));
    if (found == added_.end()) return false;
    return metaspace_always_ || (parts_.normalizer.prepends() && !found->second.normalized);
  }

  void append_word(std::string_view word, std::string_view text, std::vector<Index>& tokens, Work& work) const {
    const bool kept = word.size() <= WordCache::longest_word;
    if (kept) {
      if (const auto found = work.cache.find(word)) {
        tokens.insert(tokens.end(), found->begin(), found->end());
        return;
      }
    }
    work.tokens.clear();
    if (const Token whole = parts_.ignore_merges ? find(word) : -1; whole >= 0) {
      work.tokens.push_back(whole);
    } else {
      parts_.byte_level ? spell_bytes(word, text, work.tokens) : spell_characters(word, text, work.tokens);
      parts_.merges.merge(work.tokens);
    }
    if (kept) work.cache.insert(word, work.tokens);
    tokens.insert(tokens.end(), work.tokens.begin(), work.tokens.end());
  }

  void spell_bytes(std::string_view word, std::string_view text, std::vector<Token>& tokens) const {
    for (const char c : word) {
      const Token token = byte_[static_cast<unsigned char>(c)];
      if (token >= 0) {
        tokens.push_back(token);
      } else if (!utf8::is_valid(word)) {
        fail_unknown_byte(parts_.origin, c, text);
      }
    }
  }

  void spell_characters(std::string_view word, std::string_view text, std::vector<Token>& tokens) const {
    bool pending = false;  // an unknown token that may still grow
    const auto add_pending = [&] {
      if (pending) tokens.push_back(static_cast<Token>(*parts_.unknown));
      pending = false;
    };
    for (std::size_t i = 0; i < word.size();) {
      const utf8::Character c = utf8::at(word, i);
      const std::string_view letter = word.substr(i, c.length);
      i += c.length;
      if (const Token token = find(letter); token >= 0) {
        add_pending();
        tokens.push_back(token);
        continue;
      }
      const auto has_piece = [&](char byte) { return byte_[static_cast<unsigned char>(byte)] >= 0; };
      if (parts_.byte_fallback && std::all_of(letter.begin(), letter.end(), has_piece)) {
        for (const char byte : letter) tokens.push_back(byte_[static_cast<unsigned char>(byte)]);
        continue;
      }
      if (!c.valid()) fail_unknown_byte(parts_.origin, letter[0], text);
      if (!parts_.unknown) continue;
      if (!parts_.fuse_unknown) add_pending();
      pending = true;
    }
    add_pending();
  }

  BytePairParts parts_;
  std::vector<std::string> keys_;  // of the pieces: bytes or characters
  std::unordered_map<std::string_view, Token> ids_;
  std::array<Token, 256> byte_{};  // the piece of a byte, or -1
  std::unordered_map<Token, AddedToken> added_;
  AddedTokens raw_, normalized_;  // those looked for in the text, and in the normalized text
  std::size_t size_ = 0;
  bool metaspace_always_ = false;
  std::uint64_t fingerprint_ = 0;
  mutable Pool<Work> pool_;
};

}  // namespace lolcats
