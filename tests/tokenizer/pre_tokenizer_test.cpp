#include <doctest/doctest.h>
#include <lolcats/core/error.hpp>
#include <lolcats/tokenizer/added_tokens.hpp>
#include <lolcats/tokenizer/json_pipeline.hpp>
#include <lolcats/tokenizer/pre_tokenizer.hpp>
#include <lolcats/tokenizer/tiktoken.hpp>
#include <lolcats/tokenizer/word_cache.hpp>

#include <string>
#include <vector>

#ifdef LOLCATS_WITH_PCRE2
namespace {

using lolcats::ConfigError;
using nlohmann::json;
using Words = std::vector<std::string>;

Words words(const json& pre_tokenizer, const std::string& text, bool first = true) {
  bool byte_level = false;
  const auto stages = lolcats::read_pre_tokenizer(pre_tokenizer, "t.json", byte_level);
  lolcats::Regex::Scratch scratch;
  Words result;
  stages(text, first, lolcats::utf8::is_valid(text), scratch,
         [&](std::string_view word) { result.emplace_back(word); });
  return result;
}
json split(const char* kind, const std::string& pattern, const char* behavior, bool invert = false) {
  return {{"type", "Split"}, {"pattern", {{kind, pattern}}}, {"behavior", behavior}, {"invert", invert}};
}
Words matches(const std::string& pattern, const std::string& text) {
  const lolcats::Regex regex(pattern, "t.json");
  lolcats::Regex::Scratch scratch;
  Words result;
  regex.for_each_match(text, scratch,
                       [&](std::size_t begin, std::size_t end) { result.push_back(text.substr(begin, end - begin)); });
  return result;
}

}  // namespace

// What the `tokenizers` library gives for these, written down.
TEST_CASE("behaviors of Split") {
  const std::string text = "the-final--countdown";
  CHECK(words(split("String", "-", "Removed"), text) == Words{"the", "final", "countdown"});
  CHECK(words(split("String", "-", "Isolated"), text) == Words{"the", "-", "final", "-", "-", "countdown"});
  CHECK(words(split("String", "-", "MergedWithPrevious"), text) == Words{"the-", "final-", "-", "countdown"});
  CHECK(words(split("String", "-", "MergedWithNext"), text) == Words{"the", "-final", "-", "-countdown"});
  CHECK(words(split("String", "-", "Contiguous"), text) == Words{"the", "-", "final", "--", "countdown"});
  CHECK(words(split("Regex", "[a-z]+", "Removed", true), text) == Words{"the", "final", "countdown"});
  CHECK(words(split("Regex", "x?", "Isolated"), "axb") == Words{"a", "x", "b"});  // empty matches cut, too
}

