// sentencepiece's byte pairs without its library: merges by score, with byte fallback, as GGUF files hold them.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/fingerprint.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/tokenizer/added_tokens.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>
#include <lolcats/tokenizer/unknown_bytes.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lolcats {

/// What a piece is, by sentencepiece's numbers.
enum class PieceKind { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

/// What a file says about a tokenizer of this kind.
struct ScoredPieces {
  std::string origin = "ScoredPiecesTokenizer";  // names the source in errors
  std::vector<std::string> pieces = {};          // by id; a space is U+2581
  std::vector<float> scores = {};
  std::vector<PieceKind> kinds = {};
  std::optional<Index> bos = {}, eos = {}, unknown = {};
  bool adds_bos = true;
  bool puts_space = true;  // in front of a text, and of what stands behind a special token
};

/// Text as sentencepiece's BPE cuts it: spaces become U+2581, characters are merged, again and again the pair of
/// neighbours whose joint is the piece of the best score, the leftmost of equals; characters without a piece become
/// bytes "<0xNN>", or else one unknown token for a run of them.
///
/// User-defined pieces are found first and never merged.  A merge into an unused piece is undone at the end.
/// Bytes that are no UTF-8 are taken as characters without a piece.
class ScoredPiecesTokenizer final : public Tokenizer {
 public:
  /// Throws FormatError for lists that do not fit together.
  explicit ScoredPiecesTokenizer(ScoredPieces parts) : parts_(std::move(parts)) {
    const std::string& origin = parts_.origin;
    const std::size_t count = parts_.pieces.size();
    require<FormatError>(count > 0 && count < (1 << 26), "{}: {} pieces, expected 1 to {}", origin, count, 1 << 26);
    require<FormatError>(parts_.scores.size() == count && parts_.kinds.size() == count,
                         "{}: {} pieces, {} scores and {} types", origin, count, parts_.scores.size(),
                         parts_.kinds.size());
    std::vector<AddedToken> control, user_defined;
    byte_.fill(-1);
    Fingerprint fingerprint;
    fingerprint.add("scored pieces");
    for (std::size_t i = 0; i < count; ++i) {
      const std::string& piece = parts_.pieces[i];
      require<FormatError>(!piece.empty() || parts_.kinds[i] != PieceKind::normal, "{}: token {} is empty", origin, i);
      require<FormatError>(std::isfinite(parts_.scores[i]), "{}: token {} has score {}, expected a finite number",
                           origin, i, parts_.scores[i]);
      fingerprint.add(piece);
      fingerprint.add(static_cast<std::uint64_t>(std::bit_cast<std::uint32_t>(parts_.scores[i])) << 8 |
                      static_cast<std::uint64_t>(parts_.kinds[i]));
      switch (parts_.kinds[i]) {
        case PieceKind::control:
          require<FormatError>(utf8::is_valid(piece), "{}: the control token {} is not valid UTF-8", origin, i);
          control.push_back({.id = static_cast<Index>(i), .content = piece});
          break;
        case PieceKind::unknown: break;
        case PieceKind::byte: {
          int byte = 0;
          while (byte < 256 && piece != fmt::format("<0x{:02X}>", byte)) ++byte;
          require<FormatError>(byte < 256, "{}: token {} is a byte, but spelled '{}', expected '<0xNN>'", origin, i,
                               shown_pattern(piece));
          byte_[static_cast<std::size_t>(byte)] = static_cast<Token>(i);
          break;
        }
        case PieceKind::user_defined:
          user_defined.push_back({.id = static_cast<Index>(i), .content = piece, .special = false});
          [[fallthrough]];
        default: {
          if (piece.empty()) break;
          const auto [place, fresh] = ids_.emplace(piece, static_cast<Token>(i));
          require<FormatError>(fresh, "{}: tokens {} and {} are the same piece", origin, place->second, i);
          longest_ = std::max(longest_, piece.size());
        }
      }
    }
    for (const auto& id : {parts_.bos, parts_.eos, parts_.unknown})
      require<FormatError>(!id || (*id >= 0 && *id < vocab_size()), "{}: BOS, EOS or unknown is {}, expected 0 to {}",
                           origin, id.value_or(0), count - 1);
    require<FormatError>(!parts_.adds_bos || parts_.bos, "{}: is said to add BOS, but has none", origin);
    control_ = AddedTokens(std::move(control));
    user_defined_ = AddedTokens(std::move(user_defined));
    fingerprint.add((parts_.puts_space ? 1U : 0U) | static_cast<std::uint64_t>(parts_.bos.value_or(-1)) << 1);
    fingerprint.add(static_cast<std::uint64_t>(parts_.unknown.value_or(-1)));
    fingerprint_ = fingerprint.value();
  }
  ScoredPiecesTokenizer(const ScoredPiecesTokenizer&) = delete;  // ids_ looks into the pieces
  ScoredPiecesTokenizer& operator=(const ScoredPiecesTokenizer&) = delete;

