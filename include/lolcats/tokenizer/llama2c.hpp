// llama2.c's tokenizer: byte pair merges by score, with byte fallback.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/fingerprint.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lolcats {

/// The tokenizer of github.com/karpathy/llama2.c (run.c: encode, decode).
///
/// Ids: 0 unknown, 1 BOS, 2 EOS, 3 + b for the byte b (spelled "<0xNN>"), then pieces with their scores.  Encoding puts
/// a space in front of any text that is not empty, looks up its UTF-8 characters (bytes where there is no such piece),
/// and then keeps merging the adjacent pair whose concatenation is the piece with the best score, the leftmost of
/// equals, until no pair can be merged.  Pieces scored -1e10 or less are never merged into.
class Llama2cTokenizer final : public Tokenizer {
 public:
  static constexpr Index bos_id = 1;
  static constexpr Index eos_id = 2;
  static constexpr Index first_byte = 3;

  /// Piece i has score i.  Pieces must be distinct and not empty, scores finite (FormatError), and at least BOS and EOS
  /// be there.  `origin` names the source in errors.
  Llama2cTokenizer(std::vector<std::string> pieces, std::vector<float> scores,
                   const std::string& origin = "Llama2cTokenizer")
      : pieces_(std::move(pieces)), scores_(std::move(scores)) {
    require<FormatError>(pieces_.size() == scores_.size(), "{}: {} pieces but {} scores", origin, pieces_.size(),
                         scores_.size());
    require<FormatError>(pieces_.size() > static_cast<std::size_t>(eos_id),
                         "{}: {} tokens, expected at least 3 (unknown, BOS, EOS)", origin, pieces_.size());
    ids_.reserve(pieces_.size());
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      require<FormatError>(!pieces_[i].empty(), "{}: token {} is empty", origin, i);
      require<FormatError>(std::isfinite(scores_[i]), "{}: token {} has score {}, expected a finite number", origin, i,
                           scores_[i]);
      const auto [place, fresh] = ids_.emplace(pieces_[i], static_cast<Index>(i));
      require<FormatError>(fresh, "{}: tokens {} and {} are the same piece", origin, place->second, i);
    }
    Fingerprint fingerprint;
    fingerprint.add("llama2c");
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      fingerprint.add(pieces_[i]);
      fingerprint.add(std::bit_cast<std::uint32_t>(scores_[i]));
    }
    fingerprint_ = fingerprint.value();
  }

  Index vocab_size() const override { return static_cast<Index>(pieces_.size()); }
  std::optional<Index> bos() const override { return bos_id; }
  std::optional<Index> eos() const override { return eos_id; }
  bool adds_bos() const override { return true; }
  std::uint64_t fingerprint() const override { return fingerprint_; }
  const std::vector<std::string>& pieces() const { return pieces_; }
  const std::vector<float>& scores() const { return scores_; }

 protected:
  /// In O(n log n): candidate merges wait in a heap and are dropped there when a neighbour has changed.
  void append(std::string_view text, bool special, std::vector<Index>& tokens) const override {
    std::vector<Index> fresh;
    for (std::size_t at = 0; at < text.size();) {
      if (special) {
        const std::string_view rest = text.substr(at);
        const Index id = rest.starts_with("<s>") ? bos_id : rest.starts_with("</s>") ? eos_id : -1;
        if (id >= 0) {
          append_plain(fresh, tokens);
          tokens.push_back(id);
          at += id == bos_id ? 3 : 4;
          continue;
        }
      }
      if (fresh.empty()) append_character(" ", 0, fresh);
      std::size_t length = 1;
      while (length < 4 && at + length < text.size() && is_continuation(text[at + length])) ++length;
      append_character(text.substr(at, length), at, fresh);
      at += length;
    }
    append_plain(fresh, tokens);
  }

  /// Behind BOS a leading space is dropped: it is the one that `encode` puts there.
  std::string piece(Index previous, Index token, bool special) const override {
    require<DataError>(token >= 0 && token < vocab_size(),
                       "Llama2cTokenizer: token {} lies outside of the vocabulary of {}", token, vocab_size());
    if (token == bos_id || token == eos_id) return special ? (token == bos_id ? "<s>" : "</s>") : "";
    const std::string& piece = pieces_[static_cast<std::size_t>(token)];
    const std::string_view text = std::string_view(piece).substr(previous == bos_id && piece[0] == ' ' ? 1 : 0);
    if (const int byte = byte_of(text); byte >= 0) return std::string(1, static_cast<char>(byte));
    return std::string(text);
  }

 private:
  /// A possible merge of two neighbours, as they were when it was found.
  struct Merge {
    float score;
    std::size_t left, right;
    Index left_token, right_token, merged;

    bool operator<(const Merge& other) const {  // the heap's top is the best score, then the leftmost
      return score != other.score ? score < other.score : left > other.left;
    }
  };

  static bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

  static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
  }

  /// The byte that a piece "<0xNN>" stands for, or -1.
  static int byte_of(std::string_view piece) {
    if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
    const int high = hex_digit(piece[3]), low = hex_digit(piece[4]);
    return high < 0 || low < 0 ? -1 : 16 * high + low;
  }

  void append_plain(std::vector<Index>& fresh, std::vector<Index>& tokens) const {
    merge(fresh);
    tokens.insert(tokens.end(), fresh.begin(), fresh.end());
    fresh.clear();
  }

  void append_character(std::string_view character, std::size_t at, std::vector<Index>& tokens) const {
    if (const auto found = ids_.find(character); found != ids_.end()) {
      tokens.push_back(found->second);
      return;
    }
    for (const char c : character) {
      const int byte = static_cast<unsigned char>(c);
      const Index token = first_byte + byte;
      require<DataError>(token < vocab_size() && byte_of(pieces_[static_cast<std::size_t>(token)]) == byte,
                         "Llama2cTokenizer: unknown token: no piece for the byte 0x{:02X} near offset {} of the text",
                         byte, at);
      tokens.push_back(token);
    }
  }

  void merge(std::vector<Index>& tokens) const {
    constexpr float never = -1e10F;
    constexpr Index gone = -1;
    const std::size_t count = tokens.size();
    std::vector<std::size_t> next(count), previous(count);
    std::priority_queue<Merge> heap;
    std::string both;
    const auto offer = [&](std::size_t left, std::size_t right) {
      both = pieces_[static_cast<std::size_t>(tokens[left])];
      both += pieces_[static_cast<std::size_t>(tokens[right])];
      const auto found = ids_.find(both);
      if (found == ids_.end()) return;
      const float score = scores_[static_cast<std::size_t>(found->second)];
      if (score > never) heap.push({score, left, right, tokens[left], tokens[right], found->second});
    };
    for (std::size_t i = 0; i < count; ++i) {
      next[i] = i + 1;
      previous[i] = i - 1;  // wraps at 0, where it is not read
      if (i + 1 < count) offer(i, i + 1);
    }
    while (!heap.empty()) {
      const Merge best = heap.top();
      heap.pop();
      // unchanged tokens are still neighbours: what comes between or joins them changes at least one
      if (tokens[best.left] != best.left_token || tokens[best.right] != best.right_token) continue;
      tokens[best.left] = best.merged;
      tokens[best.right] = gone;
      const std::size_t after = next[best.right];
      next[best.left] = after;
      if (after < count) {
        previous[after] = best.left;
        offer(best.left, after);
      }
      if (best.left > 0) offer(previous[best.left], best.left);
    }
    std::erase(tokens, gone);
  }

  /// Lets a string_view be looked up without making a string of it.
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  std::vector<std::string> pieces_;
  std::vector<float> scores_;
  std::uint64_t fingerprint_ = 0;
  std::unordered_map<std::string, Index, Hash, std::equal_to<>> ids_;
};

}  // namespace lolcats
