#include <doctest/doctest.h>
#include <lolcats/data/synthetic.hpp>
#include <lolcats/tokenizer/llama2c.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

using namespace lolcats;  // tests only

namespace {

/// Words of a text and full stops, as a reader sees them.
std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : text + " ") {
    if (c == ' ' || c == '.') {
      if (!word.empty()) words.push_back(word);
      word.clear();
      if (c == '.') words.push_back(".");
    } else {
      word += c;
    }
  }
  return words;
}

/// Key classes, read off the public word lists.
std::map<std::string, int> kinds_of_keys() {
  std::map<std::string, int> kinds;
  for (const auto word : synthetic::first_names) kinds[std::string(word)] = 0;
  for (const auto word : synthetic::towns) kinds[std::string(word)] = 1;
  for (const auto word : synthetic::items) kinds[std::string(word)] = 2;
  return kinds;
}

}  // namespace

TEST_CASE("documents are a pure function of seed and index") {
  const SyntheticCorpus corpus;
  CHECK(corpus.document(1, 2).tokens == corpus.document(1, 2).tokens);
  CHECK(corpus.document(1, 2).tokens != corpus.document(1, 3).tokens);
  CHECK(corpus.document(1, 2).tokens != corpus.document(2, 2).tokens);
  CHECK(corpus.document(1, 2).tokens.size() == 512);
}

TEST_CASE("the tokenizer gives back the tokens of a document's text") {
  const SyntheticCorpus corpus;
  const Llama2cTokenizer tokenizer(corpus.vocabulary().pieces(), corpus.vocabulary().scores());
  for (std::uint64_t i = 0; i < 20; ++i) {
    const auto tokens = corpus.document(5, i).tokens;
    CHECK(tokenizer.encode(corpus.text(tokens), true) == tokens);
    CHECK(tokenizer.decode(tokens) == corpus.text(tokens));
  }
}

TEST_CASE("a fact keeps its value, and distances are those of the text") {
  const auto kinds = kinds_of_keys();
  const SyntheticCorpus corpus;
  Index recalls = 0, nearest = 1000;
  for (std::uint64_t i = 0; i < 20; ++i) {
    const SyntheticDocument document = corpus.document(6, i);
    const auto words = words_of(corpus.text(document.tokens));
    REQUIRE(words.size() + 1 == document.tokens.size());  // BOS stands in front
    std::map<std::string, std::pair<std::string, Index>> facts;
    std::vector<RecallTarget> want;
    for (std::size_t w = 0; w + 1 < words.size(); ++w) {
      if (!kinds.contains(words[w])) continue;
      const auto position = static_cast<Index>(w) + 2;  // of the value, counted from BOS
      const auto known = facts.find(words[w]);
      if (known != facts.end()) {
        CHECK(known->second.first == words[w + 1]);
        want.push_back({position, position - known->second.second});
      }
      facts[words[w]] = {words[w + 1], position};
    }
    const auto got = recall_targets(document);
    REQUIRE(got.size() == want.size());
    for (std::size_t k = 0; k < got.size(); ++k) {
      CHECK(got[k].position == want[k].position);
      CHECK(got[k].distance == want[k].distance);
      CHECK((got[k].distance >= 10 && got[k].distance <= 400));
      nearest = std::min(nearest, got[k].distance);
    }
    recalls += static_cast<Index>(got.size());
  }
  CHECK(nearest == 10);
  CHECK(recalls > 20 * 80);  // a fifth of 512 tokens is 102
}

TEST_CASE("probabilities add up to one everywhere, and recalls are certain") {
  const SyntheticCorpus corpus;
  SyntheticProcess process(corpus.vocabulary(), corpus.config());
  const auto document = corpus.document(7, 0);
  for (std::size_t i = 1; i < document.tokens.size(); ++i) {
    double sum = 0, entropy = 0;
    for (const auto& choice : process.choices()) {
      CHECK(choice.probability > 0);
      sum += choice.probability;
      entropy -= choice.probability * std::log(choice.probability);
    }
    CHECK(sum == doctest::Approx(1).epsilon(1e-12));
    CHECK(document.entropy[i] == doctest::Approx(entropy).epsilon(1e-12));
    if (document.distance[i] > 0) CHECK(document.log_probability[i] == 0);
    process.advance(document.tokens[i]);
  }
}

