#include <doctest/doctest.h>
#include <lolcats/core/rng.hpp>
#include <lolcats/tokenizer/llama2c.hpp>
#include <lolcats/tokenizer/llama2c_file.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace {

using lolcats::Index;
using lolcats::Llama2cTokenizer;

struct Vocabulary {
  std::vector<std::string> pieces{"<unk>", "\n<s>\n", "\n</s>\n"};
  std::vector<float> scores{0, 0, 0};

  Vocabulary() {
    constexpr char digits[] = "0123456789ABCDEF";
    for (int b = 0; b < 256; ++b) add(std::string("<0x") + digits[b / 16] + digits[b % 16] + ">", 0);
  }
  Vocabulary& add(const std::string& piece, float score) {
    pieces.push_back(piece);
    scores.push_back(score);
    return *this;
  }
  Llama2cTokenizer make() const { return {pieces, scores}; }
};

/// The loop of llama2.c's run.c, written down again: each round looks at every pair.
std::vector<Index> encode_by_rounds(const std::vector<std::string>& pieces, const std::vector<float>& scores,
                                    const std::string& text, bool bos) {
  std::map<std::string, Index> ids;
  for (std::size_t i = 0; i < pieces.size(); ++i) ids[pieces[i]] = static_cast<Index>(i);
  std::vector<Index> tokens;
  if (bos) tokens.push_back(1);
  if (!text.empty()) tokens.push_back(ids.count(" ") ? ids[" "] : 3 + ' ');
  std::string buffer;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((text[i] & 0xC0) != 0x80) buffer.clear();
    buffer += text[i];
    if (i + 1 < text.size() && (text[i + 1] & 0xC0) == 0x80 && buffer.size() < 4) continue;
    if (ids.count(buffer)) {
      tokens.push_back(ids[buffer]);
    } else {
      for (const char c : buffer) tokens.push_back(3 + static_cast<unsigned char>(c));
    }
    buffer.clear();
  }
  while (true) {
    float best = -1e10F;
    Index id = -1;
    std::size_t where = 0;
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      const auto found =
          ids.find(pieces[static_cast<std::size_t>(tokens[i])] + pieces[static_cast<std::size_t>(tokens[i + 1])]);
      if (found != ids.end() && scores[static_cast<std::size_t>(found->second)] > best) {
        best = scores[static_cast<std::size_t>(found->second)];
        id = found->second;
        where = i;
      }
    }
    if (id < 0) return tokens;
    tokens[where] = id;
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
}

std::filesystem::path data_file(const char* name) {
  const char* root = std::getenv("LOLCATS_DATA");
  return root ? std::filesystem::path(root) / name : std::filesystem::path();
}

}  // namespace

TEST_CASE("the best score merges first, and the leftmost of equal scores") {
  const Llama2cTokenizer tokenizer =
      Vocabulary().add(" ", 0).add("a", 0).add("aa", -1).add("aaa", -2).add("b", 0).add("ab", -0.5F).make();
  const Index a = 260, aa = 261, aaa = 262, ab = 264, space = 259;
  CHECK(tokenizer.encode("aaaa", true) == std::vector<Index>{1, space, aa, aa});
  CHECK(tokenizer.encode("aaaaa", false) == std::vector<Index>{space, aa, aaa});
  CHECK(tokenizer.encode("aab", false) == std::vector<Index>{space, a, ab});
  CHECK(tokenizer.encode("", true) == std::vector<Index>{1});
  CHECK(tokenizer.encode("", false).empty());
}

TEST_CASE("a score of -1e10 is never merged into, one above it is") {
  CHECK(Vocabulary().add(" ", 0).add("a", 0).add("aa", -1e10F).make().encode("aa", false).size() == 3);
  CHECK(Vocabulary().add(" ", 0).add("a", 0).add("aa", -1e9F).make().encode("aa", false).size() == 2);
}

TEST_CASE("characters without a piece become bytes, and come back as they were") {
  const Llama2cTokenizer tokenizer = Vocabulary().add(" ", 0).add("\xC3\xA9", 0).make();
  CHECK(tokenizer.encode("\xC3\xA9", false) == std::vector<Index>{259, 260});
  CHECK(tokenizer.encode("\xE2\x82\xAC", false) == std::vector<Index>{259, 3 + 0xE2, 3 + 0x82, 3 + 0xAC});
  // stray continuation bytes, a cut character and a zero byte
  for (const std::string& text :
       {std::string("\x80\x80\x80\x80\x80\x80"), std::string("a\xE2\x82"), std::string("a\0b", 3)})
    CHECK(tokenizer.decode(tokenizer.encode(text, true)) == text);
}

