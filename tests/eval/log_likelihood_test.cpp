#include "../train/tiny_llama.hpp"

#include <lolcats/eval/log_likelihood.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>

#include <doctest/doctest.h>

#include <cmath>

#ifdef _OPENMP
#include <omp.h>
#endif

using namespace lolcats;

namespace {

/// Log-likelihood and greediness by the whole logits of one sequence at a time.
template <class Model>
Likelihood plain_likelihood(Model& model, const Continuation& request) {
  std::vector<Index> text = request.context;
  text.insert(text.end(), request.continuation.begin(), request.continuation.end());
  const Sequences sequences = Sequences::rectangular(1, static_cast<Index>(text.size()));
  Tape<Cpu<double>> tape;
  const auto logits = model.logits(tape, text, sequences).value();
  Likelihood result{0, true};
  for (std::size_t i = request.context.size(); i < text.size(); ++i) {
    const double* row = logits.data + static_cast<Index>(i - 1) * logits.cols();
    double total = 0;
    bool best = true;
    for (Index v = 0; v < logits.cols(); ++v) {
      total += std::exp(row[v]);
      best = best && row[v] <= row[text[i]];
    }
    result.log_likelihood += row[text[i]] - std::log(total);
    result.greedy = result.greedy && best;
  }
  return result;
}

Index some_token(std::uint64_t i) { return static_cast<Index>(mix_bits(i) % 19); }

std::vector<Index> some_tokens(std::uint64_t seed, Index count) {
  std::vector<Index> tokens;
  for (Index i = 0; i < count; ++i) tokens.push_back(some_token(seed * 1000 + static_cast<std::uint64_t>(i)));
  return tokens;
}

/// Questions of all sorts: contexts of 1 to 20 tokens that 1 to 4 continuations share, some of one token, some that
/// begin others, twice the same, and a context that begins another text.
std::vector<Continuation> questions() {
  std::vector<Continuation> list;
  for (std::uint64_t q = 0; q < 9; ++q) {
    const auto context = some_tokens(q, 1 + static_cast<Index>(q * 19 / 8));
    for (std::uint64_t c = 0; c < 1 + q % 4; ++c) {
      list.push_back({context, some_tokens(100 + 10 * q + c, 1 + static_cast<Index>((q + 2 * c) % 5))});
    }
  }
  list.push_back(list[5]);
  list.push_back({list[5].context, {list[5].continuation.front()}});
  list.push_back({list[5].context, list[5].continuation});
  list.back().continuation.push_back(3);
  list.push_back({{list.back().context.front()}, {7}});
  for (Index v = 0; v < 19; ++v) list.push_back({some_tokens(77, 12), {v}});
  return list;
}

using LinearStudent = Llama<Cpu<double>, Linear<Hedgehog<4>>>;
using HybridStudent = Llama<Cpu<double>, Hybrid<Hedgehog<4>, Terraced<4>>>;

}  // namespace

TEST_CASE_TEMPLATE("log_likelihoods: against whole logits, contexts read once or for each, alone and in batches", Model,
                   tiny::Teacher, LinearStudent, HybridStudent) {
  auto model = tiny::student<Model>(2);
  LanguageModelOf<Model> scored(model);
  const auto list = questions();
  std::vector<Likelihood> want;
  bool some_greedy = false, some_not = false;
  for (const auto& request : list) {
    want.push_back(plain_likelihood(model, request));
    (want.back().greedy ? some_greedy : some_not) = true;
  }
  REQUIRE(some_greedy);
  REQUIRE(some_not);
  for (const Index shared_from : {Index{0}, Index{8}, Index{1000}}) {
    for (const Index budget : {Index{1}, Index{37}, Index{100000}}) {
      CAPTURE(shared_from);
      CAPTURE(budget);
      ReadingCost cost;
      Index done = 0;
      ReadingOptions options{.batch_tokens = budget, .shared_from = shared_from, .greedy = true};
      options.progress = [&](Index now, Index total) {
        CHECK(now > done);
        CHECK(total == static_cast<Index>(list.size()));
        done = now;
      };
      const auto got = log_likelihoods(scored, list, options, &cost);
      CHECK(done == static_cast<Index>(list.size()));
      REQUIRE(got.size() == list.size());
      for (std::size_t i = 0; i < list.size(); ++i) {
        CAPTURE(i);
        CHECK(got[i].log_likelihood == doctest::Approx(want[i].log_likelihood).epsilon(1e-11));
        CHECK(got[i].greedy == want[i].greedy);
      }
      if (budget == 100000) CHECK(cost.passes == (shared_from == 1000 ? 1 : 3));
    }
  }
}