TEST_CASE("the given probabilities are the frequencies: mean -ln p meets the entropy") {
  // -ln p minus the entropy is a martingale difference; its deviation is about 1.2 nats a token
  const SyntheticCorpus corpus;
  double difference = 0, squares = 0, count = 0, entropy = 0;
  for (std::uint64_t i = 0; i < 400; ++i) {
    const auto document = corpus.document(8, i);
    for (std::size_t j = 1; j < document.tokens.size(); ++j) {
      const double d = -document.log_probability[j] - document.entropy[j];
      difference += d;
      squares += d * d;
      entropy += document.entropy[j];
      ++count;
    }
  }
  CHECK(std::abs(difference / count) < 4 * std::sqrt(squares) / count);  // four standard errors
  CHECK(entropy / count == doctest::Approx(1.737).epsilon(0.01));
}

TEST_CASE("first tokens follow the grammar's shares, counted without the process") {
  const SyntheticCorpus corpus;
  std::map<std::string, double> share;
  const int documents = 4000;
  for (int i = 0; i < documents; ++i) {
    const auto document = corpus.document(9, static_cast<std::uint64_t>(i));
    share[words_of(corpus.text(std::span(document.tokens).first(2)))[0]] += 1.0 / documents;
  }
  CHECK(share.size() == 4 + 28);
  CHECK(std::abs(share["now"] - 0.4 / 4) < 0.02);    // four standard errors
  CHECK(std::abs(share["mila"] - 0.6 / 28) < 0.01);  // four standard errors
}

TEST_CASE("every distance is there to be measured") {
  const SyntheticCorpus corpus;
  std::map<int, int> buckets;
  for (std::uint64_t i = 0; i < 100; ++i)
    for (const auto& target : recall_targets(corpus.document(10, i))) {
      int bucket = 0;
      for (const Index edge : {25, 50, 100, 200}) bucket += target.distance >= edge;
      ++buckets[bucket];
    }
  for (int bucket = 0; bucket < 5; ++bucket) CHECK(buckets[bucket] > 400);
}

TEST_CASE("annotate finds again what document knew") {
  const SyntheticCorpus corpus;
  const auto document = corpus.document(11, 0);
  const auto again = corpus.annotate(document.tokens);
  CHECK(again.log_probability == document.log_probability);
  CHECK(again.entropy == document.entropy);
  CHECK(again.distance == document.distance);
  auto broken = document.tokens;
  broken[300] = 300;
  CHECK_THROWS_AS(corpus.annotate(broken), DataError);
  CHECK_THROWS_AS(corpus.annotate(std::vector<Index>{5}), DataError);
  CHECK_THROWS_AS(corpus.annotate(std::vector<Index>{}), DataError);
  CHECK_THROWS_AS(corpus.text(std::vector<Index>{1 << 20}), DataError);
}

TEST_CASE("short ranges and exhausted keys still make documents") {
  SyntheticConfig config;
  config.shortest = 30;
  config.longest = 31;
  config.new_fact = 1;
  config.length = 2000;
  const auto document = SyntheticCorpus(config).document(0, 0);
  CHECK(document.tokens.size() == 2000);
}

TEST_CASE("configurations without a meaning are refused") {
  for (const SyntheticConfig& config :
       {SyntheticConfig{.length = 1}, SyntheticConfig{.shortest = 0}, SyntheticConfig{.shortest = 20, .longest = 19},
        SyntheticConfig{.new_fact = 1.5}, SyntheticConfig{.new_fact = std::nan("")}})
    CHECK_THROWS_AS(SyntheticCorpus{config}, ConfigError);
}
