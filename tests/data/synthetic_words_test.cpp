#include <doctest/doctest.h>
#include <lolcats/data/synthetic_words.hpp>
#include <lolcats/tokenizer/llama2c.hpp>

#include <set>
#include <string>
#include <vector>

using lolcats::Index, lolcats::Llama2cTokenizer, lolcats::SyntheticVocabulary;

TEST_CASE("every word is one token of the llama2.c tokenizer, after any other") {
  const SyntheticVocabulary vocabulary;
  const Llama2cTokenizer tokenizer(vocabulary.pieces(), vocabulary.scores());
  const auto words = SyntheticVocabulary::all_words();
  CHECK(vocabulary.size() <= 512);
  for (const auto first : words) {
    for (const auto second : words) {
      const std::string text = std::string(first) + " " + std::string(second) + ". " + std::string(first);
      const std::vector<Index> want{1, vocabulary.id(first), vocabulary.id(second), vocabulary.id("."),
                                    vocabulary.id(first)};
      if (tokenizer.encode(text, true) != want) FAIL_CHECK("not one token a word: ", text);
    }
  }
}

TEST_CASE("a word means one thing") {
  const auto words = SyntheticVocabulary::all_words();
  CHECK(std::set<std::string_view>(words.begin(), words.end()).size() == words.size());
  CHECK_THROWS_AS((void)SyntheticVocabulary().id("unheard"), lolcats::DataError);
}
