// Chats, and the templates that lay them out as models were trained to read them.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/data/instructions.hpp>
#include <lolcats/data/text_file.hpp>

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

enum class Role { System, User, Assistant };

inline std::string_view name_of(Role role) {
  return role == Role::System ? "system" : role == Role::User ? "user" : "assistant";
}

struct Message {
  Role role;
  std::string content;

  friend bool operator==(const Message&, const Message&) = default;
};
using Chat = std::vector<Message>;

/// A stretch of a chat that is laid out.
///
/// Text between two special tokens is encoded as one, whoever wrote its parts, and never as special tokens: a message
/// that spells one is characters.  `Apart` begins a text anew where there is no special token.
struct ChatPiece {
  enum class Kind { Text, Apart, Special, Begin, End };  // Begin: BOS if the tokenizer adds it; End: end of text
  Kind kind;
  std::string text;     // the spelling of a special token; empty for Begin and End
  bool answer = false;  // supervised where prompts are masked

  friend bool operator==(const ChatPiece&, const ChatPiece&) = default;
};
using ChatPieces = std::vector<ChatPiece>;

/// A way to lay out chats.  `lay_out(template, chat, open)` throws DataError for a chat that it has no place for; with
/// `open` an answer is begun behind it.
struct ChatTemplate {
  std::string_view name;
  ChatPieces (*lay_out)(const ChatTemplate&, std::span<const Message>, bool);
  std::string_view system = {};  // said where a chat has no system message

  ChatPieces operator()(std::span<const Message> chat, bool open = false) const { return lay_out(*this, chat, open); }
};

namespace detail {

inline ChatPiece text_piece(std::string text, bool answer = false) {
  return {ChatPiece::Kind::Text, std::move(text), answer};
}
inline ChatPiece special_piece(std::string_view text, bool answer = false) {
  return {ChatPiece::Kind::Special, std::string(text), answer};
}

/// A system message, if any, and then user and assistant in turns, the user first.
inline void require_turns(const ChatTemplate& form, std::span<const Message> chat) {
  const std::size_t first = !chat.empty() && chat[0].role == Role::System ? 1 : 0;
  for (std::size_t i = first; i < chat.size(); ++i) {
    const Role wanted = (i - first) % 2 == 0 ? Role::User : Role::Assistant;
    require<DataError>(chat[i].role == wanted, "template {}: message {} is of role {}, expected {}", form.name, i,
                       name_of(chat[i].role), name_of(wanted));
  }
  require<DataError>(chat.size() > first, "template {}: the chat has no message of a user", form.name);
}

/// <|im_start|>role\ncontent<|im_end|>\n
inline ChatPieces lay_out_chatml(const ChatTemplate& form, std::span<const Message> chat, bool open) {
  ChatPieces pieces;
  const auto add = [&](Role role, std::string_view content) {
    const bool answer = role == Role::Assistant;
    pieces.push_back(special_piece("<|im_start|>"));
    pieces.push_back(text_piece(std::string(name_of(role)) + "\n"));
    pieces.push_back(text_piece(std::string(content), answer));
    pieces.push_back(special_piece("<|im_end|>", answer));
    pieces.push_back(text_piece("\n"));
  };
  if (!form.system.empty() && (chat.empty() || chat[0].role != Role::System)) add(Role::System, form.system);
  for (const Message& message : chat) add(message.role, message.content);
  if (open) {
    pieces.push_back(special_piece("<|im_start|>"));
    pieces.push_back(text_piece("assistant\n"));
  }
  return pieces;
}

/// <|begin_of_text|>, then <|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|>, contents stripped.  With a
/// text in `system` the system message is always there and begins with that text.
inline ChatPieces lay_out_llama3(const ChatTemplate& form, std::span<const Message> chat, bool open) {
  ChatPieces pieces{special_piece("<|begin_of_text|>")};
  const auto head = [&](Role role) {
    pieces.push_back(special_piece("<|start_header_id|>"));
    pieces.push_back(text_piece(std::string(name_of(role))));
    pieces.push_back(special_piece("<|end_header_id|>"));
    pieces.push_back(text_piece("\n\n"));
  };
  const auto add = [&](Role role, std::string content) {
    head(role);
    pieces.push_back(text_piece(std::move(content), role == Role::Assistant));
    pieces.push_back(special_piece("<|eot_id|>", role == Role::Assistant));
  };
  if (!form.system.empty()) {
    const bool has = !chat.empty() && chat[0].role == Role::System;
    add(Role::System, std::string(form.system) + std::string(has ? strip(chat[0].content) : ""));
    if (has) chat = chat.subspan(1);
  }
  for (const Message& message : chat) add(message.role, std::string(strip(message.content)));
  if (open) head(Role::Assistant);
  return pieces;
}

/// <s>[INST] <<SYS>>\nsystem\n<</SYS>>\n\nuser [/INST] answer </s><s>[INST] user [/INST] ...
inline ChatPieces lay_out_llama2(const ChatTemplate& form, std::span<const Message> chat, bool) {
  require_turns(form, chat);
  ChatPieces pieces;
  std::string system;
  for (const Message& message : chat) {
    if (message.role == Role::System) {
      system = "<<SYS>>\n" + message.content + "\n<</SYS>>\n\n";
    } else if (message.role == Role::User) {
      pieces.push_back(special_piece("<s>"));
      pieces.push_back(
          text_piece("[INST] " + std::string(strip(std::exchange(system, {}) + message.content)) + " [/INST]"));
    } else {
      pieces.push_back(text_piece(" " + std::string(strip(message.content)) + " ", true));
      pieces.push_back(special_piece("</s>", true));
    }
  }
  return pieces;
}

/// Alpaca's prompt and the answer, each encoded on its own as LoLCATs has it; each turn is a prompt of its own.
inline ChatPieces lay_out_alpaca(const ChatTemplate& form, std::span<const Message> chat, bool) {
  require<DataError>(chat.empty() || chat[0].role != Role::System, "template {}: has no place for a system message",
                     form.name);
  require_turns(form, chat);
  ChatPieces pieces;
  for (const Message& message : chat) {
    if (message.role == Role::User) {
      pieces.push_back({ChatPiece::Kind::Begin, {}});
      pieces.push_back({ChatPiece::Kind::Apart, alpaca_prompt(message.content)});
    } else {
      pieces.push_back({ChatPiece::Kind::Apart, message.content, true});
      pieces.push_back({ChatPiece::Kind::End, {}, true});
    }
  }
  return pieces;
}

}  // namespace detail

