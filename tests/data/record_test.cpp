#include <doctest/doctest.h>
#include <lolcats/data/record.hpp>

#include <string>
#include <variant>

using namespace lolcats;  // tests only

namespace {

std::string message_of(const std::string& json) {
  try {
    parse_record(json, "f:7");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "none";
}

}  // namespace

TEST_CASE("fields tell what a record is") {
  CHECK(std::get<std::string>(*parse_record(R"({"text": " a\n", "url": 1})", "f")) == " a\n");
  CHECK(std::get<Instruction>(*parse_record(R"({"instruction": "i", "output": "o", "text": "t"})", "f")).answer == "o");
  const Chat chat{{Role::System, "s"}, {Role::User, "u"}, {Role::Assistant, "a"}};
  CHECK(std::get<Chat>(*parse_record(R"({"messages": [{"role": "system", "content": "s"}, {"role": "user",
      "content": "u"}, {"role": "assistant", "content": "a"}], "text": "t"})",
                                     "f")) == chat);
  CHECK(std::get<Chat>(*parse_record(R"({"conversations": [{"from": "system", "value": "s"}, {"from": "human",
      "value": "u"}, {"from": "gpt", "value": "a"}]})",
                                     "f")) == chat);
  CHECK(std::get<std::string>(*parse_record("{\"text\": \"\\u00e9\\u0000\\ud83d\\ude00\"}", "f")) ==
        std::string("\xc3\xa9\0\xf0\x9f\x98\x80", 7));
}

TEST_CASE("records with nothing in them are none") {
  CHECK_FALSE(parse_record(R"({"text": " \n"})", "f"));
  CHECK_FALSE(parse_record(R"({"instruction": "i", "input": "", "output": "<nooutput>"})", "f"));
}

TEST_CASE("records that are not understood name place, field, got and expected") {
  CHECK(message_of("[1]") == "f:7 is array, expected an object");
  CHECK(message_of("{}") == "f:7: has the fields '', expected 'text', 'instruction' and 'output', or 'messages'");
  CHECK(message_of(R"({"question": "q", "answer": "a"})") ==
        "f:7: has the fields 'answer, question', expected 'text', 'instruction' and 'output', or 'messages'");
  CHECK(message_of(R"({"text": null})") == "f:7: field 'text' is null, expected a string");
  CHECK(message_of(R"({"instruction": "a"})") == "f:7: field 'output' is missing, expected a string");
  CHECK(message_of(R"({"messages": {}})") == "f:7: 'messages' is object, expected an array of messages");
  CHECK(message_of(R"({"messages": []})") == "f:7: 'messages' is empty, expected an array of messages");
  CHECK(message_of(R"({"messages": [1]})") == "f:7: messages[0] is number, expected an object");
  CHECK(message_of(R"({"messages": [{"role": "user", "content": null}]})") ==
        "f:7: messages[0].content is null, expected a string");
  CHECK(message_of(R"({"messages": [{"content": "a"}]})") == "f:7: messages[0].role is missing, expected a string");
  CHECK(message_of(R"({"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "a"}]})") ==
        "f:7: messages[1].role is 'tool', expected system, user or assistant");
  CHECK(message_of(R"({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "a"}]})") ==
        "f:7: messages[1].role is 'system', expected only as the first");
  CHECK(message_of(R"({"conversations": [{"from": "user", "value": "a"}]})") ==
        "f:7: conversations[0].from is 'user', expected system, human or gpt");
}

TEST_CASE("what is not JSON is refused with its place") {
  for (const std::string& json :
       {std::string("{\"text\": \"a\""), std::string("{\"text\": \"a\"} {}"), std::string("{\"text\": \"\xff\"}"),
        std::string("{\"text\": \"a\nb\"}"), std::string("{\"text\": \"\\ud800\"}"),
        std::string("{\"text\": \"\0\"}", 11), std::string("{\"text\": \"a\", \"text\": \"b\"}"),
        std::string("{'text': 'a'}"), std::string("nan"),
        "{\"text\": \"a\", \"x\": " + std::string(5000, '[') + std::string(5000, ']') + "}"}) {
    CAPTURE(json);
    CHECK(message_of(json).starts_with("f:7: "));
  }
}
