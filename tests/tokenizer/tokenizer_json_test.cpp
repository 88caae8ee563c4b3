#include <doctest/doctest.h>
#include <lolcats/core/rng.hpp>
#include <lolcats/io/file.hpp>
#include <lolcats/tokenizer/open.hpp>
#include <lolcats/tokenizer/parallel.hpp>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "files.hpp"

#ifdef LOLCATS_WITH_PCRE2
namespace {

using lolcats::ConfigError, lolcats::DataError, lolcats::FormatError, lolcats::Index;
using nlohmann::json;
using Ids = std::vector<Index>;

std::unique_ptr<lolcats::BytePairTokenizer> parse(const json& document, const lolcats::TokenizerNotes& notes = {}) {
  return lolcats::parse_tokenizer_json(document.dump(), "t.json", notes);
}

/// All bytes in the order of their values, then merges of "a", " ", "b".
json bytes_document() {
  json vocabulary, merges = {"a a", "\xC4\xA0 a", "aa aa", "a b"};
  int id = 0;
  for (int b = 0; b < 256; ++b) vocabulary[lolcats::byte_alphabet::spell(std::string(1, static_cast<char>(b)))] = id++;
  for (const char* piece : {"aa",
                            "\xC4\xA0"
                            "a",
                            "aaaa", "ab", "abc"})
    vocabulary[piece] = id++;  // 256 ...
  return test::byte_level_json(vocabulary, merges);
}

/// Llama 2's kind of pipeline, over characters with byte fallback.
json characters_document() {
  json vocabulary{{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  for (int b = 0; b < 256; ++b) vocabulary[fmt::format("<0x{:02X}>", b)] = 3 + b;
  int id = 259;
  for (const char* piece : {"\xE2\x96\x81", "a", "b",
                            "\xE2\x96\x81"
                            "a",
                            "ab"})
    vocabulary[piece] = id++;
  json document = test::byte_level_json(vocabulary, {"a b", "\xE2\x96\x81 a"});
  document["pre_tokenizer"] = nullptr;
  document["model"].update({{"unk_token", "<unk>"}, {"fuse_unk", true}, {"byte_fallback", true}});
  document["normalizer"] = {{"type", "Sequence"},
                            {"normalizers",
                             {{{"type", "Prepend"}, {"prepend", "\xE2\x96\x81"}},
                              {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\xE2\x96\x81"}}}}};
  document["decoder"] = {{"type", "Sequence"},
                         {"decoders",
                          {{{"type", "Replace"}, {"pattern", {{"String", "\xE2\x96\x81"}}}, {"content", " "}},
                           {{"type", "ByteFallback"}},
                           {{"type", "Fuse"}},
                           {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}};
  document["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"pair", json::array()},
      {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {1}}, {"tokens", {"<s>"}}}}}}};
  for (int i = 0; i < 3; ++i)
    document["added_tokens"].push_back({{"id", i},
                                        {"content", std::vector{"<unk>", "<s>", "</s>"}[static_cast<std::size_t>(i)]},
                                        {"single_word", false},
                                        {"lstrip", false},
                                        {"rstrip", false},
                                        {"normalized", false},
                                        {"special", true}});
  return document;
}

}  // namespace

TEST_CASE("a byte-level tokenizer, by hand") {
  const auto tokenizer = parse(bytes_document());
  CHECK(tokenizer->vocab_size() == 261);
  CHECK(tokenizer->encode("aaaaa a ab", false) == Ids{258, 'a', 257, 257, 'b'});  // " a" merges before "ab"
  CHECK(tokenizer->encode("", false).empty());
  CHECK(tokenizer->decode(Ids{258, 257, 10}) == "aaaa a\n");
  CHECK(tokenizer->encode("abc", false) == Ids{259, 'c'});
  json whole = bytes_document();
  whole["model"]["ignore_merges"] = true;
  CHECK(parse(whole)->encode("abc abc", false) == Ids{260, 257, 'b', 'c'});
  CHECK(!tokenizer->bos());
  CHECK(!tokenizer->adds_bos());
  CHECK_THROWS_AS(tokenizer->encode("a", true), DataError);
  CHECK_THROWS_AS(tokenizer->decode(Ids{261}), DataError);
  CHECK_THROWS_AS(tokenizer->decode(Ids{-1}), DataError);
}

TEST_CASE("any bytes come back, valid UTF-8 or not") {
  const auto bytes = parse(bytes_document()), characters = parse(characters_document());
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    lolcats::Rng rng(seed);
    std::string text;
    for (std::size_t n = rng.below(80); n > 0; --n)
      text += rng.below(2) ? "ab \xC3\xA9\n"[rng.below(6)] : static_cast<char>(rng.below(256));
    CHECK(bytes->decode(bytes->encode(text, false)) == text);
    CHECK(characters->decode(characters->encode(text, true)) == text);
    CHECK(characters->decode(characters->encode(text, false)) == text);
  }
}

TEST_CASE("characters with byte fallback, and the space in front") {
  const auto tokenizer = parse(characters_document());
  CHECK(tokenizer->adds_bos());
  CHECK(tokenizer->bos() == Index{1});
  CHECK(tokenizer->eos() == Index{2});
  CHECK(tokenizer->encode("ab a", true) == Ids{1, 259, 263, 262});  // _ ab _a: "a b" has the lower rank
  CHECK(tokenizer->encode("\xC3\xA9", false) == Ids{259, 3 + 0xC3, 3 + 0xA9});
  CHECK(tokenizer->encode("a</s>b", false, true) == Ids{262, 2, 259, 261});
  CHECK(tokenizer->decode(Ids{262, 2, 259, 261}, true) == "a</s>b");
  CHECK(tokenizer->decode(Ids{1, 262, 262}) == "a a");
  CHECK(tokenizer->encode("</s>", false).size() > 1);  // characters like any others
}

TEST_CASE(
    "unknown characters: one token each, one for a run, none at all; unknown bytes are an error with line and offset") {
  json document = test::byte_level_json({{"<unk>", 0}, {"a", 1}}, json::array());
  document["pre_tokenizer"] = nullptr;
  document["decoder"] = {{"type", "Fuse"}};
  CHECK(parse(document)->encode("axya", false) == Ids{1, 1});
  document["model"]["unk_token"] = "<unk>";
  CHECK(parse(document)->encode("axya", false) == Ids{1, 0, 0, 1});
  document["model"]["fuse_unk"] = true;
  CHECK(parse(document)->encode("axyax", false) == Ids{1, 0, 1, 0});
  CHECK_THROWS_WITH_AS(
      parse(document)->encode("a\na\xFF", false),
      "t.json: the text is not valid UTF-8 at line 2, byte 3 (0xFF), and the vocabulary cannot spell it", DataError);
  json few = test::byte_level_json({{"a", 0}}, json::array());
  CHECK(parse(few)->encode("\x04"
                           "a",
                           false) == Ids{0});  // as the `tokenizers` library does
  CHECK_THROWS_AS(parse(few)->encode("a\xFF", false), DataError);
}

TEST_CASE("special tokens are parsed when asked, other added tokens always") {
  json document = bytes_document();
  const auto added = [](Index id, const char* content, bool special) {
    return json{{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", special}};
  };
  document["added_tokens"] = {added(261, "<|im_end|>", true), added(300, "<tool>", false)};
  const auto tokenizer = parse(document);
  CHECK(tokenizer->vocab_size() == 301);
  CHECK(tokenizer->encode("a<|im_end|><tool>", false, true) == Ids{'a', 261, 300});
  CHECK(tokenizer->encode("<|im_end|><tool>", false).size() == 11);
  CHECK(tokenizer->decode(Ids{'a', 261, 300}) == "a<tool>");
  CHECK(tokenizer->decode(Ids{'a', 261, 300}, true) == "a<|im_end|><tool>");
  CHECK(tokenizer->decode(Ids{299}).empty());  // a hole
  CHECK(tokenizer->eos() == Index{261});       // a well-known name
  CHECK(parse(document, {.eos = "<tool>"})->eos() == Index{300});
  CHECK(parse(document, {.names_bos = true, .bos = "a"})->bos() == Index{'a'});
  CHECK(parse(document, {.bos_id = 7, .eos_id = 9})->eos() == Index{9});
  CHECK_THROWS_AS(parse(document, {.file = "c.json", .names_bos = true, .bos = "<none>"}), ConfigError);
  CHECK_THROWS_AS(parse(document, {.bos_id = 301}), FormatError);
}

TEST_CASE("tokens that are looked for before normalization come first") {
  json document = bytes_document();
  const auto added = [](Index id, const char* content, bool normalized) {
    return json{{"id", id}, {"content", content}, {"normalized", normalized}, {"special", false}};
  };
  document["added_tokens"] = {added(261, "xy", true), added(262, "yz", false)};
  CHECK(parse(document)->encode("xyz xy", false) == Ids{'x', 262, ' ', 261});
}

TEST_CASE("words of random merges are what a plain loop gives") {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    lolcats::Rng rng(seed);
    json document = bytes_document();
    json& model = document["model"];
    std::vector<std::string> pieces{"a", "b", "c", "d"};
    std::vector<std::pair<std::string, std::string>> merges;
    for (int i = 0; i < 30; ++i) {
      const std::string left = pieces[rng.below(pieces.size())], right = pieces[rng.below(pieces.size())];
      if (left.size() + right.size() > 12 || model["vocab"].contains(left + right)) continue;
      model["vocab"][left + right] = model["vocab"].size();
      pieces.push_back(left + right);
      merges.emplace_back(left, right);
    }
    model["merges"] = json::array();
    for (const auto& [left, right] : merges)
      rng.below(2) ? model["merges"].push_back(left + " " + right) : model["merges"].push_back({left, right});
    const auto tokenizer = parse(document);
    for (int repeat = 0; repeat < 10; ++repeat) {
      std::vector<std::string> word(1 + rng.below(90));
      std::string text;
      for (auto& letter : word) text += letter = "abcd"[rng.below(4)];
      while (true) {
        std::size_t best = merges.size(), where = 0;
        for (std::size_t i = 0; i + 1 < word.size(); ++i) {
          for (std::size_t m = 0; m < best; ++m) {
            if (merges[m] == std::pair(word[i], word[i + 1])) best = m, where = i;
          }
        }
        if (best == merges.size()) break;
        word[where] += word[where + 1];
        word.erase(word.begin() + static_cast<std::ptrdiff_t>(where) + 1);
      }
      Ids want;
      for (const auto& piece : word) want.push_back(model["vocab"][piece].get<Index>());
      CHECK(tokenizer->encode(text, false) == want);
      CHECK(tokenizer->encode(text, false) == want);  // from the cache
    }
  }
}

TEST_CASE("many threads encode as one does") {
  const auto tokenizer = parse(bytes_document());
  std::vector<std::string> texts;
  lolcats::Rng rng(1);
  for (int i = 0; i < 300; ++i) {
    texts.emplace_back();
    for (std::size_t n = rng.below(300); n > 0; --n) texts.back() += "aab  c\n1"[rng.below(8)];
  }
  const auto all = lolcats::encode_all(*tokenizer, texts, false);
  for (std::size_t i = 0; i < texts.size(); ++i) CHECK(all[i] == tokenizer->encode(texts[i], false));
}

TEST_CASE("a megabyte of one letter is no matter") {
  const std::string letters(1 << 20, 'a');
  for (const json& document : {bytes_document(), characters_document()}) {
    const auto tokenizer = parse(document);
    const auto start = std::chrono::steady_clock::now();
    CHECK(tokenizer->decode(tokenizer->encode(letters, false)) == letters);
    CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 20);  // quadratic: hours
  }
}

TEST_CASE("what is not supported is named, with the file") {
  const auto refused = [](auto&& change, const char* message) {
    json document = bytes_document();
    change(document);
    CHECK_THROWS_WITH_AS(parse(document), message, ConfigError);
  };
  refused([](json& d) { d["model"]["type"] = "Unigram"; },
          "t.json: 'model.type' is 'Unigram', which is not supported; expected 'BPE'");
  refused([](json& d) { d["model"]["dropout"] = 0.1; }, "t.json: 'model.dropout' is 0.1, which is not supported");
  refused([](json& d) { d["model"]["end_of_word_suffix"] = "</w>"; },
          "t.json: 'model.end_of_word_suffix' is \"</w>\", which is not supported");
  refused(
      [](json& d) {
        d["normalizer"] = {{"type", "Lowercase"}};
      },
      "t.json: 'normalizer' is of type 'Lowercase', which is not supported");
  refused(
      [](json& d) {
        d["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "BertNormalizer"}}}}};
      },
      "t.json: 'normalizer.normalizers[0]' is of type 'BertNormalizer', which is not supported");
  refused(
      [](json& d) {
        d["decoder"] = {{"type", "WordPiece"}};
      },
      "t.json: 'decoder' is of type 'WordPiece', which is not supported");
  refused([](json& d) { d["decoder"] = nullptr; },
          "t.json: 'decoder' is null, which is not supported; expected ByteLevel, Metaspace or a Sequence");
  refused(
      [](json& d) {
        d["post_processor"] = {{"type", "BertProcessing"}};
      },
      "t.json: 'post_processor' is of type 'BertProcessing', which is not supported");
  refused([](json& d) { d["pre_tokenizer"]["surprise"] = 1; },
          "t.json: 'pre_tokenizer.surprise' is 1, which is not supported");
  refused([](json& d) { d["more"] = 1; }, "t.json: 'more' is 1, which is not supported");
  json behind = characters_document();
  std::swap(behind["post_processor"]["single"][0], behind["post_processor"]["single"][1]);
  CHECK_THROWS_WITH_AS(
      parse(behind), "t.json: 'post_processor.single' puts '<s>' behind the text, which is not supported", ConfigError);
}

TEST_CASE("contradictions are format errors") {
  const auto wrong = [](auto&& change) {
    json document = bytes_document();
    change(document);
    CHECK_THROWS_AS(parse(document), FormatError);
  };
  wrong([](json& d) { d["model"]["vocab"]["new"] = 0; });  // an id twice
  wrong([](json& d) { d["model"]["vocab"]["new"] = -1; });
  wrong([](json& d) { d["model"]["vocab"]["new"] = 1e9; });
  wrong([](json& d) { d["model"]["vocab"]["new"] = 2000000000; });
  wrong([](json& d) { d["model"]["merges"].push_back("a c"); });  // no such piece
  wrong([](json& d) { d["model"]["merges"].push_back("a"); });
  wrong([](json& d) { d["model"]["merges"].push_back(7); });
  wrong([](json& d) { d["model"]["unk_token"] = "<none>"; });
  wrong([](json& d) { d["added_tokens"] = {{{"id", 3}, {"content", "a"}}}; });  // 'a' has another id in the model
  wrong([](json& d) { d["added_tokens"] = {{{"id", 4000000000}, {"content", "<x>"}}}; });
  CHECK_THROWS_AS(lolcats::parse_tokenizer_json("{", "t.json"), FormatError);
}

TEST_CASE("fingerprints tell tokenizers apart") {
  json other = bytes_document(), order = bytes_document(), words = bytes_document();
  other["model"]["vocab"]["abd"] = 261;
  std::swap(order["model"]["merges"][0], order["model"]["merges"][3]);
  words["pre_tokenizer"]["use_regex"] = false;
  const auto print = [](const json& document) { return parse(document)->fingerprint(); };
  CHECK(print(bytes_document()) == print(bytes_document()));
  CHECK(print(other) != print(bytes_document()));
  CHECK(print(order) != print(bytes_document()));
  CHECK(print(words) != print(bytes_document()));
}

TEST_CASE("folders: BOS and EOS by the files beside; kinds of files; what is none") {
  const test::Folder folder;
  const auto write = [&](const char* name, const std::string& text) {
    lolcats::write_file_atomically(folder.path / name, text);
  };
  CHECK_THROWS_AS(lolcats::open_tokenizer(folder.path), ConfigError);
  write("tokenizer.json", characters_document().dump());
  CHECK(lolcats::open_tokenizer(folder.path)->eos() == Index{2});
  write("config.json", R"({"eos_token_id": [5, 2], "bos_token_id": 9})");
  CHECK(lolcats::open_tokenizer(folder.path)->eos() == Index{5});
  CHECK(lolcats::open_tokenizer(folder.path)->bos() == Index{1});  // the template has the last word
  write("special_tokens_map.json", R"({"eos_token": {"content": "<unk>", "lstrip": false}})");
  CHECK(lolcats::open_tokenizer(folder.path)->eos() == Index{0});
  write("tokenizer_config.json", R"({"add_bos_token": false, "eos_token": "a", "bos_token": null})");
  CHECK(lolcats::open_tokenizer(folder.path)->eos() == Index{260});
  CHECK(!lolcats::open_tokenizer(folder.path / "tokenizer.json")->adds_bos());
  write("tokenizer_config.json", R"({"add_eos_token": true})");
  CHECK_THROWS_AS(lolcats::open_tokenizer(folder.path), ConfigError);
  write("pointer.model", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
  CHECK_THROWS_WITH_AS(lolcats::open_tokenizer(folder.path / "pointer.model"), doctest::Contains("Git LFS pointer"),
                       FormatError);
  write("nothing.model", "what");
  CHECK_THROWS_AS(lolcats::open_tokenizer(folder.path / "nothing.model"), FormatError);
  CHECK_THROWS_AS(lolcats::open_tokenizer(folder.path / "missing.json"), lolcats::FileError);

  CHECK(lolcats::tokenizer_of_model(folder.path) == folder.path);

  CHECK(lolcats::tokenizer_of_model("x/model.safetensors") == "x");
  CHECK(lolcats::tokenizer_of_model("model.safetensors") == ".");
  write("stories.bin", std::string(100, 7));
  CHECK_THROWS_AS(lolcats::tokenizer_of_model(folder.path / "stories.bin"), ConfigError);
  const auto tokenizer = parse(bytes_document());
  lolcats::check_tokenizer(*tokenizer, "t", 261, "m");
  lolcats::check_tokenizer(*tokenizer, "t", 320, "m");
  CHECK_THROWS_WITH_AS(lolcats::check_tokenizer(*tokenizer, "t", 260, "m"),
                       "the tokenizer t has 261 tokens, but the model m knows 260: it is another model's", ConfigError);
}
#endif
