// Tokenizers of GGUF files, sentencepiece's models and tiktoken's ranks.
#include <doctest/doctest.h>
#include <lolcats/core/rng.hpp>
#include <lolcats/io/file.hpp>
#include <lolcats/tokenizer/gguf.hpp>
#include <lolcats/tokenizer/scored_pieces.hpp>
#include <lolcats/tokenizer/sentencepiece.hpp>
#include <lolcats/tokenizer/tiktoken.hpp>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "../io/gguf_support.hpp"

namespace {

using lolcats::ConfigError, lolcats::DataError, lolcats::FormatError, lolcats::Index, lolcats::PieceKind;
using Ids = std::vector<Index>;
using io_test::GgufFile;

std::unique_ptr<lolcats::Tokenizer> tokenizer_of(const GgufFile& file) {
  const std::string bytes = file.bytes();
  return lolcats::gguf_tokenizer(lolcats::Gguf(std::as_bytes(std::span(bytes)), "t.gguf"));
}

const std::string mark = "\xE2\x96\x81";

/// Unknown, BOS, EOS, 256 bytes, then these with their scores.
lolcats::ScoredPieces scored(const std::vector<std::pair<std::string, float>>& pieces) {
  lolcats::ScoredPieces parts;
  const auto add = [&](const std::string& piece, float score, PieceKind kind) {
    parts.pieces.push_back(piece);
    parts.scores.push_back(score);
    parts.kinds.push_back(kind);
  };
  add("<unk>", 0, PieceKind::unknown);
  add("<s>", 0, PieceKind::control);
  add("</s>", 0, PieceKind::control);
  for (int b = 0; b < 256; ++b) add(fmt::format("<0x{:02X}>", b), 0, PieceKind::byte);
  for (const auto& [piece, score] : pieces) add(piece, score, PieceKind::normal);
  parts.bos = 1, parts.eos = 2, parts.unknown = 0;
  return parts;
}

#ifdef LOLCATS_WITH_PCRE2
GgufFile byte_pairs(const std::string& pre) {
  std::vector<std::string> tokens{"<|endoftext|>", "<tool>"};
  for (int b = 0; b < 256; ++b) tokens.push_back(lolcats::byte_alphabet::spell(std::string(1, static_cast<char>(b))));
  std::vector<std::int32_t> types(tokens.size(), 1);
  types[0] = 3, types[1] = 4;
  for (const char* piece : {"11", "aa", "aaa"}) tokens.push_back(piece), types.push_back(1);
  tokens.push_back("[PAD0]"), types.push_back(5);
  return GgufFile()
      .set("tokenizer.ggml.model", "gpt2")
      .set("tokenizer.ggml.pre", pre)
      .set("tokenizer.ggml.tokens", tokens)
      .set("tokenizer.ggml.token_type", types)
      .set("tokenizer.ggml.merges", std::vector<std::string>{"1 1", "a a"})
      .set("tokenizer.ggml.bos_token_id", 0U)
      .set("tokenizer.ggml.eos_token_id", 0U);
}
#endif

}  // namespace

