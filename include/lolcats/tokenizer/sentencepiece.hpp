// sentencepiece's .model files, by libsentencepiece.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/fingerprint.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/tokenizer/added_tokens.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>
#include <lolcats/tokenizer/unknown_bytes.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#ifdef LOLCATS_WITH_SENTENCEPIECE
#include <sentencepiece_processor.h>
#endif

namespace lolcats {

#ifdef LOLCATS_WITH_SENTENCEPIECE

/// A .model of sentencepiece (byte pairs or unigram), encoded by the library itself.
///
/// Texts begin with BOS where the model has one.  Special tokens are the model's control pieces ("<s>", "</s>").  A text
/// must be valid UTF-8 (DataError with line and offset otherwise: the library would replace such bytes).  The space that
/// the library puts in front of a text is dropped in decoding, at the start and behind control pieces.
class SentencePieceTokenizer final : public Tokenizer {
 public:
  /// Throws FormatError for bytes that are no model.
  SentencePieceTokenizer(std::string_view bytes, std::string origin) : origin_(std::move(origin)) {
    const auto status = processor_.LoadFromSerializedProto(bytes);
    require<FormatError>(status.ok(), "{}: is no model of sentencepiece: {}", origin_, status.ToString());
    size_ = processor_.GetPieceSize();
    require<FormatError>(size_ > 0, "{}: the model has no pieces", origin_);
    std::vector<AddedToken> control;
    for (int id = 0; id < size_; ++id) {
      if (processor_.IsControl(id)) control.push_back({.id = id, .content = processor_.IdToPiece(id)});
    }
    control_ = AddedTokens(std::move(control));
    std::vector<std::string> pieces;
    require<FormatError>(processor_.Encode("a", &pieces).ok(), "{}: the model cannot encode", origin_);
    puts_space_ = !pieces.empty() && pieces[0].starts_with(space);
    Fingerprint fingerprint;
    fingerprint.add("sentencepiece");
    fingerprint.add(bytes);
    fingerprint_ = fingerprint.value();
  }

  Index vocab_size() const override { return size_; }
  std::optional<Index> bos() const override { return id_or_none(processor_.bos_id()); }
  std::optional<Index> eos() const override { return id_or_none(processor_.eos_id()); }
  bool adds_bos() const override { return bos().has_value(); }
  std::uint64_t fingerprint() const override { return fingerprint_; }

 protected:
  void append(std::string_view text, bool special, std::vector<Index>& tokens) const override {
    if (const std::size_t good = utf8::valid_prefix(text); good < text.size())
      fail_unknown_byte(origin_, text[good], text);
    const auto encode = [&](std::string_view stretch) {
      std::vector<int> ids;
      const auto status = processor_.Encode(stretch, &ids);
      require<DataError>(status.ok(), "{}: sentencepiece cannot encode: {}", origin_, status.ToString());
      tokens.insert(tokens.end(), ids.begin(), ids.end());
    };
    if (!special) return encode(text);
    Regex::Scratch scratch;
    control_.split(text, special, scratch, encode, [&](const AddedToken& token) { tokens.push_back(token.id); });
  }

  std::string piece(Index previous, Index token, bool special) const override {
    require<DataError>(token >= 0 && token < size_, "{}: token {} lies outside of the vocabulary of {}", origin_, token,
                       size_);
    const int id = static_cast<int>(token);
    const std::string& spelled = processor_.IdToPiece(id);
    if (processor_.IsControl(id)) return special ? spelled : "";
    if (processor_.IsUnknown(id)) return " \xE2\x81\x87 ";  // what the library shows
    if (processor_.IsByte(id)) return std::string(1, static_cast<char>(std::stoi(spelled.substr(3, 2), nullptr, 16)));
    std::string text;
    std::string_view rest = spelled;
    const bool first = previous < 0 || (previous < size_ && processor_.IsControl(static_cast<int>(previous)));
    if (puts_space_ && first && rest.starts_with(space)) rest.remove_prefix(space.size());
    while (!rest.empty()) {
      const bool is_space = rest.starts_with(space);
      is_space ? text += ' ' : text += rest[0];
      rest.remove_prefix(is_space ? space.size() : 1);
    }
    return text;
  }

 private:
  static constexpr std::string_view space = "\xE2\x96\x81";  // U+2581

  static std::optional<Index> id_or_none(int id) { return id >= 0 ? std::optional<Index>(id) : std::nullopt; }

  std::string origin_;
  sentencepiece::SentencePieceProcessor processor_;
  AddedTokens control_;
  int size_ = 0;
  bool puts_space_ = false;
  std::uint64_t fingerprint_ = 0;
};

inline std::unique_ptr<Tokenizer> make_sentencepiece(std::string_view bytes, const std::string& origin) {
  return std::make_unique<SentencePieceTokenizer>(bytes, origin);
}

#else

inline std::unique_ptr<Tokenizer> make_sentencepiece(std::string_view, const std::string& origin) {
  fail<ConfigError>("{}: sentencepiece's models need libsentencepiece, which this build was made without", origin);
}

#endif

}  // namespace lolcats