TEST_CASE("GPT-2's and Llama 3's words") {
  const json gpt2{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  CHECK(words(gpt2, "I'm  here,\n\n 12 times") == Words{"I", "'m", " ", " here", ",", "\n\n", " 12", " times"});
  CHECK(words(gpt2, "I'M") == Words{"I", "'", "M"});
  const json prefixed{{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", true}};
  CHECK(words(prefixed, "a b") == Words{" a", " b"});
  CHECK(words(prefixed, " a") == Words{" a"});
  const json llama3 = split("Regex", std::string(lolcats::llama3_pattern), "Isolated");
  CHECK(words(llama3, "I'M 12345 (x)\r\n\n  y  ") ==
        Words{"I", "'M", " ", "123", "45", " (", "x", ")\r\n\n", " ", " y", "  "});
}

TEST_CASE("Digits, Metaspace, Whitespace, Sequence, null") {
  CHECK(words({{"type", "Digits"}, {"individual_digits", true}},
              "a12\xC2\xBD"
              "b") == Words{"a", "1", "2", "\xC2\xBD", "b"});
  CHECK(words({{"type", "Digits"}, {"individual_digits", false}}, "a12b") == Words{"a", "12", "b"});
  const auto metaspace = [](const char* scheme, bool cuts) {
    return json{{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", scheme}, {"split", cuts}};
  };
  CHECK(words(metaspace("always", true), "a b  c") == Words{"_a", "_b", "_", "_c"});
  CHECK(words(metaspace("always", false), " a b") == Words{"_a_b"});
  CHECK(words(metaspace("never", true), "a b") == Words{"a", "_b"});
  CHECK(words(metaspace("first", false), "a") == Words{"_a"});
  CHECK(words(metaspace("first", false), "a", false) == Words{"a"});
  CHECK(words({{"type", "Whitespace"}}, "a_b, c!?") == Words{"a_b", ",", "c", "!?"});
  CHECK(words({{"type", "WhitespaceSplit"}}, " a\t b,") == Words{"a", "b,"});
  const json sequence{
      {"type", "Sequence"},
      {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, split("String", "-", "MergedWithNext")}}};
  CHECK(words(sequence, "1-a-2") == Words{"1", "-a", "-", "2"});
  CHECK(words(nullptr, "a b") == Words{"a b"});
  // ByteLevel in front of another stage: that one sees the alphabet
  const json bytes_first{{"type", "Sequence"},
                         {"pretokenizers",
                          {{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}},
                           split("String", "\xC4\xA0", "Isolated")}}};
  CHECK(words(bytes_first, "a b") == Words{"a", "\xC4\xA0", "b"});
  CHECK_THROWS_WITH_AS(words({{"type", "BertPreTokenizer"}}, "a"),
                       "t.json: 'pre_tokenizer' is of type 'BertPreTokenizer', which is not supported", ConfigError);
}

TEST_CASE("bytes that are no UTF-8 are words of their own where there is a stage") {
  CHECK(words(split("String", "-", "Isolated"),
              "a-\xFF\x80"
              "b\xE2\x82") == Words{"a", "-", "\xFF\x80", "b", "\xE2\x82"});
}

TEST_CASE("classes of regular expressions are Unicode's") {
  CHECK(matches("\\s+", "a\xC2\xA0\xE2\x80\xA9 b\xE1\xA0\x8E") == Words{"\xC2\xA0\xE2\x80\xA9 "});  // U+180E is none
  CHECK(matches("\\w+", "e\xCC\x81_\xE2\x80\xBF-\xC2\xBD\xE2\x82\x82") == Words{"e\xCC\x81_\xE2\x80\xBF", "\xC2\xBD"});
  CHECK(matches("\\p{N}+", "1\xF0\x90\xB5\x80 2") == Words{"1\xF0\x90\xB5\x80", "2"});  // U+10D40, new in Unicode 16
  CHECK(matches("[^\\s\\p{N}]+", "1\xF0\x90\xB5\x80 x") == Words{"x"});
  CHECK(matches("\\p{Han}+", "a\xE4\xB8\xAD\xE3\x80\x81") == Words{"\xE4\xB8\xAD"});  // U+3001 is Han by extension only
  CHECK(matches("(?i:'s)", "'S 's '\xC5\xBF").size() == 3);
  CHECK(matches("^a|a$", "a\nba") == Words{"a", "a"});
  CHECK(matches("a.c", "a\rc a\nc") == Words{"a\rc"});
}

TEST_CASE("regular expressions that PCRE2 would read otherwise are refused") {
  for (const char* pattern : {"\\h", "\\Kx", "a{1,3}+", "[a[b]]", "[a&&b]", "(?m)a", "(?s:a)", "(*UTF)a", "(?R)",
                              "(?1)", "[]a]", "\\Qa\\E", "a\\", "(a", "[\\W]", "\\p{Nonsense}", "\\p{L", "\xFF"}) {
    CAPTURE(pattern);
    CHECK_THROWS_AS(lolcats::Regex(pattern, "t.json"), ConfigError);
  }
}

TEST_CASE("a search that takes too long is an error, a long one is not") {
  CHECK_THROWS_AS(matches("(a+)+$", std::string(60, 'a') + "b"), lolcats::DataError);
  const std::string spaces(1 << 20, ' '), letters(1 << 20, 'a');
  const std::string pattern(lolcats::llama3_pattern);
  CHECK(matches(pattern, spaces + "b").size() == 2);
  CHECK(matches(pattern, letters).size() == 1);
  CHECK(matches(pattern, std::string(1 << 20, '!')).size() == 1);
}

TEST_CASE("added tokens: the longest from left to right, with their ways to take white space in") {
  using lolcats::AddedToken;
  const lolcats::AddedTokens added({{.id = 1, .content = "<a>"},
                                    {.id = 2, .content = "<a>>", .special = false},
                                    {.id = 3, .content = "mask", .special = false, .left_strip = true},
                                    {.id = 4, .content = "[r]", .special = false, .right_strip = true},
                                    {.id = 5, .content = "one", .special = false, .single_word = true}});
  lolcats::Regex::Scratch scratch;
  const auto cut = [&](const std::string& text, bool special) {
    std::string result;
    added.split(
        text, special, scratch, [&](std::string_view part) { result += "(" + std::string(part) + ")"; },
        [&](const AddedToken& token) { result += std::to_string(token.id); });
    return result;
  };
  CHECK(cut("x<a>y<a>>", true) == "(x)1(y)2");
  CHECK(cut("x<a>y<a>>", false) == "(x<a>y)2");
  CHECK(cut("a \xE2\x80\x83 mask b", true) == "(a)3( b)");
  CHECK(cut("mask mask", true) == "33");
  CHECK(cut("[r] \n b [r]", true) == "4(b )4");
  CHECK(cut("one, none one\xCC\x81 one", true) == "5(, none one\xCC\x81 )5");
  CHECK(cut("", true).empty());
}
#endif

TEST_CASE("the cache of words gives back what it was given, and forgets when it is full") {
  lolcats::WordCache cache;
  CHECK(!cache.find("a"));
  for (std::int32_t i = 0; i < 100000; ++i) {
    const std::string word = "word" + std::to_string(i);
    CHECK(!cache.find(word));
    cache.insert(word, std::vector<std::int32_t>{i, i + 1});
    const auto found = cache.find(word);
    CHECK((found && found->size() == 2 && (*found)[0] == i && (*found)[1] == i + 1));
  }
  CHECK(!cache.find("word1"));
  cache.insert("none", {});
  CHECK((cache.find("none") && cache.find("none")->empty()));
}