#ifdef LOLCATS_WITH_PCRE2
TEST_CASE("a GGUF's byte pairs: `pre` names the words, token types which tokens are special") {
  const Index one = 2 + '1', a = 2 + 'a', eleven = 258, aa = 259, aaa = 260;
  CHECK(tokenizer_of(byte_pairs("gpt-2"))->encode("11", false) == Ids{eleven});
  CHECK(tokenizer_of(byte_pairs("smollm"))->encode("11", false) == Ids{one, one});
  CHECK(tokenizer_of(byte_pairs("llama-bpe"))->encode("1111", false) == Ids{eleven, one, one});
  CHECK(tokenizer_of(byte_pairs("llama-bpe"))->encode("aaa", false) == Ids{aaa});  // a word that is a piece
  CHECK(tokenizer_of(byte_pairs("smollm"))->encode("aaa", false) == Ids{aa, a});
  CHECK(tokenizer_of(byte_pairs("default"))->encode("1111", false) == Ids{eleven, one, one});
  CHECK(tokenizer_of(byte_pairs("llama-bpe"))->adds_bos());
  CHECK(!tokenizer_of(byte_pairs("smollm"))->adds_bos());
  CHECK(tokenizer_of(byte_pairs("smollm").set("tokenizer.ggml.add_bos_token", true))->adds_bos());
  const auto tokenizer = tokenizer_of(byte_pairs("smollm"));
  CHECK(tokenizer->vocab_size() == 262);
  CHECK(tokenizer->eos() == Index{0});
  CHECK(tokenizer->encode("<tool><|endoftext|>", false, true) == Ids{1, 0});
  CHECK(tokenizer->encode("<tool><|endoftext|>", false).size() == 14);
  CHECK(tokenizer->encode("[PAD0]", false).size() == 6);
  CHECK(tokenizer->decode(Ids{1, 0, aa}) == "<tool>aa");
#ifdef LOLCATS_WITH_UTF8PROC
  CHECK(tokenizer_of(byte_pairs("qwen2"))->encode("e\xCC\x81", false) ==
        tokenizer_of(byte_pairs("gpt-2"))->encode("\xC3\xA9", false));
#endif
}

TEST_CASE("a GGUF's tokenizer that is not known is named") {
  CHECK_THROWS_WITH_AS(tokenizer_of(byte_pairs("brand-new")),
                       "t.gguf: 'tokenizer.ggml.pre' is 'brand-new', which is not supported", ConfigError);
  CHECK_THROWS_AS(tokenizer_of(GgufFile()), ConfigError);
  CHECK_THROWS_WITH_AS(tokenizer_of(GgufFile().set("tokenizer.ggml.model", "bert")),
                       doctest::Contains("'bert', which is not supported"), ConfigError);
  CHECK_THROWS_AS(tokenizer_of(byte_pairs("smollm").set("tokenizer.ggml.add_eos_token", true)), ConfigError);
  CHECK_THROWS_AS(
      tokenizer_of(
          GgufFile().set("tokenizer.ggml.model", "gpt2").set("tokenizer.ggml.tokens", std::vector<std::string>{"a"})),
      ConfigError);
  CHECK_THROWS_AS(tokenizer_of(GgufFile()
                           .set("tokenizer.ggml.model", "gpt2")
                           .set("tokenizer.ggml.pre", "gpt-2")
                           .set("tokenizer.ggml.tokens", std::vector<std::string>{"a"})
                           .set("tokenizer.ggml.merges", std::vector<std::string>{"a b"})),
                  FormatError);
  CHECK_THROWS_AS(tokenizer_of(GgufFile()
                           .set("tokenizer.ggml.model", "gpt2")
                           .set("tokenizer.ggml.pre", "gpt-2")
                           .set("tokenizer.ggml.tokens", std::vector<std::string>{"a"})
                           .set("tokenizer.ggml.token_type", std::vector<std::int32_t>{9})
                           .set("tokenizer.ggml.merges", std::vector<std::string>{})),
                  FormatError);
}

