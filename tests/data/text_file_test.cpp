#include <doctest/doctest.h>
#include <lolcats/data/text_file.hpp>

#include <string>
#include <utility>
#include <vector>

using namespace lolcats;  // tests only
using namespace std::string_literals;

namespace {

using Found = std::vector<std::pair<std::string, Index>>;

Found records(std::string_view text, TextKind kind) {
  Found found;
  RecordReader reader(text, kind, "f");
  while (const auto record = reader.next()) found.emplace_back(record->bytes, record->line);
  CHECK_FALSE(reader.next());  // an end is an end
  return found;
}

}  // namespace

TEST_CASE("records come with the line where they begin") {
  CHECK(records("\n\n a\n<|endoftext|>\n\nb\nb\n<|endoftext|>\n", TextKind::Documents) == Found{{"a", 3}, {"b\nb", 6}});
  CHECK(records("a\n\n  \n b \r\n\xef\xbb\xbf"
                "c",
                TextKind::Lines) == Found{{"a", 1}, {"b", 4}, {"c", 5}});
  CHECK(records("{\"a\": 1}\n\n{\"b\": 2}\r\n", TextKind::JsonLines) == Found{{"{\"a\": 1}", 1}, {"{\"b\": 2}", 3}});
  CHECK(records("\n[\n{\"a\": [1, {}]},\n {\"b\":\n \"]}\\\"{[\"}\n]\n ", TextKind::JsonArray) ==
        Found{{"{\"a\": [1, {}]}", 3}, {"{\"b\":\n \"]}\\\"{[\"}", 4}});
}

TEST_CASE("byte order marks and CR LF hide no separator and are no text") {
  const std::string mark(byte_order_mark);
  CHECK(records(mark + "a\r\n<|endoftext|>\r\n" + mark + "b\r\n", TextKind::Documents) == Found{{"a", 1}, {"b", 3}});
  CHECK(records("a\n" + mark + "<|endoftext|>\nb", TextKind::Documents) == Found{{"a", 1}, {"b", 3}});
  CHECK(records(mark + "{}", TextKind::JsonLines) == Found{{"{}", 1}});
  CHECK(records(mark + "[{}]", TextKind::JsonArray) == Found{{"{}", 1}});
  CHECK(with_line_feeds("a\r\n\r\nb\rc\r") == "a\n\nb\rc\r");
  CHECK(with_line_feeds("\r\n") == "\n");
}

TEST_CASE("kinds are told by extension and content") {
  CHECK(kind_of_text("a.txt", "[{}]") == TextKind::Documents);
  CHECK(kind_of_text("a", "{}") == TextKind::Documents);
  CHECK(kind_of_text("a.txt", "x", true) == TextKind::Lines);
  CHECK(kind_of_text("a.jsonl", " {}", true) == TextKind::JsonLines);
  CHECK(kind_of_text("a.JSON", "{}\n{}") == TextKind::JsonLines);
  CHECK(kind_of_text("a.json", "\xef\xbb\xbf [\n") == TextKind::JsonArray);
  CHECK(kind_of_text("a.ndjson", "[") == TextKind::JsonArray);
  CHECK_THROWS_WITH_AS(kind_of_text("a.json", "text"),
                       "a.json: begins with 't', expected '[' (an array of records) or '{' (a record a line)",
                       FormatError);
  CHECK_THROWS_AS(kind_of_text("a.json", ""), FormatError);
}

TEST_CASE("what is no text is named") {
  CHECK_THROWS_WITH_AS(require_text("version https://git-lfs.github.com/spec/v1\noid sha256:1", "x.txt"),
                       "x.txt: is a Git LFS pointer, not the file itself: fetch it with 'git lfs pull'", FormatError);
  CHECK_THROWS_WITH_AS(require_text("PAR1\x15", "x.txt"),
                       "x.txt: is Parquet, expected plain text, JSON lines or a JSON array in UTF-8", FormatError);
  for (const std::string& bytes : {"\xff\xfe"
                                   "a\0"s,
                                   "\xfe\xff\0a"s, "\x1f\x8b\x08"s, "\x28\xb5\x2f\xfd"s, "PK\x03\x04"s})
    CHECK_THROWS_AS(require_text(bytes, "x"), FormatError);
  CHECK_NOTHROW(require_text("", "x"));
  CHECK_NOTHROW(require_text("\xff text \x80", "x"));  // bytes that a tokenizer may know
}

TEST_CASE("arrays that are none are refused with their line") {
  const auto message = [](std::string_view text) -> std::string {
    try {
      records(text, TextKind::JsonArray);
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  };
  CHECK(message("[{},\n 1]") == "f:2: expected '{', a record, got '1'");
  CHECK(message("[{},]") == "f:1: expected '{', a record, got ']'");
  CHECK(message("[{} {}]") == "f:1: expected ',' or ']' behind a record, got '{'");
  CHECK(message("[{}") == "f:1: expected ',' or ']' behind a record, got the end of the file");
  CHECK(message("[{}]\n[") == "f:2: expected nothing behind the array, got '['");
  CHECK(message("[{}]\0"s) == "f:1: expected nothing behind the array, got '");  // and the zero that ends a C string
  CHECK(message("[\n{\"a\": \"") == "f:2: the record has no end");
  CHECK(message("[{\"a\": \"\\") == "f:1: the record has no end");
  CHECK(message("[]") == "f: the array is empty, expected records");
  CHECK(message("{}") == "f:1: expected '[', an array of records, got '{'");
  CHECK(message("") == "f:1: expected '[', an array of records, got the end of the file");
}

TEST_CASE("a text without a record is an error") {
  for (const TextKind kind : {TextKind::Documents, TextKind::Lines, TextKind::JsonLines})
    for (const char* text : {"", " \n\n", "\xef\xbb\xbf"}) {
      CAPTURE(text);
      CHECK_THROWS_AS(RecordReader(text, kind, "f").next(), DataError);
    }
}
