// Records to tokens: which of them begin and end a text, which are special, and which are supervised.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/data/batch.hpp>
#include <lolcats/data/chat.hpp>
#include <lolcats/data/record.hpp>
#include <lolcats/tensor/labels.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace lolcats {

/// The id of a special token by its spelling, or none if the tokenizer takes that for characters.
inline std::optional<Index> special_token(const Tokenizer& tokenizer, std::string_view spelling) {
  try {
    const std::vector<Index> ids = tokenizer.encode(spelling, false, true);
    if (ids.size() == 1 && ids != tokenizer.encode(spelling, false)) return ids[0];
  } catch (const DataError&) {  // a vocabulary that cannot spell it
  }
  return {};
}

/// The token that ends documents in training: <|endoftext|> or <|end_of_text|> where there is one (chat models often
/// have another EOS, which ends an answer), else the tokenizer's EOS.
inline std::optional<Index> end_of_text(const Tokenizer& tokenizer) {
  for (const char* spelling : {"<|endoftext|>", "<|end_of_text|>"})
    if (const auto id = special_token(tokenizer, spelling)) return id;
  return tokenizer.eos();
}

/// The template that the tokenizer's special tokens speak of; none if they do not tell.  A model's own text tells more
/// (its default system message): see recognise_chat_template().
inline std::optional<ChatTemplate> recognise_chat_template(const Tokenizer& tokenizer) {
  if (special_token(tokenizer, "<|im_start|>") && special_token(tokenizer, "<|im_end|>"))
    return chat_template("chatml");
  if (special_token(tokenizer, "<|start_header_id|>") && special_token(tokenizer, "<|eot_id|>"))
    return chat_template("llama3");
  if (special_token(tokenizer, "<s>") && special_token(tokenizer, "</s>")) return chat_template("llama2");
  return {};
}

/// Whether an end-of-text token stands behind each document.
enum class EndOfText {
  Automatic,  // where the tokenizer does not put BOS in front of each: one of the two divides them
  Always,
  Never
};

/// Makes tokens of records, as many threads at a time as like.
class TextEncoder {
 public:
  /// `form` lays out chats and instructions; without one, instructions are Alpaca's and chats an error.  With
  /// `mask_prompts` only answers are supervised.  Throws ConfigError if an end of text is asked for that there is not.
  TextEncoder(const Tokenizer& tokenizer, std::optional<ChatTemplate> form, EndOfText end, bool mask_prompts)
      : tokenizer_(&tokenizer), form_(form), end_id_(end_of_text(tokenizer)), mask_prompts_(mask_prompts) {
    require<ConfigError>(end != EndOfText::Always || end_id_, "TextEncoder: the tokenizer has no end-of-text token");
    ends_documents_ = end_id_ && (end == EndOfText::Always || (end == EndOfText::Automatic && !tokenizer.adds_bos()));
  }

  bool masks() const { return mask_prompts_; }

  /// The tokens, with labels if prompts are masked.  Throws DataError for text that the tokenizer cannot spell and for
  /// chats that the template has no place for, ConfigError for a template whose special tokens the tokenizer lacks.
  Sample operator()(const TextRecord& record) const {
    if (const auto* text = std::get_if<std::string>(&record)) return document(*text, true, true);
    const auto* chat = std::get_if<Chat>(&record);
    if (!chat) {
      const auto& instruction = std::get<Instruction>(record);
      if (form_ && form_->name != "alpaca") return encode((*form_)(chat_of(instruction)));
      return encode({{ChatPiece::Kind::Begin, {}},
                     {ChatPiece::Kind::Apart, alpaca_prompt(instruction.instruction, instruction.context)},
                     {ChatPiece::Kind::Apart, instruction.answer, true},
                     {ChatPiece::Kind::End, {}, true}});
    }
    require<ConfigError>(form_.has_value(),
                         "a chat, but the model's chat template is not known: name one, as chatml, llama2 or llama3");
    return encode((*form_)(*chat));
  }

  /// A document, or a part of one: `begins` and `ends` say whether what stands before and behind it is added.
  Sample document(std::string_view text, bool begins, bool ends) const {
    Sample sample{tokenizer_->encode(text, begins && tokenizer_->adds_bos()), {}};
    if (ends && ends_documents_) sample.tokens.push_back(*end_id_);
    if (mask_prompts_) sample.labels = sample.tokens;  // no prompt
    return sample;
  }

  /// The tokens of a chat that is laid out, labels included.
  Sample encode(const ChatPieces& pieces) const {
    Sample sample;
    std::string text;
    std::vector<std::pair<std::size_t, bool>> parts;  // where each ends in `text`, and whether it is supervised
    const auto add = [&](Index token, bool answer) {
      sample.tokens.push_back(token);
      sample.labels.push_back(answer ? token : ignored_label);
    };
    const auto flush = [&] {
      add_text(text, parts, add);
      text.clear();
      parts.clear();
    };
    for (const ChatPiece& piece : pieces) {
      if (piece.kind != ChatPiece::Kind::Text) flush();
      switch (piece.kind) {
        case ChatPiece::Kind::Text:
        case ChatPiece::Kind::Apart:
          text += piece.text;
          parts.emplace_back(text.size(), piece.answer);
          break;
        case ChatPiece::Kind::Special: {
          const auto id = special_token(*tokenizer_, piece.text);
          require<ConfigError>(id.has_value(), "chat template {}: the tokenizer has no special token '{}'",
                               form_ ? form_->name : "alpaca", piece.text);
          add(*id, piece.answer);
          break;
        }
        case ChatPiece::Kind::Begin:
          if (tokenizer_->adds_bos()) add(tokenizer_->bos().value(), piece.answer);
          break;
        case ChatPiece::Kind::End:
          if (end_id_) add(*end_id_, piece.answer);
          break;
      }
    }
    flush();
    if (!mask_prompts_) sample.labels.clear();
    return sample;
  }

 private:
  /// Encodes text of several parts as one.  A token that holds bytes of two parts belongs to the later one: a part
  /// begins where the tokens of the text in front of it, encoded alone, end or part from those of the whole.
  template <class Add>
  void add_text(std::string_view text, const std::vector<std::pair<std::size_t, bool>>& parts, const Add& add) const {
    if (text.empty()) return;
    const std::vector<Index> tokens = tokenizer_->encode(text, false);
    std::size_t next = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::size_t end = parts[i].first;
      const bool answer = parts[i].second;
      std::size_t until = tokens.size();
      const bool differs = mask_prompts_ && std::any_of(parts.begin() + static_cast<std::ptrdiff_t>(i), parts.end(),
                                                        [&](const auto& part) { return part.second != answer; });
      if (differs) {
        const std::vector<Index> front = tokenizer_->encode(text.substr(0, end), false);
        until = static_cast<std::size_t>(std::mismatch(front.begin(), front.end(), tokens.begin(), tokens.end()).first -
                                         front.begin());
      }
      for (; next < until; ++next) add(tokens[next], answer);
      if (!differs) return;
    }
  }

  const Tokenizer* tokenizer_;
  std::optional<ChatTemplate> form_;
  std::optional<Index> end_id_;
  bool mask_prompts_;
  bool ends_documents_ = false;
};

}  // namespace lolcats
