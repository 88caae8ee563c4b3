#include <doctest/doctest.h>
#include <lolcats/tokenizer/tokenizer.hpp>

#include <string>
#include <vector>

namespace {

using lolcats::Index;

/// The smallest tokenizer: a byte is a token.
class Bytes final : public lolcats::Tokenizer {
 public:
  std::vector<Index> encode(std::string_view text, bool bos) const override {
    std::vector<Index> tokens;
    if (bos) tokens.push_back(256);
    for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
    return tokens;
  }
  std::string decode_piece(Index previous, Index token) const override {
    last_previous = previous;
    return token < 256 ? std::string(1, static_cast<char>(token)) : std::string();
  }
  Index vocab_size() const override { return 258; }
  Index bos() const override { return 256; }
  Index eos() const override { return 257; }

  mutable Index last_previous = 0;
};

}  // namespace

TEST_CASE("decode joins the pieces and tells each its predecessor") {
  const Bytes bytes;
  const lolcats::Tokenizer& tokenizer = bytes;
  CHECK(tokenizer.decode(tokenizer.encode("h\xC3\xA9!", true)) == "h\xC3\xA9!");
  CHECK(bytes.last_previous == 0xA9);
  CHECK(tokenizer.decode(std::vector<Index>{65}) == "A");
  CHECK(bytes.last_previous == -1);
}
