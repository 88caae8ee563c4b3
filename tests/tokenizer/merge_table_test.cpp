#include <doctest/doctest.h>
#include <lolcats/core/rng.hpp>
#include <lolcats/tokenizer/merge_table.hpp>

#include <chrono>
#include <map>
#include <utility>
#include <vector>

namespace {

using lolcats::MergeTable;
using Token = MergeTable::Token;
using Rules = std::map<std::pair<Token, Token>, std::pair<std::uint32_t, Token>>;  // by pair: rank, merged

/// Each round looks at every pair.
std::vector<Token> merge_by_rounds(std::vector<Token> tokens, const Rules& rules) {
  while (true) {
    std::size_t where = tokens.size();
    std::uint32_t best = 0;
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      const auto found = rules.find({tokens[i], tokens[i + 1]});
      if (found == rules.end() || (where < tokens.size() && found->second.first >= best)) continue;
      where = i;
      best = found->second.first;
    }
    if (where == tokens.size()) return tokens;
    tokens[where] = rules.at({tokens[where], tokens[where + 1]}).second;
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
}

}  // namespace

TEST_CASE("merging is what the plain loop does, for short words and long ones") {
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    lolcats::Rng rng(seed);
    const std::size_t letters = 2 + rng.below(4);
    Rules rules;
    MergeTable table;
    auto next = static_cast<Token>(letters);
    for (std::uint32_t rank = 0, count = static_cast<std::uint32_t>(rng.below(40)); rank < count; ++rank) {
      const std::pair pair{static_cast<Token>(rng.below(static_cast<std::uint64_t>(next))),
                           static_cast<Token>(rng.below(static_cast<std::uint64_t>(next)))};
      const std::uint32_t shown = rng.below(4) == 0 ? rank / 4 : rank;  // some ranks tie
      rules[pair] = {shown, next};                                      // a pair given twice: the later one counts
      table.add(pair.first, pair.second, shown, next++);
    }
    CHECK(table.size() == rules.size());
    std::vector<Token> word(1 + rng.below(120));
    for (Token& token : word) token = static_cast<Token>(rng.below(letters));
    const std::vector<Token> want = merge_by_rounds(word, rules);
    table.merge(word);
    CAPTURE(seed);
    CHECK(word == want);
  }
}

TEST_CASE("a table's fingerprint knows pairs and ranks, not the order of adding") {
  MergeTable one, other, third;
  one.add(1, 2, 0, 3);
  one.add(2, 1, 1, 4);
  other.add(2, 1, 1, 4);
  other.add(1, 2, 0, 3);
  third.add(1, 2, 1, 3);
  third.add(2, 1, 0, 4);
  CHECK(one.fingerprint() == other.fingerprint());
  CHECK(one.fingerprint() != third.fingerprint());
  CHECK(one.fingerprint() != MergeTable().fingerprint());
}

TEST_CASE("a long run of one letter takes n log n") {
  MergeTable table;
  for (Token t = 0; t < 4; ++t) table.add(t, t, static_cast<std::uint32_t>(t), t + 1);  // a, aa, aaaa, ...
  std::vector<Token> word(1 << 20, 0);
  const auto start = std::chrono::steady_clock::now();
  table.merge(word);
  CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 20);  // quadratic: hours
  CHECK(word == std::vector<Token>(1 << 16, 4));
}
