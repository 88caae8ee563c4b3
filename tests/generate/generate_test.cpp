#include "../train/tiny_llama.hpp"

#include <lolcats/generate/generate.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

using namespace lolcats;

namespace {

using Map = Hedgehog<2>;
template <class A>
using Model = Llama<Cpu<double>, A>;
using Rows = std::vector<std::vector<double>>;

// Sums over at most 1000 keys in another order, through two layers.
constexpr double tolerance = 1e-10;

template <class A>
Model<A> model() {
  return tiny::student<Model<A>>(2);
}

std::vector<Index> tokens(Index count, std::uint64_t seed = 3) {
  Rng rng(seed);
  std::vector<Index> list;
  for (Index i = 0; i < count; ++i) list.push_back(static_cast<Index>(rng.below(19)));
  return list;
}

/// The logits of one pass over the whole sequence.
template <class M>
Rows whole_pass(M& m, const std::vector<Index>& text) {
  const Sequences sequences = Sequences::rectangular(1, static_cast<Index>(text.size()));
  Tape<Cpu<double>> tape;
  const auto logits = m.logits(tape, text, sequences).value();
  Rows rows;
  for (Index i = 0; i < logits.rows(); ++i) {
    rows.emplace_back(logits.data + i * logits.cols(), logits.data + (i + 1) * logits.cols());
  }
  return rows;
}

/// The largest difference relative to the largest logit.
double difference(const std::vector<double>& got, const std::vector<double>& want) {
  REQUIRE(got.size() == want.size());
  double gap = 0, size = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    gap = std::max(gap, std::abs(got[i] - want[i]));
    size = std::max(size, std::abs(want[i]));
  }
  return gap / size;
}

std::vector<Index> part(const std::vector<Index>& text, std::size_t first, std::size_t last) {
  return {text.begin() + static_cast<std::ptrdiff_t>(first), text.begin() + static_cast<std::ptrdiff_t>(last)};
}

}  // namespace

#define ATTENTIONS \
  Softmax<>, Hybrid<Map, Sliding<64>>, Hybrid<Map, Terraced<64, 1>>, Hybrid<Map, Terraced<64>>, Linear<Map>

TEST_CASE_TEMPLATE("generate: decoding, prefill and chunked prefill give the logits of one pass", A, ATTENTIONS) {
  CAPTURE(std::string(A::name()));
  auto m = model<A>();
  const auto text = tokens(1000);

  Rows decoded;
  Reader<Model<A>> reader(m, 1);
  for (const Index token : text) decoded.push_back(reader.read({{token}}).front());
  CHECK(reader.state().length(0) == 1000);

  Rng rng(17);
  for (const std::size_t length : {1, 63, 64, 65, 127, 128, 129, 1000}) {
    CAPTURE(length);
    const auto want = whole_pass(m, part(text, 0, length));
    double worst = 0;
    for (std::size_t i = 0; i < length; ++i) worst = std::max(worst, difference(decoded[i], want[i]));
    CHECK(worst < tolerance);

    Reader<Model<A>> prefilled(m, 1);
    CHECK(difference(prefilled.read({part(text, 0, length)}).front(), want.back()) < tolerance);
    Reader<Model<A>> chunked(m, 1, 48);
    CHECK(difference(chunked.read({part(text, 0, length)}).front(), want.back()) < tolerance);
    // Any split, and decoding behind it.
    Reader<Model<A>> split(m, 1);
    for (std::size_t at = 0; at < length;) {
      const std::size_t next = std::min<std::size_t>(length, at + 1 + rng.below(rng.below(2) ? 3 : 150));
      CHECK(difference(split.read({part(text, at, next)}).front(), want[next - 1]) < tolerance);
      at = next;
    }
    if (length < text.size()) {
      CHECK(difference(prefilled.read({{text[length]}}).front(), decoded[length]) < tolerance);
      CHECK(difference(split.read({{text[length]}}).front(), decoded[length]) < tolerance);
    }
  }
}

TEST_CASE_TEMPLATE("generate: a ragged batch reads what each sequence reads alone", A, Softmax<>,
                   Hybrid<Map, Terraced<64>>) {
  auto m = model<A>();
  // The last is as long as a chunk: where the others go on, there is nothing left of it.
  const TokenLists prompts = {tokens(1, 1), tokens(131, 2), tokens(70, 3), tokens(64, 4), tokens(50, 7)};
  Reader<Model<A>> reader(m, 5, 50);
  const Rows together = reader.read(prompts);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    CHECK(difference(together[i], whole_pass(m, prompts[i]).back()) < tolerance);
    CHECK(reader.state().length(static_cast<Index>(i)) == static_cast<Index>(prompts[i].size()));
  }
  // Some sequences go on, in another order, by different numbers of tokens.
  const TokenLists more = {tokens(3, 5), tokens(80, 6)};
  const std::vector<Index> chosen = {3, 0};
  const Rows next = reader.read(more, chosen);
  for (std::size_t i = 0; i < 2; ++i) {
    auto text = prompts[static_cast<std::size_t>(chosen[i])];
    text.insert(text.end(), more[i].begin(), more[i].end());
    CHECK(difference(next[i], whole_pass(m, text).back()) < tolerance);
  }
  CHECK(reader.state().length(1) == 131);
  CHECK(reader.state().length(0) == 81);
}