TEST_CASE("the leading space is dropped behind BOS only") {
  const Llama2cTokenizer tokenizer = Vocabulary().add(" ", 0).add("a", 0).add(" a", -1).make();
  const Index a = 261;
  CHECK(tokenizer.decode_piece(1, a) == "a");
  CHECK(tokenizer.decode_piece(a, a) == " a");
  CHECK(tokenizer.decode(std::vector<Index>{1, a, a, 2}) == "a a");
  CHECK(tokenizer.decode(std::vector<Index>{a}) == " a");
  CHECK(tokenizer.decode_piece(-1, 3 + 10) == "\n");
}

TEST_CASE("encoding equals the published loop on random vocabularies and texts") {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    lolcats::Rng rng(seed);
    Vocabulary vocabulary;
    if (rng.uniform() < 0.8) vocabulary.add(" ", -1);
    const auto word = [&](std::size_t longest) {
      std::string text;
      for (std::size_t n = 1 + rng.below(longest); n > 0; --n) text += "ab c\xC3\xA9"[rng.below(6)];
      return text;
    };
    for (int i = 0; i < 40; ++i) {
      const std::string piece = word(4);
      const float score = -static_cast<float>(rng.below(5));  // few scores, so that many tie
      if (std::find(vocabulary.pieces.begin(), vocabulary.pieces.end(), piece) == vocabulary.pieces.end())
        vocabulary.add(piece, score);
    }
    // Merges that start from the spelling of a byte are followed, too.  (The published loop would even merge BOS, by its
    // spelling "\n<s>\n", with what comes behind it; here BOS is not part of the text.)
    vocabulary.add("<0xA9>a", -1);
    const Llama2cTokenizer tokenizer = vocabulary.make();
    const std::string text = word(60);
    const bool bos = rng.below(2) == 0;
    CHECK(tokenizer.encode(text, bos) == encode_by_rounds(vocabulary.pieces, vocabulary.scores, text, bos));
  }
}

TEST_CASE("a long text takes no more than n log n") {
  const Llama2cTokenizer tokenizer = Vocabulary().add(" ", 0).add("a", 0).add("aa", -1).add("aaaa", -2).make();
  const auto start = std::chrono::steady_clock::now();
  CHECK(tokenizer.encode(std::string(200'000, 'a'), false).size() == 50'001);
  // the published loop needs minutes; a second leaves room for sanitizers and busy machines
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}

TEST_CASE("vocabularies that cannot work are refused") {
  using lolcats::DataError, lolcats::FormatError;
  CHECK_THROWS_AS(Llama2cTokenizer({"a", "b"}, {0, 0}), FormatError);
  CHECK_THROWS_AS(Llama2cTokenizer({"a", "b", "c"}, {0, 0}), FormatError);
  CHECK_THROWS_WITH_AS(Llama2cTokenizer({"a", "b", "c", "b"}, {0, 0, 0, 0}, "t.bin"),
                       "t.bin: tokens 1 and 3 are the same piece", FormatError);
  CHECK_THROWS_AS(Llama2cTokenizer({"a", "b", ""}, {0, 0, 0}), FormatError);
  CHECK_THROWS_AS(Llama2cTokenizer({"a", "b", "c"}, {0, std::nanf(""), 0}), FormatError);
  CHECK_THROWS_AS(Llama2cTokenizer({"a", "b", "c"}, {0, std::numeric_limits<float>::infinity(), 0}), FormatError);
  const Llama2cTokenizer small({"<unk>", "<s>", "</s>", "x"}, {0, 0, 0, 0});
  CHECK_THROWS_WITH_AS((void)small.encode("x", false),
                       "Llama2cTokenizer: unknown token: no piece for the byte 0x20 near offset 0 of the text",
                       DataError);
  CHECK_THROWS_AS((void)small.decode_piece(-1, 4), DataError);
  CHECK_THROWS_AS((void)small.decode_piece(-1, -1), DataError);
}

TEST_CASE("real tokenizers") {
  const auto llama = data_file("tokenizers/llama2/tokenizer.bin"), stories = data_file("stories260K/tok512.bin");
  if (llama.empty()) {
    MESSAGE("skipped: LOLCATS_DATA is not set");
    return;
  }
  const Llama2cTokenizer tokenizer = lolcats::read_llama2c_tokenizer(llama, 32000);
  CHECK(tokenizer.encode("Hello world", true) == std::vector<Index>{1, 15043, 3186});
  CHECK(tokenizer.encode("I believe the meaning of life is", true) ==
        std::vector<Index>{1, 306, 4658, 278, 6593, 310, 2834, 338});
  CHECK(tokenizer.decode(std::vector<Index>{1, 15043, 3186}) == "Hello world");
  const Llama2cTokenizer small = lolcats::read_llama2c_tokenizer(stories, 512);
  const std::string text = "Once upon a time, there was a little girl named Lily. \xE2\x80\x9CHi!\xE2\x80\x9D\n";
  for (const Llama2cTokenizer* t : {&tokenizer, &small}) {
    CHECK(t->encode(text, true) == encode_by_rounds(t->pieces(), t->scores(), text, true));
    CHECK(t->decode(t->encode(text, true)) == text);
  }
}