  Index vocab_size() const override { return static_cast<Index>(parts_.pieces.size()); }
  std::optional<Index> bos() const override { return parts_.bos; }
  std::optional<Index> eos() const override { return parts_.eos; }
  bool adds_bos() const override { return parts_.adds_bos; }
  std::uint64_t fingerprint() const override { return fingerprint_; }

 protected:
  void append(std::string_view text, bool special, std::vector<Index>& tokens) const override {
    const auto encode = [&](std::string_view stretch) { append_stretch(stretch, text, tokens); };
    if (!special) return text.empty() ? void() : encode(text);
    Regex::Scratch scratch;
    control_.split(text, special, scratch, encode, [&](const AddedToken& token) { tokens.push_back(token.id); });
  }

  std::string piece(Index previous, Index token, bool special) const override {
    require<DataError>(token >= 0 && token < vocab_size(), "{}: token {} lies outside of the vocabulary of {}",
                       parts_.origin, token, vocab_size());
    const std::string& spelled = parts_.pieces[static_cast<std::size_t>(token)];
    switch (kind(token)) {
      case PieceKind::control: return special ? spelled : "";
      case PieceKind::unknown: return " \xE2\x81\x87 ";  // what sentencepiece shows
      case PieceKind::byte: return std::string(1, static_cast<char>(std::stoi(spelled.substr(3, 2), nullptr, 16)));
      default: break;
    }
    std::string text;
    std::string_view rest = spelled;
    const bool first = previous < 0 || (previous < vocab_size() && kind(previous) == PieceKind::control);
    if (parts_.puts_space && first && rest.starts_with(space)) rest.remove_prefix(space.size());
    while (!rest.empty()) {
      const bool is_space = rest.starts_with(space);
      text += is_space ? ' ' : rest[0];
      rest.remove_prefix(is_space ? space.size() : 1);
    }
    return text;
  }

 private:
  using Token = std::int32_t;
  static constexpr std::string_view space = "\xE2\x96\x81";  // U+2581

  /// A stretch of the text: a character, or what has been merged.
  struct Symbol {
    std::size_t begin = 0, length = 0;  // no length: merged into the one in front
    std::size_t previous = 0, next = 0;
    bool frozen = false;
  };
  struct Merge {
    float score;
    std::size_t left, right, length;
    bool operator<(const Merge& other) const {  // the heap's top is the best score, then the leftmost
      return score != other.score ? score < other.score : left > other.left;
    }
  };

  PieceKind kind(Index token) const { return parts_.kinds[static_cast<std::size_t>(token)]; }
  Token find(std::string_view piece) const {
    const auto found = ids_.find(piece);
    return found == ids_.end() ? -1 : found->second;
  }

