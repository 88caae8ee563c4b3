#include <doctest/doctest.h>
#include <lolcats/tokenizer/tokenizer.hpp>

#include <string>
#include <vector>

namespace {

using lolcats::Index;

/// The smallest tokenizer: a byte is a token.
class Bytes final : public lolcats::Tokenizer {
 public:
  Index vocab_size() const override { return 258; }
  std::optional<Index> bos() const override { return 256; }
  std::optional<Index> eos() const override { return 257; }
  bool adds_bos() const override { return true; }
  std::uint64_t fingerprint() const override { return 0; }

  mutable Index last_previous = 0;

 protected:
  void append(std::string_view text, bool, std::vector<Index>& tokens) const override {
    for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  }
  std::string piece(Index previous, Index token, bool) const override {
    last_previous = previous;
    return token < 256 ? std::string(1, static_cast<char>(token)) : std::string();
  }
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
