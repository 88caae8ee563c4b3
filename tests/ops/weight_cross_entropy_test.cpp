// Cross-entropy of attention weights on the CPU against N x N loops.
#include "weight_cross_entropy/check.hpp"

#include <lolcats/ops/weight_cross_entropy/eigen.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/random.hpp>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE("the plain loss is the cross-entropy of log-weights, and its gradient is its derivative") {
  const std::vector<double> teacher{1, 0, 0, 0.25, 0.75, 0, 0.2, 0.3, 0.5},
      student{1, 0, 0, 0.6, 0.4, 0, 0.1, 1e-14, 0.9};
  const double floor = 1e-12;
  const auto loss = [&](const std::vector<double>& a) { return naive::weight_cross_entropy(1, 3, teacher, a, floor); };
  // By hand: the first row is certain; the others are -sum t log a, up to the floor's share in the denominator.
  const double want =
      -0.25 * std::log(0.6) - 0.75 * std::log(0.4) - 0.2 * std::log(0.1) - 0.3 * std::log(floor) - 0.5 * std::log(0.9);
  CHECK(loss(student) == doctest::Approx(want).epsilon(1e-10));
  const auto gradient = naive::weight_cross_entropy_gradient(1, 3, teacher, student, floor);
  for (std::size_t i = 0; i < student.size(); ++i) {
    auto up = student, down = student;
    up[i] += 1e-6;
    down[i] -= 1e-6;
    if (student[i] > floor)
      CHECK(gradient[i] == doctest::Approx((loss(up) - loss(down)) / 2e-6).epsilon(1e-5));
    else
      CHECK(gradient[i] == 0);
  }
}

TEST_CASE_TEMPLATE("value and gradients", B, Cpu<double>, Cpu<float>) {
  constexpr bool exact = std::is_same_v<B, Cpu<double>>;
  const double tolerance = exact ? 1e-12 : 1e-5, gradient = exact ? 1e-8 : 2e-4;
  const Sequences ragged(83, {{2, 70, 0}, {75, 7, 0}});
  using A = Hybrid<Hedgehog<dynamic>, Sliding<>, Affine>;
  weight_entropy::check<A, B>(Sliding<>(9), {4, 2, 6}, ragged, unlimited, tolerance, gradient);
  weight_entropy::check<A, B>(Sliding<>(9), {4, 4, 3}, ragged, 20, tolerance, gradient);
  using PerGroup = Hybrid<Biased<HedgehogHalf<5>>, Terraced<8>, KeyMapsPerGroup>;
  weight_entropy::check<PerGroup, B>({}, {4, 2, 8}, ragged, unlimited, tolerance, gradient);
  weight_entropy::check<Linear<EluPlusOne<3>>, B>({}, {2, 1, 8}, ragged, unlimited, tolerance, gradient);
}

/// Features that vanish altogether, so that some far weights are exactly zero.
struct BareRelu : Relu<2> {
  static constexpr bool clamped = false;
  static std::string name() { return "bare_relu"; }
};

// Only here do the weights above the floor not sum to what the teacher has there.  The loss has a kink at every weight that
// starts to exist, so maps stay frozen.
TEST_CASE("weights below the floor") {
  const Sequences ragged(83, {{2, 70, 0}, {75, 7, 0}});
  weight_entropy::check<Hybrid<BareRelu, Sliding<>>, Cpu<double>>(Sliding<>(9), {4, 2, 6}, ragged, unlimited, 1e-11,
                                                                  1e-7, false);
}

TEST_CASE("a weight below the floor still takes from the others, and its map learns of that") {
  using B = Cpu<double>;
  using A = Hybrid<Relu<1>, Sliding<4>>;
  constexpr Index tokens = 8;
  std::vector<double> ones, keys;
  for (Index i = 0; i < tokens; ++i) {
    ones.insert(ones.end(), {1.0, 0.0});
    keys.insert(keys.end(), {0.5, 0.0});
  }
  const auto q = array<B>(Shape{tokens, 2}, ones), k = array<B>(Shape{tokens, 2}, keys),
             key_map = array<B>(Shape{1, 2, 1}, {1.0, 0.0}), factors = array<B>(Shape{1}, {0.0});
  // Features of 2e-12 and 0.5: p is 1e-12 for far keys and gamma = 1/2 for each of the four near ones, so a is 5e-13.
  Parameter<B> query_map(array<B>(Shape{1, 2, 1}, {2e-12, 0.0}));
  query_map.train({});
  Tape<B> tape;
  AttentionWeights<B> weights;
  weights.query_map = query_map;
  weights.key_map = {key_map.view(), {}};
  weights.window_factors = {factors.view(), {}};
  const Sequences sequences = Sequences::rectangular(1, tokens);
  tape.backward(weight_cross_entropy<A>(tape, tape.constant(q.view()), tape.constant(k.view()), sequences, Heads{1, 1, 2},
                                        weights, {}, Sliding<>(unlimited), 1.0));
  // log max(a, floor) does not move; the sum of all p, 2, does: dL/dp = -sum over near keys of (1 / Z - t / a) a / 2, with
  // Z = 1 and t = 1 / (n + 1).
  double want = 0;
  for (Index n = 4; n < tokens; ++n) want -= static_cast<double>(n - 3) * 0.5 * (1 - 4.0 / static_cast<double>(n + 1)) / 2;
  CHECK(close(std::vector{want, 0.0}, query_map.gradient(), 1e-9));
}

using WithSinks = Hybrid<EluPlusOne<3>, Sinks<1, Sliding<4>>>;
using WithGate = Hybrid<EluPlusOne<3>, Sliding<4>, Decay<RetentionGate>>;
using WithCache = Hybrid<EluPlusOne<3>, Sliding<4>, Kept<2, RecallError>>;
TEST_CASE_TEMPLATE("sinks, a gate and a cache have weights that it does not know", A, WithSinks, WithGate, WithCache) {
  using B = Cpu<double>;
  const auto c = lolcats::testing::random_attention_case<A>({}, {1, 1, 4}, Sequences::rectangular(1, 12), 1);
  lolcats::testing::AttentionArguments<B, A> arguments(c, {false, false, false});
  Tape<B> tape;
  const Var<B> q = arguments.var(tape, "q"), k = arguments.var(tape, "k");
  CHECK_THROWS_WITH_AS(
      weight_cross_entropy<A>(tape, q, k, c.sequences, c.heads, arguments.weights(tape), {}, Sliding<>(unlimited), 1.0),
      doctest::Contains((A::name() + " has sinks, a gate or a cache").c_str()), ConfigError);
}

TEST_CASE("wanting a gradient of q or k is an error") {
  using B = Cpu<double>;
  using A = Linear<EluPlusOne<3>>;
  const auto c = lolcats::testing::random_attention_case<A>({}, {1, 1, 4}, Sequences::rectangular(1, 5), 1);
  lolcats::testing::AttentionArguments<B, A> arguments(c, {true, true, true});
  Tape<B> tape;
  const Var<B> q = arguments.var(tape, "q"), k = arguments.var(tape, "k");
  CHECK_THROWS_AS(
      weight_cross_entropy<A>(tape, q, k, c.sequences, c.heads, arguments.weights(tape), {}, Sliding<>(unlimited), 1.0),
      Error);
}