  void append_stretch(std::string_view stretch, std::string_view whole, std::vector<Index>& tokens) const {
    std::string text;
    text.reserve(stretch.size() + stretch.size() / 2 + 3);
    if (parts_.puts_space) text += space;
    for (const char c : stretch) c == ' ' ? text += space : text += c;

    std::vector<Symbol> symbols;
    const auto add = [&](std::size_t begin, std::size_t length, bool frozen) {
      symbols.push_back({begin, length, symbols.size() - 1, symbols.size() + 1, frozen});
    };
    const auto characters = [&](std::string_view part) {
      const std::size_t begin = static_cast<std::size_t>(part.data() - text.data());
      for (std::size_t i = 0, length = 0; i < part.size(); i += length) {
        length = utf8::at(part, i).length;
        add(begin + i, length, false);
      }
    };
    if (user_defined_.empty()) {
      characters(text);
    } else {
      Regex::Scratch scratch;
      std::size_t at = 0;
      user_defined_.split(
          text, true, scratch,
          [&](std::string_view part) {
            characters(part);
            at += part.size();
          },
          [&](const AddedToken& token) {
            add(at, token.content.size(), true);
            at += token.content.size();
          });
    }
    std::unordered_map<std::string_view, std::size_t>
        undone;  // of merges into unused pieces: the length of the left half
    merge(text, symbols, undone);

    bool after_unknown = false;
    const auto emit = [&](std::string_view piece, auto&& again) -> void {
      const Token token = find(piece);
      if (token >= 0) {
        const auto half = kind(token) == PieceKind::unused ? undone.find(piece) : undone.end();
        if (half != undone.end()) {
          again(piece.substr(0, half->second), again);
          return again(piece.substr(half->second), again);
        }
        tokens.push_back(token);
        after_unknown = false;
        return;
      }
      if (std::all_of(piece.begin(), piece.end(), [&](char c) { return byte_[static_cast<unsigned char>(c)] >= 0; })) {
        for (const char c : piece) tokens.push_back(byte_[static_cast<unsigned char>(c)]);
        after_unknown = false;
        return;
      }
      if (!utf8::is_valid(piece)) fail_unknown_byte(parts_.origin, piece[0], whole);
      require<DataError>(parts_.unknown.has_value(), "{}: there is neither a piece for '{}' nor an unknown token",
                         parts_.origin, piece);
      if (!after_unknown) tokens.push_back(*parts_.unknown);
      after_unknown = true;
    };
    for (std::size_t i = 0; i < symbols.size(); i = symbols[i].next)
      emit(std::string_view(text).substr(symbols[i].begin, symbols[i].length), emit);
  }

  void merge(std::string_view text, std::vector<Symbol>& symbols,
             std::unordered_map<std::string_view, std::size_t>& undone) const {
    std::vector<Merge> first;
    const auto offer = [&](std::size_t left, std::size_t right, auto&& take) {
      const Symbol &a = symbols[left], &b = symbols[right];
      if (a.frozen || b.frozen || a.length + b.length > longest_) return;
      const std::string_view joint = text.substr(a.begin, a.length + b.length);
      const Token token = find(joint);
      if (token < 0) return;
      take(Merge{parts_.scores[static_cast<std::size_t>(token)], left, right, joint.size()});
      if (kind(token) == PieceKind::unused) undone[joint] = a.length;
    };
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) offer(i, i + 1, [&](const Merge& m) { first.push_back(m); });
    std::priority_queue<Merge> heap(std::less<Merge>{}, std::move(first));
    const auto push = [&](const Merge& m) { heap.push(m); };
    while (!heap.empty()) {
      const Merge best = heap.top();
      heap.pop();
      Symbol &left = symbols[best.left], &right = symbols[best.right];
      if (left.length == 0 || right.length == 0 || left.length + right.length != best.length) continue;
      left.length = best.length;
      right.length = 0;
      left.next = right.next;
      if (left.next < symbols.size()) {
        symbols[left.next].previous = best.left;
        offer(best.left, left.next, push);
      }
      if (best.left > 0) offer(left.previous, best.left, push);
    }
  }

  ScoredPieces parts_;
  std::unordered_map<std::string_view, Token> ids_;  // of what may be merged into
  std::array<Token, 256> byte_{};
  AddedTokens control_, user_defined_;
  std::size_t longest_ = 0;
  std::uint64_t fingerprint_ = 0;
};

}  // namespace lolcats
