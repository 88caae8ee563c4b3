#include <doctest/doctest.h>
#include <lolcats/tokenizer/llama2c_file.hpp>

#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace {

using lolcats::DataError, lolcats::FileError, lolcats::FormatError, lolcats::Index, lolcats::Llama2cTokenizer;

/// Little-endian fields, one behind the other.
struct Writer {
  std::string text;

  Writer& integer(std::int32_t value) { return raw(&value); }
  Writer& real(float value) { return raw(&value); }
  Writer& piece(const std::string& bytes, float score = 0) {
    real(score).integer(static_cast<std::int32_t>(bytes.size()));
    text += bytes;
    return *this;
  }
  template <class T>
  Writer& raw(const T* value) {
    text.append(reinterpret_cast<const char*>(value), sizeof(T));
    return *this;
  }
  Llama2cTokenizer parse(Index vocab_size = 0) const {
    return lolcats::parse_llama2c_tokenizer(std::as_bytes(std::span(text)), vocab_size, "t.bin");
  }
};

const Writer good = Writer().integer(4).piece("<u>").piece("<s>").piece("</s>").piece("x", -2.5F);

struct TokenizerFolder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("lolcats-tokenizer-" + std::to_string(::getpid()));
  TokenizerFolder() { std::filesystem::create_directories(path); }
  ~TokenizerFolder() { std::filesystem::remove_all(path); }
};

}  // namespace

TEST_CASE("a file is read to its end, or to the vocabulary of the model") {
  for (const Index size : {0, 4}) {
    const Llama2cTokenizer tokenizer = good.parse(size);
    CHECK(tokenizer.pieces() == std::vector<std::string>{"<u>", "<s>", "</s>", "x"});
    CHECK(tokenizer.scores()[3] == -2.5F);
  }
  CHECK(lolcats::serialize_llama2c_tokenizer(good.parse()) == good.text);
}

TEST_CASE("every cut of a file is an error") {
  for (std::size_t length = 0; length < good.text.size(); ++length) {
    Writer cut;
    cut.text = good.text.substr(0, length);
    CAPTURE(length);
    CHECK_THROWS_AS(cut.parse(4), FormatError);
  }
}

TEST_CASE("bytes that are no tokenizer are refused") {
  CHECK_THROWS_WITH_AS(good.parse(3), "t.bin: 9 bytes are left over behind 3 tokens", FormatError);
  CHECK_THROWS_AS(good.parse(5), FormatError);
  CHECK_THROWS_AS(good.parse(-1), FormatError);
  CHECK_THROWS_AS(Writer().integer(0).piece("a").parse(), FormatError);
  CHECK_THROWS_AS(Writer().integer(-7).piece("a").parse(), FormatError);
  CHECK_THROWS_WITH_AS(Writer().integer(4).real(0).integer(-1).parse(), "t.bin: token 0 has length -1, expected 1 to 4",
                       FormatError);
  CHECK_THROWS_AS(Writer().integer(4).real(0).integer(0).parse(), FormatError);
  CHECK_THROWS_WITH_AS(Writer(good).piece("longer").parse(), "t.bin: token 4 has length 6, expected 1 to 4",
                       FormatError);
  CHECK_THROWS_AS(Writer().integer(2147483647).real(0).integer(2147483647).parse(), FormatError);
  CHECK_THROWS_AS(Writer(good).piece("x").parse(), FormatError);                 // twice
  CHECK_THROWS_AS(Writer(good).piece("y", std::nanf("")).parse(), FormatError);  // no order
  CHECK_THROWS_AS(Writer().integer(4).piece("a").parse(), FormatError);          // no BOS
}

TEST_CASE("what is written is read back, and nothing else is left in the folder") {
  const TokenizerFolder folder;
  const auto path = folder.path / "tokenizer.bin";
  lolcats::write_llama2c_tokenizer(path, good.parse());
  CHECK(lolcats::read_llama2c_tokenizer(path, 4).pieces() == good.parse().pieces());
  lolcats::write_llama2c_tokenizer(path, good.parse());  // over the old one
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);
  CHECK_THROWS_AS(lolcats::write_llama2c_tokenizer(folder.path / "none" / "t.bin", good.parse()), FileError);
  CHECK_THROWS_AS(lolcats::read_llama2c_tokenizer(folder.path / "none.bin"), FileError);
}

TEST_CASE("a write that fails at its end leaves no file behind") {
  const TokenizerFolder folder;
  // the target is a folder, so the rename fails after the bytes were written
  std::filesystem::create_directories(folder.path / "t.bin" / "x");
  CHECK_THROWS_AS(lolcats::write_llama2c_tokenizer(folder.path / "t.bin", good.parse()), FileError);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);
}

TEST_CASE("real files are read and written byte for byte") {
  const char* root = std::getenv("LOLCATS_DATA");
  if (!root) {
    MESSAGE("skipped: LOLCATS_DATA is not set");
    return;
  }
  for (const char* name : {"stories260K/tok512.bin", "tokenizers/llama2/tokenizer.bin"}) {
    const auto path = std::filesystem::path(root) / name;
    std::ifstream file(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    CHECK(lolcats::serialize_llama2c_tokenizer(lolcats::read_llama2c_tokenizer(path)) == bytes);
  }
}