TEST_CASE("tiktoken's ranks: any pair whose joint has a rank merges, words that have one are not merged") {
  std::string lines;
  int rank = 0;
  const auto line = [&](const std::string& base64) { lines += base64 + " " + std::to_string(rank++) + "\n"; };
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int b = 0; b < 256; ++b) line({digits[b >> 2], digits[(b & 3) << 4], '=', '='});
  line("YmM=");      // 256 bc
  line("YWI=");      // 257 ab
  line("YWJjZA==");  // 258 abcd: of no two pieces
  const auto tokenizer = lolcats::parse_tiktoken(lines, "t");
  CHECK(tokenizer->vocab_size() == 259 + 256);
  CHECK(tokenizer->encode("abc", false) == Ids{'a', 256});
  CHECK(tokenizer->encode("abcd", true) == Ids{259, 258});
  CHECK(tokenizer->encode("abcde", false) == Ids{'a', 256, 'd', 'e'});
  CHECK(tokenizer->adds_bos());
  CHECK(tokenizer->eos() == Index{260});
  CHECK(tokenizer->encode("<|eot_id|>", false, true) == Ids{259 + 9});
  CHECK(tokenizer->decode(Ids{259 + 255}, true) == "<|reserved_special_token_247|>");
  for (const char* bad : {"", "YQ== 0\n", "YQ==\n", "Y 0\n", "YQ== 1\n", "YQ== x\n", "YQ=a 0\n", "=Q== 0\n"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(lolcats::parse_tiktoken(bad, "t"), FormatError);
  }
  CHECK_THROWS_AS(lolcats::parse_tiktoken(lines + "YWI= 259\n", "t"), FormatError);  // twice
  CHECK(lolcats::looks_like_tiktoken(lines));
  CHECK(!lolcats::looks_like_tiktoken("\n\x0F\n\x05<unk>"));
}
#endif

TEST_CASE("scored pieces: the best score first, bytes for the rest, the space in front") {
  const lolcats::ScoredPiecesTokenizer tokenizer(
      scored({{mark, -9}, {"a", -9}, {"b", -9}, {mark + "a", -1}, {"ab", -0.5F}, {"aa", -2}}));
  const Index space = 259, a = 260, b = 261, space_a = 262, ab = 263, aa = 264;
  CHECK(tokenizer.encode("ab", true) == Ids{1, space, ab});
  CHECK(tokenizer.encode("aaaa", false) == Ids{space_a, aa, a});
  CHECK(tokenizer.encode("b\xC3\xA9", false) == Ids{space, b, 3 + 0xC3, 3 + 0xA9});
  CHECK(tokenizer.encode("", false).empty());
  CHECK(tokenizer.encode("a</s>a", false, true) == Ids{space_a, 2, space_a});
  CHECK(tokenizer.decode(Ids{1, space_a, space_a}) == "a a");
  CHECK(tokenizer.decode(Ids{space_a, 2, space_a}, true) == "a</s>a");
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    lolcats::Rng rng(seed);
    std::string text;
    for (std::size_t n = rng.below(60); n > 0; --n)
      text += rng.below(3) ? "ab "[rng.below(3)] : static_cast<char>(rng.below(256));
    CHECK(tokenizer.decode(tokenizer.encode(text, rng.below(2) == 0)) == text);
  }
  lolcats::ScoredPieces plain = scored({{mark, -9}, {"a", -9}});
  plain.puts_space = false;
  CHECK(lolcats::ScoredPiecesTokenizer(plain).encode("a a", false) == Ids{a, space, a});
}

TEST_CASE("scored pieces: user-defined ones come first, unused ones come apart again, unknown ones are one token") {
  lolcats::ScoredPieces parts =
      scored({{mark, -9}, {"a", -9}, {"b", -9}, {"ab", -1}, {"abab", -2}, {"ba", 0}, {"bb", 0}});
  parts.kinds[263] = PieceKind::unused;        // abab
  parts.kinds[264] = PieceKind::user_defined;  // ba
  const lolcats::ScoredPiecesTokenizer tokenizer(parts);
  CHECK(tokenizer.encode("bbab", false) == Ids{259, 261, 264, 261});
  CHECK(tokenizer.encode("abab", false) == Ids{259, 260, 264, 261});  // a, the frozen "ba", b
  parts.kinds[264] = PieceKind::control;
  CHECK(lolcats::ScoredPiecesTokenizer(parts).encode("abab", false) == Ids{259, 262, 262});
  lolcats::ScoredPieces few = scored({{mark, -9}});
  for (auto& kind : few.kinds) {
    if (kind == PieceKind::byte) kind = PieceKind::control;
  }
  CHECK(lolcats::ScoredPiecesTokenizer(few).encode("xy z", false) == Ids{259, 0, 259, 0});
  CHECK_THROWS_AS(lolcats::ScoredPiecesTokenizer(few).encode("x\xFF", false), DataError);
  few.scores[0] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(lolcats::ScoredPiecesTokenizer{few}, FormatError);
}

