// Token ids of the originals: 600 texts that break tokenizers, for each tokenizer in each of its files.
#include <doctest/doctest.h>
#include <lolcats/io/file.hpp>
#include <lolcats/tokenizer/open.hpp>
#include <lolcats/tokenizer/stream.hpp>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "files.hpp"

#ifdef LOLCATS_WITH_PCRE2
namespace {

using lolcats::Index;
using nlohmann::json;

void check_golden(const lolcats::Tokenizer& tokenizer, const std::filesystem::path& golden, bool special) {
  const std::string lines = lolcats::read_text(golden);
  int count = 0;
  for (std::size_t at = 0; at < lines.size(); ++count) {
    const std::size_t end = lines.find('\n', at);
    const json line = json::parse(lines.substr(at, end - at));
    at = end + 1;
    const auto text = line["text"].get<std::string>();
    const auto want = line["ids"].get<std::vector<Index>>();
    CAPTURE(text);
    CHECK(tokenizer.encode(text, false, special) == want);
    CHECK(tokenizer.decode(want, special) == text);
    lolcats::StreamDecoder decoder(tokenizer, -1, special);
    std::string streamed;
    for (const Index token : want) streamed += decoder.push(token);
    CHECK(streamed + decoder.finish() == text);
  }
  CHECK(count == 600);
}

}  // namespace

TEST_CASE("golden ids of the tokenizers whose files are at hand") {
  const char* root = std::getenv("LOLCATS_DATA");
  if (!root) {
    MESSAGE("skipped: LOLCATS_DATA is not set");
    return;
  }
  const std::filesystem::path data = std::filesystem::path(root) / "tokenizers", golden = data / "golden";
  SUBCASE("Llama 3, ranks") {
    check_golden(*lolcats::open_tokenizer(data / "llama3" / "tokenizer.model"), golden / "llama3.jsonl", false);
  }
#ifdef LOLCATS_WITH_SENTENCEPIECE
  SUBCASE("Llama 2, sentencepiece") {
    check_golden(*lolcats::open_tokenizer(data / "llama2" / "tokenizer.model"), golden / "llama2.jsonl", false);
  }
#endif
  SUBCASE("GPT-2, encoder.json and vocab.bpe put together") {
    const test::Folder folder;
    json document =
        test::byte_level_json(json::parse(lolcats::read_text(data / "gpt2" / "encoder.json")), json::array());
    const std::string merges = lolcats::read_text(data / "gpt2" / "vocab.bpe");
    for (std::size_t at = merges.find('\n') + 1; at < merges.size();) {
      const std::size_t end = merges.find('\n', at);
      document["model"]["merges"].push_back(merges.substr(at, end - at));
      at = end + 1;
    }
    lolcats::write_file_atomically(folder.path / "tokenizer.json", document.dump());
    check_golden(*lolcats::open_tokenizer(folder.path), golden / "gpt2.jsonl", false);
  }
  SUBCASE("Llama 3 and 2, tokenizer.json") {
    const char* json_folder = std::getenv("LOLCATS_TOKENIZER_JSON");
    if (!json_folder) {
      MESSAGE("skipped: LOLCATS_TOKENIZER_JSON, a folder with llama3.json and llama2.json, is not set");
      return;
    }
    for (const std::string name : {"llama3", "llama2"})
      check_golden(*lolcats::open_tokenizer(std::filesystem::path(json_folder) / (name + ".json")),
                   golden / (name + ".jsonl"), false);
  }
  SUBCASE("SmolLM2, tokenizer.json and GGUF") {
    const char* smollm2 = std::getenv("LOLCATS_SMOLLM2");
    if (!smollm2) {
      MESSAGE("skipped: LOLCATS_SMOLLM2 is not set");
      return;
    }
    const std::filesystem::path folder = smollm2;
    check_golden(*lolcats::open_tokenizer(folder / "hf"), golden / "smollm2.jsonl", true);
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().extension() == ".gguf")
        check_golden(*lolcats::open_tokenizer(entry.path()), golden / "smollm2.jsonl", true);
    }
  }
}
#endif