/// The templates that are known.  Dates are those of the published templates: texts must not change from day to day.
inline constexpr std::array<ChatTemplate, 8> chat_templates{{
    {"alpaca", detail::lay_out_alpaca},
    {"chatml", detail::lay_out_chatml},
    {"smollm2", detail::lay_out_chatml, "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
    {"qwen2", detail::lay_out_chatml, "You are a helpful assistant."},
    {"qwen2.5", detail::lay_out_chatml, "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."},
    {"llama2", detail::lay_out_llama2},
    {"llama3", detail::lay_out_llama3},
    {"llama3.1", detail::lay_out_llama3, "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"},
}};

/// The template of this name.  Throws ConfigError that lists the names.
inline ChatTemplate chat_template(std::string_view name) {
  std::string names;
  for (const ChatTemplate& form : chat_templates) {
    if (form.name == name) return form;
    (names += names.empty() ? "" : ", ") += form.name;
  }
  fail<ConfigError>("chat template '{}' is not known, expected one of {}", name, names);
}

/// The template that a model's own Jinja text describes, told by what it says; none if it is not among those known.
inline std::optional<ChatTemplate> recognise_chat_template(std::string_view jinja) {
  const auto says = [&](std::string_view text) { return jinja.find(text) != jinja.npos; };
  if (says("<|im_start|>")) {
    if (says("<think>") || says("<|im_sep|>")) return {};  // lays out reasoning, or Phi-4's
    if (says("named SmolLM, trained by Hugging Face")) return chat_template("smollm2");
    if (says("You are Qwen, created by Alibaba Cloud")) return chat_template("qwen2.5");
    if (says("system\\nYou are a helpful assistant") || says("system\nYou are a helpful assistant"))
      return chat_template("qwen2");
    if (says("You are ")) return {};  // another default
    return chat_template("chatml");
  }
  if (says("<|start_header_id|>")) return chat_template(says("Cutting Knowledge Date") ? "llama3.1" : "llama3");
  if (says("[INST]")) return says("<<SYS>>") ? std::optional(chat_template("llama2")) : std::nullopt;
  if (says("### Instruction:")) return chat_template("alpaca");
  return {};
}

/// An Alpaca record as a chat of one turn: its context stands behind the instruction and a blank line.
inline Chat chat_of(const Instruction& record) {
  const std::string prompt = record.context.empty() ? record.instruction : record.instruction + "\n\n" + record.context;
  return {{Role::User, prompt}, {Role::Assistant, record.answer}};
}

/// What the pieces spell, with these texts for Begin and End.
inline std::string to_text(const ChatPieces& pieces, std::string_view begin = {}, std::string_view end = {}) {
  std::string text;
  for (const ChatPiece& piece : pieces)
    text += piece.kind == ChatPiece::Kind::Begin ? begin : piece.kind == ChatPiece::Kind::End ? end : piece.text;
  return text;
}

}  // namespace lolcats
