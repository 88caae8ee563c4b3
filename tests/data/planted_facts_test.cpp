// Facts that are said once and asked for at the end.
#include "plain_tokenizer.hpp"

#include <lolcats/data/planted_facts.hpp>

#include <doctest/doctest.h>

#include <set>

using namespace lolcats;

namespace {

/// Bytes as tokens, so that rows can be read.
const tests::PlainTokenizer fact_tokenizer({}, {});

DataSet texts() {
  std::vector<Row> rows;
  for (const char* text : {"the grass is green and the sky is blue ", "here we go, there and back again ", "one two three four five "}) {
    const std::vector<Index> tokens = fact_tokenizer.encode(text, false);
    rows.push_back({tokens, tokens, {0}});
  }
  return DataSet(std::move(rows));
}

}  // namespace

TEST_CASE("planted facts are said once before their questions, and only the answers are labelled") {
  const DataSet from = texts();
  std::set<std::string> values, wordings;
  std::set<std::size_t> depths;
  Index numbers = 0, all = 0;
  for (std::uint64_t row = 0; row < 40; ++row) {
    const Row got = planted_row(from, fact_tokenizer, row, {.length = 2000, .seed = 3});
    REQUIRE(got.tokens.size() == 2000);
    REQUIRE(got.labels.size() == 2000);
    CHECK(got.starts == std::vector<Index>{0});
    const std::string text = fact_tokenizer.decode(got.tokens);
    std::string labelled;  // one line per answer
    std::size_t last = 0;
    for (std::size_t i = 0; i < 2000; ++i) {
      if (got.labels[i] == ignored_label) continue;
      CHECK(got.labels[i] == got.tokens[i]);
      if (last + 1 != i) labelled += '\n';
      labelled += text[i];
      last = i;
    }
    const std::size_t end = text.find("\nQuestion: ");
    REQUIRE(end != std::string::npos);
    std::string expected;
    std::set<std::string> asked;
    for (std::size_t at = end; at < text.size();) {
      const std::string lead = "\nQuestion: What is ";
      REQUIRE(text.compare(at, lead.size(), lead) == 0);
      const std::size_t mark = text.find('?', at);
      const std::string about = text.substr(at + lead.size(), mark - at - lead.size());
      const std::string answer = "? Answer: " + about + " is";
      REQUIRE(text.compare(mark, answer.size(), answer) == 0);
      const std::size_t from_value = mark + answer.size(), stop = text.find('.', from_value);
      const std::string value = text.substr(from_value, stop - from_value);
      const std::size_t said = text.find(about + " is" + value);
      CHECK(said < end * 7 / 8 + 60);  // of the text, and the statements in front
      CHECK(text.find(about, said + 1) > end);
      depths.insert(said / 100);
      const std::string before = text.substr(0, said);
      wordings.insert(before.ends_with("\n") ? "line" : before.ends_with(" Note that ") ? "note" : before.ends_with(" By the way, ") ? "way" : "plain");
      CHECK(asked.insert(about).second);
      values.insert(value);
      expected += "\n" + value;
      ++all;
      if (value[1] < 'A') {
        ++numbers;
        CHECK(value.size() >= 4);  // with the space in front
        CHECK(value.size() <= 6);
        CHECK(value[1] != '0');
      }
      at = stop + 1;
    }
    CHECK(asked.size() == 4);
    CHECK(labelled == expected);
  }
  CHECK(values.size() > 120);
  CHECK(depths.size() > 12);
  CHECK(wordings.size() == 4);
  CHECK(numbers > all / 2);
  CHECK(numbers < all * 7 / 10);
}

TEST_CASE("planted facts are a function of seed and row") {
  const DataSet from = texts();
  const PlantedFactsOptions options{.length = 900, .facts = 2, .seed = 1};
  const DataSet some = planted_facts(from, fact_tokenizer, 2, 3, options);
  CHECK(some.size() == 3);
  for (std::uint64_t i = 0; i < 3; ++i) CHECK(some[static_cast<Index>(i)] == planted_row(from, fact_tokenizer, 2 + i, options));
  CHECK(some[0].tokens != some[1].tokens);
  CHECK(some[0].tokens != planted_row(from, fact_tokenizer, 2, {.length = 900, .facts = 2, .seed = 2}).tokens);
  CHECK(some.batch(0, 3).supervised() > 0);
}

TEST_CASE("planted facts need room and text") {
  const DataSet from = texts();
  CHECK_THROWS_AS(planted_row(from, fact_tokenizer, 0, {.length = 300}), ConfigError);
  CHECK_THROWS_AS(planted_row(from, fact_tokenizer, 0, {.facts = 0}), ConfigError);
  CHECK_THROWS_AS(planted_row(from, fact_tokenizer, 0, {.facts = 17}), ConfigError);
  CHECK_THROWS_AS(planted_row(DataSet(), fact_tokenizer, 0), DataError);
  CHECK_THROWS_AS(planted_facts(from, fact_tokenizer, 0, -1), ConfigError);
}
