#include "support.hpp"

#include <lolcats/eval/tasks/passkey.hpp>

using namespace lolcats;
using tasks_test::PieceTokenizer;

namespace {

std::string text_of(const PieceTokenizer& tokenizer, const std::vector<Index>& tokens) {
  return tokenizer.decode(tokens);
}

}  // namespace

TEST_CASE("pass keys in filler: the texts that a Python program writes") {
  const PieceTokenizer tokenizer;  // a token per byte
  PythonRandom random(0);
  const auto keys = filler_passkeys({tokenizer}, 700, 3, random);
  REQUIRE(keys.size() == 3);
  // CPython: r = random.Random(0); three times (r.randrange(10000, 99999), r.random())
  CHECK(keys[0].key == "60494");
  CHECK(keys[1].key == "65125");
  CHECK(keys[2].key == "77013");
  const std::string fill = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";
  // 700 bytes less 92 + 59 + 38 around the filler and 6: five repetitions of 90; depths int(0.757... * 5) and so on.
  const Index before[] = {3, 0, 2};
  for (std::size_t i = 0; i < 3; ++i) {
    std::string want = "There is an important info hidden inside a lot of irrelevant text. Find it and memorize it.\n";
    for (Index n = 0; n < before[i]; ++n) want += fill;
    const std::size_t at = want.size();
    want += "The pass key is " + keys[i].key + ". Remember it. " + keys[i].key + " is the pass key. ";
    for (Index n = before[i]; n < 5; ++n) want += fill;
    want += "\nWhat is the pass key? The pass key is";
    CHECK(text_of(tokenizer, keys[i].tokens.context) == want);
    CHECK(text_of(tokenizer, keys[i].tokens.continuation) == " " + keys[i].key);
    CHECK(keys[i].distance == static_cast<Index>(want.size() - at));
    CHECK(keys[i].depth == doctest::Approx(static_cast<double>(before[i]) / 5));
    CHECK_FALSE(keys[i].cut);
  }
  PythonRandom again(0);
  CHECK_THROWS_AS(filler_passkeys({tokenizer}, 100, 1, again), DataError);
  PythonRandom once_more(0);
  CHECK(filler_passkeys({tokenizer, false, 300}, 700, 1, once_more)[0].cut);
}

TEST_CASE("pass keys in prose: the texts that a Python program writes") {
  const PieceTokenizer tokenizer;
  std::vector<Index> haystack;
  for (Index i = 0; i < 400; ++i) haystack.push_back('a' + i % 26);
  PythonRandom random(5);
  const auto keys = prose_passkeys({tokenizer}, haystack, 300, 2, random);
  // CPython: r = random.Random(5), twice r.randrange(10000, 99999), r.randrange(400 - room), r.randrange(int(room * 0.7))
  // with room = 300 - 74 - 60 - 38 - 6 = 122.
  const std::string want_keys[] = {"91644", "95463"};
  const Index at[] = {130, 271};
  const Index depth[] = {45, 3};
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(keys[i].key == want_keys[i]);
    std::string prose;
    for (Index n = 0; n < 122; ++n) prose += static_cast<char>('a' + (at[i] + n) % 26);
    const std::string head = "There is an important info hidden inside a text. Find it and memorize it.\n";
    const auto cut = static_cast<std::size_t>(depth[i]);
    const std::string want = head + prose.substr(0, cut) + " The pass key is " + keys[i].key + ". Remember it. " +
                             keys[i].key + " is the pass key. " + prose.substr(cut) +
                             "\nWhat is the pass key? The pass key is";
    CHECK(text_of(tokenizer, keys[i].tokens.context) == want);
    CHECK(keys[i].distance == static_cast<Index>(want.size() - head.size()) - depth[i]);
  }
  // The same with room = 91, where int(room * 0.7) = 63 takes six bits.
  PythonRandom less(5);
  const auto shorter = prose_passkeys({tokenizer}, haystack, 269, 3, less);
  const std::string shorter_keys[] = {"91644", "56993", "71030"};
  const Index distances[] = {142, 188, 148};
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(shorter[i].key == shorter_keys[i]);
    CHECK(shorter[i].distance == distances[i]);
  }
  PythonRandom again(5);
  const auto with_bos = prose_passkeys({tokenizer, true}, haystack, 300, 2, again);
  CHECK(with_bos[1].tokens.context.size() == keys[1].tokens.context.size() + 1);
  CHECK(with_bos[1].tokens.context[0] == 256);
  CHECK(with_bos[1].distance == keys[1].distance);
  haystack.resize(122);
  CHECK_THROWS_AS(prose_passkeys({tokenizer}, haystack, 300, 1, again), DataError);
  CHECK_THROWS_AS(prose_passkeys({tokenizer}, haystack, 178, 1, again), DataError);
}
