#include <lolcats/io/json.hpp>

#include "support.hpp"

using namespace lolcats;
using namespace io_test;

TEST_CASE("malformed JSON is a FormatError that names the file") {
  for (const char* text : {"", "{", "[1,]", "{} x", "{\"a\": nan}", "\"\xff\"", "{\"a\": 1e999}"}) {
    CAPTURE(text);
    check_throws<FormatError>([&] { parse_json(text, "c.json"); }, {"c.json: is not valid JSON"});
  }
}

TEST_CASE("a key that appears twice in one object is an error, in two objects it is not") {
  check_throws<FormatError>([] { parse_json(R"({"a": 1, "a": 2})", "c.json"); }, {"c.json: key 'a' appears twice"});
  check_throws<FormatError>([] { parse_json(R"([{"b": {"a": 1, "\u0061": 2}}])", "c.json"); },
                            {"key 'a' appears twice"});
  CHECK(parse_json(R"({"a": {"a": 1}, "b": {"a": 2}})", "c.json")["b"]["a"] == 2);
}

TEST_CASE("nesting is bounded") {
  CHECK_NOTHROW(parse_json(std::string(16, '[') + std::string(16, ']'), "c.json"));
  check_throws<FormatError>([] { parse_json(std::string(17, '[') + std::string(17, ']'), "c.json"); },
                            {"c.json: is nested deeper than 16 levels"});
  check_throws<FormatError>([] { parse_json(std::string(1'000'000, '['), "c.json", 4); }, {"deeper than 4 levels"});
}

TEST_CASE("typed access names file, key, got and expected") {
  const auto document = parse_json(
      R"({"i": 3, "n": -2, "f": 1.5, "t": "x", "b": true, "nil": null, "big": 18446744073709551615, "o": {"i": "no"}})",
      "c.json");
  JsonObject object(document, "c.json");
  CHECK(object.integer("i") == 3);
  CHECK(object.integer("n") == -2);
  CHECK(object.integer("none", 7) == 7);
  CHECK(object.integer("nil", 7) == 7);
  CHECK(object.number("i") == 3.0);
  CHECK(object.number("f") == 1.5);
  CHECK(object.boolean("b"));
  CHECK(object.text("t") == "x");
  check_throws<ConfigError>([&] { object.integer("f"); }, {"c.json: 'f' is 1.5, expected an integer"});
  check_throws<ConfigError>([&] { object.integer("big"); }, {"'big' is 18446744073709551615, expected an integer"});
  check_throws<ConfigError>([&] { object.integer("f", 1); }, {"'f' is 1.5"});
  check_throws<ConfigError>([&] { object.number("t"); }, {"'t' is \"x\", expected a number"});
  check_throws<ConfigError>([&] { object.boolean("i"); }, {"'i' is 3, expected true or false"});
  check_throws<ConfigError>([&] { object.text("i"); }, {"'i' is 3, expected a string"});
  check_throws<ConfigError>([&] { object.text("none"); }, {"c.json: 'none' is missing, expected a string"});
  check_throws<ConfigError>([&] { object.text("nil"); }, {"'nil' is missing"});
  check_throws<ConfigError>([&] { object.object("i"); }, {"c.json: 'i' is 3, expected an object"});
  check_throws<ConfigError>([&] { object.object("o").integer("i"); }, {"c.json: 'o.i' is \"no\", expected an integer"});
  const auto list = parse_json("[]", "c.json");
  check_throws<ConfigError>([&] { JsonObject(list, "c.json"); }, {"c.json: the document is [], expected an object"});
}

TEST_CASE("a key that nobody read is an error") {
  const auto document = parse_json(R"({"a": 1, "b": null, "c": {}, "d": false, "e": ""})", "c.json");
  JsonObject object(document, "c.json");
  check_throws<ConfigError>([&] { object.require_all_read(true); }, {"c.json: 'a' is 1, which is not supported"});
  object.integer("a");
  CHECK_NOTHROW(object.require_all_read(true));
  check_throws<ConfigError>([&] { object.require_all_read(); }, {"c.json: 'c' is {}, which is not supported"});
  object.ignore({"c", "d", "e"});
  CHECK_NOTHROW(object.require_all_read());
}