TEST_CASE("generate: the state of a bounded window does not grow, a cache does") {
  const auto bytes = [](auto m, Index count) {
    Reader<decltype(m)> reader(m, 2);
    for (Index i = 0; i < count; ++i) reader.read({{i % 19}, {(i * 7) % 19}});
    return reader.state().bytes();
  };
  CHECK(bytes(model<Hybrid<Map, Terraced<64>>>(), 200) == bytes(model<Hybrid<Map, Terraced<64>>>(), 450));
  CHECK(bytes(model<Linear<Map>>(), 200) == bytes(model<Linear<Map>>(), 450));
  CHECK(bytes(model<Softmax<>>(), 450) > bytes(model<Softmax<>>(), 200));
}

TEST_CASE("generate: greedy text follows the whole pass, alone and in a batch") {
  using A = Hybrid<Map, Terraced<64>>;
  auto m = model<A>();
  const TokenLists prompts = {tokens(5, 1), tokens(90, 2), tokens(1, 3)};
  const GenerationOptions options{.max_tokens = 70, .chunk = 32};
  const auto batch = generate(m, prompts, options);
  CHECK(batch.state_bytes > 0);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    REQUIRE(batch.tokens[i].size() == 70);
    auto text = prompts[i];
    text.insert(text.end(), batch.tokens[i].begin(), batch.tokens[i].end());
    const auto logits = whole_pass(m, text);
    for (std::size_t j = 0; j < 70; ++j) {
      const auto& row = logits[prompts[i].size() - 1 + j];
      CHECK(std::max_element(row.begin(), row.end()) - row.begin() == batch.tokens[i][j]);
    }
    CHECK(generate(m, {prompts[i]}, options).tokens[0] == batch.tokens[i]);
  }
}

TEST_CASE("generate: sampling depends on the seed and not on the company") {
  auto m = model<Softmax<>>();
  GenerationOptions options{.max_tokens = 40, .sampler = {.temperature = 1, .seed = 9}};
  const TokenLists prompts = {tokens(5, 1), tokens(9, 2)};
  const auto both = generate(m, prompts, options);
  CHECK(generate(m, prompts, options).tokens == both.tokens);
  CHECK(generate(m, {prompts[0]}, options).tokens[0] == both.tokens[0]);
  options.sampler.seed = 10;
  CHECK(generate(m, prompts, options).tokens != both.tokens);
}

TEST_CASE("generate: stop tokens, limits and the callback end a sequence") {
  auto m = model<Softmax<>>();
  const TokenLists prompts = {tokens(5, 1), tokens(9, 2)};
  const GenerationOptions sampled{.max_tokens = 60, .sampler = {.temperature = 2, .seed = 4}};
  const auto full = generate(m, prompts, sampled).tokens;
  GenerationOptions stopping = sampled;
  stopping.stop = {full[0][20], full[1][7]};
  const auto stopped = generate(m, prompts, stopping).tokens;
  for (std::size_t i = 0; i < 2; ++i) {
    const auto end = std::find_first_of(full[i].begin(), full[i].end(), stopping.stop.begin(), stopping.stop.end());
    CHECK(stopped[i] == std::vector<Index>(full[i].begin(), end));
  }

  std::vector<std::pair<Index, Index>> seen;
  const auto called = generate(m, prompts, sampled, [&](Index sequence, Index token) {
    seen.emplace_back(sequence, token);
    return !(sequence == 1 && seen.size() > 20);
  });
  CHECK(called.tokens[0] == full[0]);
  CHECK(called.tokens[1].size() == 11);
  CHECK(seen.size() == 71);
  CHECK(seen[0] == std::pair<Index, Index>{0, full[0][0]});

  CHECK(generate(m, prompts, {.max_tokens = 0}).tokens == TokenLists(2));
  CHECK(generate(m, prompts, {.max_tokens = 1}).tokens[1].size() == 1);
}

TEST_CASE("generate: bad prompts are errors and leave the state as it was") {
  auto m = model<Hybrid<Map, Terraced<64>>>();
  CHECK_THROWS_AS(generate(m, {}), DataError);
  CHECK_THROWS_AS(generate(m, {{1, 2}, {}}), DataError);
  CHECK_THROWS_AS(generate(m, {{1, 19}}), DataError);
  CHECK_THROWS_AS(generate(m, {{1, -1}}), DataError);
  CHECK_THROWS_AS(generate(m, {{1}}, {.max_tokens = -1}), ConfigError);

  Reader<decltype(m)> reader(m, 2);
  reader.read({{1, 2, 3}, {4}});
  CHECK_THROWS_AS(reader.read({{5}, {99}}), DataError);
  CHECK(reader.state().length(0) == 3);
  CHECK(difference(reader.read({{5}, {6}})[0], whole_pass(m, {1, 2, 3, 5}).back()) < tolerance);
  const std::vector<Index> twice = {0, 0}, outside = {2};
  CHECK_THROWS_AS(reader.read({{1}, {2}}, twice), ShapeError);
  CHECK_THROWS_AS(reader.read({{1}}, outside), ShapeError);
}
