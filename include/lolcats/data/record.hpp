// One record of a JSON file: a document, an instruction or a chat.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/data/chat.hpp>
#include <lolcats/data/instructions.hpp>
#include <lolcats/io/json.hpp>

#include <nlohmann/json.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace lolcats {

/// A document's text, an instruction or a chat.
using TextRecord = std::variant<std::string, Instruction, Chat>;

namespace detail {

/// "messages" with role and content, or ShareGPT's "conversations" with from and value.
inline Chat parse_chat(const nlohmann::json& list, bool share_gpt, const std::string& where) {
  const char *list_key = share_gpt ? "conversations" : "messages", *role_key = share_gpt ? "from" : "role",
             *content_key = share_gpt ? "value" : "content";
  require<FormatError>(list.is_array() && !list.empty(), "{}: '{}' is {}, expected an array of messages", where,
                       list_key, list.is_array() ? "empty" : list.type_name());
  Chat chat;
  for (const auto& item : list) {
    const std::size_t i = chat.size();
    require<FormatError>(item.is_object(), "{}: {}[{}] is {}, expected an object", where, list_key, i,
                         item.type_name());
    const auto text = [&](const char* key) -> const std::string& {
      const auto found = item.find(key);
      require<FormatError>(found != item.end() && found->is_string(), "{}: {}[{}].{} is {}, expected a string", where,
                           list_key, i, key, found == item.end() ? "missing" : found->type_name());
      return found->template get_ref<const std::string&>();
    };
    const std::string& role = text(role_key);
    Message message{Role::System, text(content_key)};
    if (role == (share_gpt ? "human" : "user"))
      message.role = Role::User;
    else if (role == (share_gpt ? "gpt" : "assistant"))
      message.role = Role::Assistant;
    else
      require<FormatError>(role == "system", "{}: {}[{}].{} is '{}', expected system, {}", where, list_key, i, role_key,
                           shown(role), share_gpt ? "human or gpt" : "user or assistant");
    require<FormatError>(message.role != Role::System || i == 0,
                         "{}: {}[{}].{} is 'system', expected only as the first", where, list_key, i, role_key);
    chat.push_back(std::move(message));
  }
  return chat;
}

}  // namespace detail

/// Parses one JSON object.  It is a chat if it has "messages" or "conversations", else an instruction if it has
/// "instruction", else a document if it has "text"; other fields are not read.  None: there is nothing in it, a blank
/// text or an instruction without an answer.  `where` names it in errors.  Throws FormatError.
inline std::optional<TextRecord> parse_record(std::string_view text, const std::string& where) {
  const nlohmann::json item = parse_json(text, where, 64);
  require<FormatError>(item.is_object(), "{} is {}, expected an object", where, item.type_name());
  if (const auto found = item.find("messages"); found != item.end()) return detail::parse_chat(*found, false, where);
  if (const auto found = item.find("conversations"); found != item.end())
    return detail::parse_chat(*found, true, where);
  if (item.contains("instruction")) {
    auto instruction = parse_instruction(item, where);
    if (!instruction) return {};
    return *std::move(instruction);
  }
  const auto found = item.find("text");
  if (found == item.end()) {
    std::string keys;
    for (const auto& [key, value] : item.items()) (keys += keys.empty() ? "" : ", ") += key;
    fail<FormatError>("{}: has the fields '{}', expected 'text', 'instruction' and 'output', or 'messages'", where,
                      shown(keys));
  }
  require<FormatError>(found->is_string(), "{}: field 'text' is {}, expected a string", where, found->type_name());
  if (strip(found->get_ref<const std::string&>()).empty()) return {};
  return found->get<std::string>();
}

}  // namespace lolcats
