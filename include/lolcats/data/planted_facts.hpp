// Texts with facts planted in them, and questions at their end: rows that ask for what was said far behind.
#pragma once

#include <lolcats/core/rng.hpp>
#include <lolcats/data/dataset.hpp>
#include <lolcats/tensor/labels.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

struct PlantedFactsOptions {
  Index length = 2048;  // tokens per row
  Index facts = 4;      // per row
  std::uint64_t seed = 0;
};

namespace planted {

inline constexpr std::array<std::string_view, 16> names{"Marta", "Oleg",  "Priya",  "Chen",  "Fatima", "Jonas", "Keiko", "Luis",
                                                        "Nadia", "Tomas", "Ingrid", "Kwame", "Aisha",  "Pavel", "Rosa",  "Erik"};
inline constexpr std::array<std::string_view, 12> things{"code",   "password", "locker number", "account number", "phone number",  "secret word",
                                                         "ticket", "room",     "combination",   "serial number",  "favourite city", "pet's name"};
inline constexpr std::array<std::string_view, 24> words{"amber", "basil", "cobalt", "dune",   "ember", "fjord", "garnet",  "heron",
                                                        "indigo", "jasper", "karst", "lotus",  "maple", "nectar", "onyx",    "pearl",
                                                        "quartz", "raven", "saffron", "tundra", "umber", "violet", "willow", "zephyr"};
/// What stands in front of and behind "Marta's code is 4711" in a text.
inline constexpr std::array<std::pair<std::string_view, std::string_view>, 4> wordings{
    {{" ", ". "}, {"\n", ".\n"}, {" Note that ", "; do not forget it. "}, {" By the way, ", ". "}}};

/// "Marta's code" and "4711": a number of three to five digits, or one to three words.
struct Fact {
  std::string about, value;
};

inline Fact fact(Rng& rng) {
  const auto of = [&rng](const auto& list) { return std::string(list[rng.below(list.size())]); };
  Fact fact{of(names), {}};
  fact.about += "'s " + of(things);
  if (rng.uniform() < 0.6) {
    std::uint64_t least = 100;
    for (std::uint64_t more = rng.below(3); more > 0; --more) least *= 10;
    fact.value = std::to_string(least + rng.below(9 * least));
  } else {
    fact.value = of(words);
    for (std::uint64_t more = rng.below(3); more > 0; --more) fact.value += " " + of(words);
  }
  return fact;
}

}  // namespace planted

/// Row `row` of `seed`: text, rows of `texts` at random one behind the other, with `facts` facts at random places of its first
/// seven eighths ("Note that Marta's code is 4711; do not forget it."), and at the end a question and an answer for each, in random
/// order ("Question: What is Marta's code? Answer: Marta's code is 4711.").  Only the answers' values are labelled; a value has the
/// same tokens in both places.  A function of texts, tokenizer, options and row.
/// Errors: ConfigError where facts and questions take more than half of a row or there are too many; DataError without texts,
/// and for words that the tokenizer cannot spell.
inline Row planted_row(const DataSet& texts, const Tokenizer& tokenizer, std::uint64_t row,
                       const PlantedFactsOptions& options = {}) {
  require<DataError>(texts.size() > 0, "planted_row: no texts to plant facts in");
  constexpr auto most = static_cast<Index>(planted::names.size());
  require<ConfigError>(options.facts > 0 && options.facts <= most, "planted_row: {} facts, expected 1 to {}", options.facts, most);
  Rng rng(options.seed, row);
  const auto count = static_cast<std::size_t>(options.facts);
  std::vector<planted::Fact> facts;
  while (facts.size() < count) {
    planted::Fact fact = planted::fact(rng);
    if (std::ranges::none_of(facts, [&](const auto& other) { return other.about == fact.about; })) facts.push_back(std::move(fact));
  }

  const auto add = [&tokenizer](Row& to, std::string_view text, bool labelled = false) {
    const std::vector<Index> tokens = tokenizer.encode(text, false);
    to.tokens.insert(to.tokens.end(), tokens.begin(), tokens.end());
    if (labelled) to.labels.insert(to.labels.end(), tokens.begin(), tokens.end());
    to.labels.resize(to.tokens.size(), ignored_label);
  };
  std::vector<Row> statements(count);
  Row questions;
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < count; ++i) {
    const auto [before, behind] = planted::wordings[rng.below(planted::wordings.size())];
    add(statements[i], std::string(before) + facts[i].about + " is");
    add(statements[i], " " + facts[i].value);
    add(statements[i], behind);
    order.insert(order.begin() + static_cast<std::ptrdiff_t>(rng.below(i + 1)), i);
  }
  for (const std::size_t i : order) {
    add(questions, "\nQuestion: What is " + facts[i].about + "? Answer: " + facts[i].about + " is");
    add(questions, " " + facts[i].value, true);
    add(questions, ".");
  }
  std::size_t taken = questions.tokens.size();
  for (const Row& statement : statements) taken += statement.tokens.size();
  const Index room = options.length - static_cast<Index>(taken);
  require<ConfigError>(2 * room >= options.length, "planted_row: {} facts and their questions take {} tokens, more than half of a row of {}; "
                       "use longer rows", options.facts, taken, options.length);

  std::vector<Index> text;
  while (static_cast<Index>(text.size()) < room) {
    const Row more = texts[static_cast<Index>(rng.below(static_cast<std::uint64_t>(texts.size())))];
    text.insert(text.end(), more.tokens.begin(), more.tokens.end());
  }
  std::vector<Index> places;
  for (std::size_t i = 0; i < count; ++i) {
    places.push_back(static_cast<Index>(rng.below(static_cast<std::uint64_t>(room - room / 8))));
  }
  std::ranges::sort(places);
  Row result;
  result.starts = {0};
  const auto append = [&](auto first, auto last) { result.tokens.insert(result.tokens.end(), first, last); };
  Index at = 0;
  for (std::size_t i = 0; i < count; ++i) {
    append(text.begin() + at, text.begin() + places[i]);
    append(statements[i].tokens.begin(), statements[i].tokens.end());
    at = places[i];
  }
  append(text.begin() + at, text.begin() + room);
  result.labels.assign(result.tokens.size(), ignored_label);
  append(questions.tokens.begin(), questions.tokens.end());
  result.labels.insert(result.labels.end(), questions.labels.begin(), questions.labels.end());
  return result;
}

/// Rows [first, first + count), see planted_row.
inline DataSet planted_facts(const DataSet& texts, const Tokenizer& tokenizer, Index first, Index count,
                             const PlantedFactsOptions& options = {}) {
  require<ConfigError>(first >= 0 && count >= 0, "planted_facts: {} rows from {} on", count, first);
  std::vector<Row> rows;
  for (Index i = 0; i < count; ++i) {
    rows.push_back(planted_row(texts, tokenizer, static_cast<std::uint64_t>(first + i), options));
  }
  return DataSet(std::move(rows));
}

}  // namespace lolcats
