#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/policy/feature_map/modifiers.hpp>
#include <lolcats/policy/feature_map/relu.hpp>
#include <lolcats/testing/attention_suite.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

// Widths are given at run time: one kernel, many windows.

TEST_CASE("sliding windows, in double and float") {
  using SlidingHybrid = Hybrid<Hedgehog<dynamic>, Sliding<>>;
  check_attention<SlidingHybrid>(Sliding<>(8));
  for (const Index width : {1, 5, 64, 100, 1000}) {
    check_attention_against_reference<SlidingHybrid>(Sliding<>(width), {.sizes = {3}}, 1e-11, 1e-8);
    check_attention_steps<SlidingHybrid>(Sliding<>(width), {});
  }
  check_attention_endless_window<SlidingHybrid>(Sliding<>(64), {});
}

// A row of a tile meets its near keys by blocks of 128: what an earlier block left is rescaled by a larger score of a
// later one, whose place counts from the start of the sequence.
TEST_CASE("windows of more than a block of keys") {
  const AttentionSuite suite{.lengths = {257, 400}, .sizes = {3}};
  for (const Index width : {150, 200}) {
    check_attention_against_reference<Hybrid<Hedgehog<dynamic>, Sliding<>>>(Sliding<>(width), suite, 1e-11, 1e-8);
    check_attention_against_reference<Hybrid<T2R<dynamic>, Terraced<>, Affine>>(Terraced<>(width), suite, 1e-11, 1e-8);
  }
}

TEST_CASE("terraced windows of two tiles, far keys weighing 1 - gamma") {
  using TerracedHybrid = Hybrid<T2R<dynamic>, Terraced<>, Affine>;
  check_attention<TerracedHybrid, false>(Terraced<>(5));
  for (const Index width : {1, 32, 64, 100}) {
    check_attention_against_reference<TerracedHybrid>(Terraced<>(width), {.sizes = {3}}, 1e-11, 1e-8);
    check_attention_steps<TerracedHybrid>(Terraced<>(width), {});
  }
  check_attention_endless_window<TerracedHybrid>(Terraced<>(32), {});
}

TEST_CASE("terraced windows of one tile, one key map per key/value head") {
  using Paper = Hybrid<Biased<Hedgehog<3>, Bias::head>, Terraced<8, 1>, KeyMapsPerGroup>;
  check_attention<Paper, false>();
}

TEST_CASE("the gradient of a weight is the sum of what each sequence has for it, bit for bit") {
  using B = Cpu<float>;
  using A = Hybrid<Hedgehog<4>, Sliding<5>>;
  const Sequences both(350, {{0, 150, 0}, {150, 200, 0}});
  const auto c = random_attention_case<A>({}, {2, 1, 4}, both, 5);
  const auto of = [&](const char* name) { return array<B>(c.shapes().at(name), c.in.at(name)); };
  const auto gradients = [&](const std::vector<Sequences>& passes) {
    Parameter<B> query(of("query_map")), key(of("key_map")), factors(of("window_factors"));
    const auto q = of("q"), k = of("k"), v = of("v");
    for (Parameter<B>* each : {&query, &key, &factors}) each->train({});
    for (const Sequences& sequences : passes) {
      Tape<B> tape;
      const auto y = attention<A>(tape, tape.constant(q.view()), tape.constant(k.view()), tape.constant(v.view()),
                                  sequences, c.heads, {query, {}, key, {}, factors}, c.window);
      tape.backend().from_host(c.in.at("dy").data(), y.sink().gradient.data, y.value().size());
      tape.replay(0);
    }
    std::vector<double> all;
    for (Parameter<B>* each : {&query, &key, &factors}) {
      const auto some = as_doubles(each->gradient());
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  };
  CHECK(same(gradients({Sequences(350, {{0, 150, 0}}), Sequences(350, {{150, 200, 0}})}), gradients({both})));
}