TEST_CASE("log_likelihoods: what is read, by hand") {
  auto model = tiny::teacher(1);
  LanguageModelOf<tiny::Teacher> scored(model);
  // One context of 10 tokens: continuations of one token need nothing else.
  std::vector<Continuation> list;
  for (Index v = 0; v < 4; ++v) list.push_back({some_tokens(1, 10), {v}});
  ReadingCost cost;
  log_likelihoods(scored, list, {.shared_from = 0}, &cost);
  CHECK(cost.passes == 1);
  CHECK(cost.tokens == 10);
  // Of three tokens: two more each; without sharing the context anew for each.
  for (auto& request : list) request.continuation.insert(request.continuation.end(), {5, 6});
  log_likelihoods(scored, list, {.shared_from = 10}, &cost);
  CHECK(cost.tokens == 10 + 4 * 2);
  CHECK(cost.passes == 2);
  log_likelihoods(scored, list, {.shared_from = 11}, &cost);
  CHECK(cost.tokens == 4 * 12);
  CHECK(cost.passes == 1);
  log_likelihoods(scored, list, {.batch_tokens = 24, .shared_from = 11}, &cost);
  CHECK(cost.passes == 2);  // two texts fill a batch
  CHECK_FALSE(log_likelihoods(scored, list)[0].greedy);  // not asked for
}

#ifdef _OPENMP
TEST_CASE("log_likelihoods: the same bits on one thread and on several") {
  auto model = tiny::student<HybridStudent>(2);
  LanguageModelOf<HybridStudent> scored(model);
  const auto list = questions();
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto one = log_likelihoods(scored, list, {.batch_tokens = 64});
  omp_set_num_threads(4);
  const auto four = log_likelihoods(scored, list, {.batch_tokens = 64});
  omp_set_num_threads(before);
  for (std::size_t i = 0; i < list.size(); ++i) CHECK(one[i].log_likelihood == four[i].log_likelihood);
}
#endif

TEST_CASE("LanguageModelOf: a pass over the layers is that of the model, bit for bit") {
  auto model = tiny::student<HybridStudent>(3);
  LanguageModelOf<HybridStudent> scored(model);
  CHECK(scored.name() == HybridStudent::name());
  CHECK(scored.config().layers == 3);
  ScoringBatch batch{.tokens = some_tokens(3, 40), .lengths = {25, 15}};
  for (Index i = 0; i < 40; ++i) batch.targets.push_back({39 - i, some_token(static_cast<std::uint64_t>(i))});
  const auto got = scored.score(batch);
  Tape<Cpu<double>> tape;
  const typename Tape<Cpu<double>>::NoGradient quiet(tape);
  const Sequences sequences(40, {{0, 25, 0}, {25, 15, 0}});
  std::vector<Index> labels(40);
  for (const NextToken& target : batch.targets) labels[static_cast<std::size_t>(target.row)] = target.token;
  const auto losses =
      token_losses(tape, model.hidden(tape, batch.tokens, sequences).value(), model.head().value, labels);
  for (std::size_t i = 0; i < 40; ++i) CHECK(got[i].log_likelihood == -losses.data[39 - i]);
}

TEST_CASE("LanguageModelOf: contexts are kept as they are, whoever goes on behind them") {
  auto model = tiny::teacher(2);
  LanguageModelOf<tiny::Teacher> scored(model);
  CHECK_THROWS_AS(scored.score({.tokens = {1}, .lengths = {1}, .contexts = {0}}), ShapeError);
  scored.read_contexts({.tokens = some_tokens(1, 9), .lengths = {5, 4}});
  const ScoringBatch twice{.tokens = {4, 2, 4, 2}, .lengths = {2, 2}, .contexts = {1, 1}, .targets = {{1, 3}, {3, 3}}};
  const auto first = scored.score(twice), second = scored.score(twice);
  CHECK(first[0].log_likelihood == first[1].log_likelihood);
  CHECK(first[0].log_likelihood == second[1].log_likelihood);
  CHECK_THROWS_AS(scored.score({.tokens = {1}, .lengths = {1}, .contexts = {2}}), ShapeError);
  CHECK_THROWS_AS(scored.score({.tokens = {1, 2}, .lengths = {1}}), ShapeError);
  CHECK_THROWS_AS(scored.score({.tokens = {19}, .lengths = {1}}), DataError);
  CHECK_THROWS_AS(scored.score({.tokens = {1}, .lengths = {1}, .targets = {{0, 19}}}), DataError);
  CHECK_THROWS_AS(scored.score({.tokens = {1}, .lengths = {1}, .targets = {{1, 1}}}), DataError);
}

TEST_CASE("log_likelihoods: what cannot be scored") {
  auto model = tiny::teacher(1);
  LanguageModelOf<tiny::Teacher> scored(model);
  CHECK(log_likelihoods(scored, {}).empty());
  const std::vector<Continuation> no_context = {{{}, {1}}}, nothing = {{{1}, {}}};
  CHECK_THROWS_AS(log_likelihoods(scored, no_context), DataError);
  CHECK_THROWS_AS(log_likelihoods(scored, nothing), DataError);
}
