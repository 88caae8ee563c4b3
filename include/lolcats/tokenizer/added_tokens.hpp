// Tokens that are looked for in a text before anything else is done to it.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/tokenizer/regex.hpp>

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

/// A token that is spelled out in texts, as in a tokenizer.json.
struct AddedToken {
  Index id = 0;
  std::string content = {};
  bool special = true;       // no text: shown and parsed on request only
  bool normalized = false;   // looked for in the normalized text
  bool left_strip = false;   // takes the white space in front of it in
  bool right_strip = false;  // takes the white space behind it in
  bool single_word = false;  // only where no word character touches it
};

/// Finds added tokens: at each place the longest, from left to right.
class AddedTokens {
 public:
  /// The order of the tokens decides nothing; of two with the same content the later is found.
  explicit AddedTokens(std::vector<AddedToken> tokens = {}) : tokens_(std::move(tokens)) {
    for (std::size_t t = 0; t < tokens_.size(); ++t) {
      if (tokens_[t].content.empty()) continue;
      std::int32_t node = 0;
      for (const char c : tokens_[t].content) {
        const auto [place, fresh] = children_.emplace(key(node, c), static_cast<std::int32_t>(nodes_.size()));
        if (fresh) nodes_.push_back(-1);
        node = place->second;
      }
      nodes_[static_cast<std::size_t>(node)] = static_cast<std::int32_t>(t);
      begins_[static_cast<unsigned char>(tokens_[t].content[0])] = true;
      if (tokens_[t].single_word && !word_) word_.emplace(fmt::format("[{}]", rust_word_items), "AddedTokens");
    }
    empty_ = children_.empty();
  }

  bool empty() const { return empty_; }

  /// Calls text(stretch) for what is no token and token(added) for what is one, in order.  A special token is passed
  /// over, as a whole, unless `special`.
  template <class Text, class Token>
  void split(std::string_view whole, bool special, Regex::Scratch& scratch, Text&& text, Token&& token) const {
    std::size_t done = 0;
    for (std::size_t at = 0; !empty_ && at < whole.size();) {
      if (!begins_[static_cast<unsigned char>(whole[at])]) {
        ++at;
        continue;
      }
      const auto [found, length] = longest_at(whole, at);
      if (!found) {
        ++at;
        continue;
      }
      std::size_t begin = at, end = at + length;
      at = end;
      if (found->special && !special) continue;
      if (found->single_word &&
          (ends_with_word(whole.substr(0, begin), scratch) || starts_with_word(whole.substr(end), scratch)))
        continue;
      if (found->left_strip) begin = std::max(done, before_space(whole, begin));
      if (found->right_strip) end = after_space(whole, end);
      if (begin > done) text(whole.substr(done, begin - done));
      token(*found);
      done = std::max(done, end);
    }
    if (done < whole.size()) text(whole.substr(done));
  }

 private:
  static std::uint64_t key(std::int32_t node, char c) {
    return static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(c);
  }

  std::pair<const AddedToken*, std::size_t> longest_at(std::string_view text, std::size_t at) const {
    const AddedToken* best = nullptr;
    std::size_t length = 0;
    std::int32_t node = 0;
    for (std::size_t i = at; i < text.size(); ++i) {
      const auto next = children_.find(key(node, text[i]));
      if (next == children_.end()) break;
      node = next->second;
      if (const std::int32_t t = nodes_[static_cast<std::size_t>(node)]; t >= 0) {
        best = &tokens_[static_cast<std::size_t>(t)];
        length = i + 1 - at;
      }
    }
    return {best, length};
  }

  /// Unicode's White_Space.
  static bool is_space(std::int32_t c) {
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
  }
  static std::size_t after_space(std::string_view text, std::size_t at) {
    while (at < text.size()) {
      const utf8::Character c = utf8::at(text, at);
      if (!is_space(c.code)) break;
      at += c.length;
    }
    return at;
  }
  /// The start of the character that ends at `end` > 0.
  static std::size_t last_character(std::string_view text, std::size_t end) {
    std::size_t at = end - 1;
    while (at > 0 && end - at < 4 && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U) --at;
    return at;
  }
  static std::size_t before_space(std::string_view text, std::size_t end) {
    while (end > 0) {
      const std::size_t at = last_character(text, end);
      const utf8::Character c = utf8::at(text, at);
      if (at + c.length != end || !is_space(c.code)) break;
      end = at;
    }
    return end;
  }
  bool is_word(std::string_view character, Regex::Scratch& scratch) const {
    bool found = false;
    if (utf8::is_valid(character))
      word_->for_each_match(character, scratch, [&](std::size_t, std::size_t) { found = true; });
    return found;
  }
  bool starts_with_word(std::string_view text, Regex::Scratch& scratch) const {
    return !text.empty() && is_word(text.substr(0, utf8::at(text, 0).length), scratch);
  }
  bool ends_with_word(std::string_view text, Regex::Scratch& scratch) const {
    return !text.empty() && is_word(text.substr(last_character(text, text.size())), scratch);
  }

  std::vector<AddedToken> tokens_;
  // A trie: children by node and byte; for each node the index of the token that ends there, or -1.
  std::vector<std::int32_t> nodes_{-1};
  std::unordered_map<std::uint64_t, std::int32_t> children_;
  std::array<bool, 256> begins_{};
  std::optional<Regex> word_;
  bool empty_ = true;
};

}  // namespace lolcats
