// Characters, normal forms, streams.
#include <doctest/doctest.h>
#include <lolcats/core/rng.hpp>
#include <lolcats/tokenizer/byte_alphabet.hpp>
#include <lolcats/tokenizer/llama2c.hpp>
#include <lolcats/tokenizer/nfc.hpp>
#include <lolcats/tokenizer/stream.hpp>
#include <lolcats/tokenizer/utf8.hpp>

#include <string>
#include <vector>

namespace utf8 = lolcats::utf8;

TEST_CASE("every code point comes back; surrogates, long forms and what lies beyond are no characters") {
  for (std::int32_t code = 0; code <= 0x10FFFF; ++code) {
    std::string text;
    utf8::append(text, code);
    const utf8::Character c = utf8::at(text, 0);
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (c.valid() == surrogate || (!surrogate && (c.code != code || c.length != text.size()))) FAIL(code);
  }
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80",
                          "\xF4\x90\x80\x80", "\xF5", "\xFF", "\xC3", "\xE2\x82", "\xF0\x9F\x98"}) {
    CHECK(!utf8::at(bad, 0).valid());
    CHECK(utf8::valid_prefix("0123456789\xC3\xA9" + std::string(bad)) == 12);
  }
  CHECK(utf8::replace_invalid("a\xE2\x82z") == "a\xEF\xBF\xBD\xEF\xBF\xBDz");
}

TEST_CASE("the byte alphabet is GPT-2's") {
  CHECK(lolcats::byte_alphabet::spell(" \n!\xC3\xA9") == "\xC4\xA0\xC4\x8A!\xC3\x83\xC2\xA9");  // Ġ Ċ ! Ã ©
  std::string all;
  for (int b = 0; b < 256; ++b) all += static_cast<char>(static_cast<unsigned char>(b));
  CHECK(lolcats::byte_alphabet::bytes_of(lolcats::byte_alphabet::spell(all)) == all);
  CHECK(!lolcats::byte_alphabet::bytes_of(" "));
  CHECK(!lolcats::byte_alphabet::bytes_of("\xC5\x84"));  // U+0144, one beyond the last
}

#ifdef LOLCATS_WITH_UTF8PROC
// From Unicode's NormalizationTest.txt and what the `tokenizers` library does.
TEST_CASE("normal form C") {
  const auto of = [](std::vector<std::int32_t> codes) {
    std::string text;
    for (const auto code : codes) utf8::append(text, code);
    return text;
  };
  const std::vector<std::pair<std::vector<std::int32_t>, std::vector<std::int32_t>>> pairs{
      {{'e', 0x301}, {0xE9}},
      {{0x1E0A, 0x323}, {0x1E0C, 0x307}},
      {{0x212B}, {0xC5}},
      {{0x958}, {0x915, 0x93C}},  // never composed
      {{0x1100, 0x1161, 0x11A8}, {0xAC01}},
      {{0xAC00, 0x11A8}, {0xAC01}},
      {{0x344}, {0x308, 0x301}},
      {{0x1D15E}, {0x1D157, 0x1D165}},
      {{'a', 0x345, 0x301}, {0xE1, 0x345}},
      {{'a', 0x345, 0x8D3}, {'a', 0x345, 0x8D3}},  // a mark newer than the library's tables stays where it is
      {{'x', 0, 'e', 0x301}, {'x', 0, 0xE9}}};
  for (const auto& [from, to] : pairs) CHECK(lolcats::nfc(of(from)) == of(to));
  CHECK(lolcats::nfc("\xFF"
                     "e\xCC\x81\xE2") == "\xFF\xC3\xA9\xE2");
  std::string marks = "a";  // alternating classes: putting them in order must not be quadratic
  for (int i = 0; i < 100000; ++i) marks += "\xCC\x81\xCC\xA7";
  CHECK(lolcats::nfc(marks).size() == marks.size() - 1);  // only the first acute finds its letter
}
#endif

TEST_CASE("a stream gives whole characters, and what is no character as U+FFFD") {
  std::vector<std::string> pieces{"<unk>", "<s>", "</s>"};
  for (int b = 0; b < 256; ++b) pieces.push_back(fmt::format("<0x{:02X}>", b));
  const lolcats::Llama2cTokenizer tokenizer(pieces, std::vector<float>(pieces.size(), 0));
  const auto stream = [&](const std::string& bytes) {
    lolcats::StreamDecoder decoder(tokenizer);
    std::vector<std::string> parts;
    for (const char c : bytes) parts.push_back(decoder.push(3 + static_cast<unsigned char>(c)));
    parts.push_back(decoder.finish());
    return parts;
  };
  using Parts = std::vector<std::string>;
  CHECK(stream("a\xC3\xA9") == Parts{"a", "", "\xC3\xA9", ""});
  CHECK(stream("\xF0\x9F\x98\x80") == Parts{"", "", "", "\xF0\x9F\x98\x80", ""});
  CHECK(stream("\xE2\x82") == Parts{"", "", "\xEF\xBF\xBD\xEF\xBF\xBD"});
  CHECK(stream("\xE2"
               "a") == Parts{"",
                             "\xEF\xBF\xBD"
                             "a",
                             ""});
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    lolcats::Rng rng(seed);
    std::string bytes, joined;
    for (std::size_t n = rng.below(20); n > 0; --n) bytes += "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xFF"[rng.below(11)];
    for (const std::string& part : stream(bytes)) {
      CHECK(utf8::is_valid(part));
      joined += part;
    }
    CHECK(joined == utf8::replace_invalid(bytes));
  }
}