TEST_CASE("a GGUF's scored pieces") {
  const lolcats::ScoredPieces parts = scored({{mark, -9}, {"a", -9}, {mark + "a", -1}});
  std::vector<std::int32_t> types;
  for (const auto kind : parts.kinds) types.push_back(static_cast<std::int32_t>(kind));
  const auto file = [&] {
    return GgufFile()
        .set("tokenizer.ggml.model", "llama")
        .set("tokenizer.ggml.tokens", parts.pieces)
        .set("tokenizer.ggml.scores", parts.scores)
        .set("tokenizer.ggml.token_type", types)
        .set("tokenizer.ggml.bos_token_id", 1U)
        .set("tokenizer.ggml.eos_token_id", 2U)
        .set("tokenizer.ggml.unknown_token_id", 0U);
  };
  CHECK(tokenizer_of(file())->adds_bos());
  CHECK(tokenizer_of(file())->encode("a a", true) == Ids{1, 261, 261});
  CHECK(tokenizer_of(file().set("tokenizer.ggml.add_space_prefix", false))->encode("a a", false) == Ids{260, 261});
  CHECK(!tokenizer_of(file().set("tokenizer.ggml.add_bos_token", false))->adds_bos());
  CHECK_THROWS_AS(tokenizer_of(file().set("tokenizer.ggml.remove_extra_whitespaces", true)), ConfigError);
}

#ifdef LOLCATS_WITH_SENTENCEPIECE
TEST_CASE("scored pieces give Llama 2's ids, and sentencepiece's own errors are typed") {
  CHECK_THROWS_AS(lolcats::make_sentencepiece("\nno model", "t.model"), FormatError);
  const char* root = std::getenv("LOLCATS_DATA");
  if (!root) {
    MESSAGE("skipped: LOLCATS_DATA is not set");
    return;
  }
  const std::filesystem::path data = std::filesystem::path(root) / "tokenizers";
  sentencepiece::SentencePieceProcessor model;
  const std::string bytes = lolcats::read_text(data / "llama2" / "tokenizer.model");
  REQUIRE(model.LoadFromSerializedProto(bytes).ok());
  lolcats::ScoredPieces parts;
  for (int i = 0; i < model.GetPieceSize(); ++i) {
    parts.pieces.push_back(model.IdToPiece(i));
    parts.scores.push_back(model.GetScore(i));
    parts.kinds.push_back(model.IsControl(i)   ? PieceKind::control
                          : model.IsUnknown(i) ? PieceKind::unknown
                          : model.IsByte(i)    ? PieceKind::byte
                                               : PieceKind::normal);
  }
  parts.bos = 1, parts.eos = 2, parts.unknown = 0;
  const lolcats::ScoredPiecesTokenizer tokenizer(parts);
  const std::string lines = lolcats::read_text(data / "golden" / "llama2.jsonl");
  for (std::size_t at = 0; at < lines.size();) {
    const std::size_t end = lines.find('\n', at);
    const auto line = nlohmann::json::parse(lines.substr(at, end - at));
    at = end + 1;
    const auto text = line["text"].get<std::string>();
    CAPTURE(text);
    CHECK(tokenizer.encode(text, false) == line["ids"].get<Ids>());
    CHECK(tokenizer.decode(tokenizer.encode(text, false)) == text);
  }
  const auto original = lolcats::make_sentencepiece(bytes, "t.model");
  CHECK_THROWS_WITH_AS(original->encode("a\n\xFF", false), doctest::Contains("line 2, byte 2"), DataError);
  CHECK(original->encode("Hello world", true) == Ids{1, 15043, 3186});
  CHECK(original->encode("a</s>a", false, true) == Ids{263, 2, 263});
  CHECK(original->decode(Ids{263, 2, 263}, true) == "a</s>a");
}
#endif
