// A small tokenizer for tests: the longest known piece first, bytes otherwise.
#pragma once

#include <lolcats/core/fingerprint.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tests {

/// Ids: 256 bytes, then the special tokens, then the pieces.
class PlainTokenizer : public lolcats::Tokenizer {
 public:
  std::vector<std::string> specials, pieces;
  std::optional<lolcats::Index> bos_id, eos_id;
  bool puts_bos = false;
  bool puts_space = false;  // in front of each text, as sentencepiece does
  char unknown = '\0';      // a byte that cannot be spelled, unless 0

  explicit PlainTokenizer(std::vector<std::string> special_tokens = {}, std::vector<std::string> known = {})
      : specials(std::move(special_tokens)), pieces(std::move(known)) {}

  lolcats::Index id(std::string_view special) const {
    const auto found = std::find(specials.begin(), specials.end(), special);
    return found == specials.end() ? -1 : 256 + (found - specials.begin());
  }

  lolcats::Index vocab_size() const override {
    return static_cast<lolcats::Index>(256 + specials.size() + pieces.size());
  }
  std::optional<lolcats::Index> bos() const override { return bos_id; }
  std::optional<lolcats::Index> eos() const override { return eos_id; }
  bool adds_bos() const override { return puts_bos; }
  std::uint64_t fingerprint() const override {
    lolcats::Fingerprint print;
    for (const auto& text : specials) print.add(text);
    for (const auto& text : pieces) print.add(text);
    print.add(static_cast<std::uint64_t>(puts_space));
    return print.value();
  }

 protected:
  void append(std::string_view text, bool special, std::vector<lolcats::Index>& tokens) const override {
    std::string plain;
    const auto flush = [&] {
      if (!plain.empty()) append_plain((puts_space ? " " : "") + plain, tokens);
      plain.clear();
    };
    for (std::size_t at = 0; at < text.size();) {
      const auto found = std::find_if(specials.begin(), specials.end(),
                                      [&](const std::string& s) { return special && text.substr(at).starts_with(s); });
      if (found == specials.end()) {
        plain += text[at++];
        continue;
      }
      flush();
      tokens.push_back(256 + (found - specials.begin()));
      at += found->size();
    }
    flush();
  }

  std::string piece(lolcats::Index, lolcats::Index token, bool special) const override {
    const auto t = static_cast<std::size_t>(token);
    if (t < 256) return std::string(1, static_cast<char>(token));
    if (t < 256 + specials.size()) return special ? specials[t - 256] : "";
    return pieces.at(t - 256 - specials.size());
  }

 private:
  void append_plain(std::string_view text, std::vector<lolcats::Index>& tokens) const {
    for (std::size_t at = 0; at < text.size();) {
      std::size_t longest = 1;
      lolcats::Index best = static_cast<unsigned char>(text[at]);
      for (std::size_t i = 0; i < pieces.size(); ++i)
        if (pieces[i].size() > longest && text.substr(at).starts_with(pieces[i])) {
          longest = pieces[i].size();
          best = static_cast<lolcats::Index>(256 + specials.size() + i);
        }
      lolcats::require<lolcats::DataError>(best != static_cast<unsigned char>(unknown) || unknown == '\0',
                                           "PlainTokenizer: no piece for byte {}", best);
      tokens.push_back(best);
      at += longest;
    }
  }
};

/// One that knows the special tokens of all templates.
inline PlainTokenizer chat_tokenizer() {
  PlainTokenizer tokenizer({"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>",
                            "<|end_header_id|>", "<|eot_id|>", "<s>", "</s>"},
                           {"\n\n", "\n\n\n", "he", "hell", " the"});
  tokenizer.eos_id = tokenizer.id("<|im_end|>");
  return tokenizer;
}

}  // namespace tests
