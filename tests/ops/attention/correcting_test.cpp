// Attention beside a memory that corrects what it wrote, through the whole suite.
#include <lolcats/ops/attention/correcting.hpp>

#include <lolcats/ops/attention/eigen_weights.hpp>
#include <lolcats/ops/blend/eigen.hpp>
#include <lolcats/ops/delta_rule/eigen.hpp>
#include <lolcats/ops/feature_map/eigen.hpp>
#include <lolcats/ops/weight_cross_entropy/eigen.hpp>
#include <lolcats/policy/feature_map/elu.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/testing/attention_suite.hpp>

#include <cmath>

using namespace lolcats;
using lolcats::testing::check_attention;

namespace {
/// A rate of one's own: never more than a half, and from the keys.
struct CautiousRate {
  static constexpr GateInput input = GateInput::keys;
  static constexpr bool learned = true;
  static double start(Index, Index) { return 0; }
  static constexpr double log_decay(double z) { return -0.7 - 0.5 * z * z; }
  static constexpr double slope(double z) { return -z; }
  static std::string name() { return "cautious"; }
};

using Projected = Hybrid<Hedgehog<4>, Sinks<2, Sliding<5>>, DeltaRule<>>;
using Alone = Linear<Hedgehog<4>, DeltaRule<HeadRate>, KeyMapsPerGroup>;
using Whole = Hybrid<EluPlusOne<3>, Terraced<8>, SharedMaps, DeltaRule<NoGate>>;
using Cautious = Hybrid<Hedgehog<4>, Sliding<6>, KeyMapsPerGroup, DeltaRule<CautiousRate>>;
static_assert(corrects<DeltaRule<NoGate>> && !gated<DeltaRule<NoGate>> && !corrects<Decay<HeadGate>>);
static_assert(gated<DeltaRule<>> && !decays<DeltaRule<>> && decays<Decay<HeadGate>> && has_mixing<Projected> && !has_mixing<Alone>);
}  // namespace

TEST_CASE("delta rule: a projected rate, beside a window with sinks") { check_attention<Projected>(); }
TEST_CASE("delta rule: alone, a rate and a state per key/value head") { check_attention<Alone, false>(); }
TEST_CASE("delta rule: a rate of 1, shared maps, terraces") { check_attention<Whole, false>(); }
TEST_CASE("delta rule: a rate of one's own, maps of keys per group") { check_attention<Cautious, false>(); }

TEST_CASE("delta rule: what was written last is recalled, the same key's older value is not") {
  using B = Cpu<double>;
  using A = Linear<EluPlusOne<2>, DeltaRule<NoGate>>;
  // Two keys at right angles in turn, with other values each time; queries are the keys.
  const auto identity = testing::array<B>(Shape{1, 2, 2}, {1.0, 0.0, 0.0, 1.0});
  AttentionWeights<B> w;
  w.query_map = w.key_map = {identity.view(), {}};
  const auto q = testing::array<B>(Shape{4, 2}, {40, -40, -40, 40, 40, -40, -40, 40});  // features (41, 0) and (0, 41), but for 1e-18
  const auto v = testing::array<B>(Shape{4, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  Tape<B> tape;
  const auto x = tape.constant(View<const double>(q.view())), values = tape.constant(View<const double>(v.view()));
  const Sequences sequences = Sequences::rectangular(1, 4);
  CHECK(testing::close(testing::host(B{}, v.view()), attention<A>(tape, x, x, values, sequences, Heads{1, 1, 2}, w).value(), 1e-12));
}

TEST_CASE("delta rule: rates are sigmoids that start at a half") {
  const auto share = []<class R>(std::type_identity<R>, double z) { return std::exp(R::log_decay(R::start(0, 4) + z)); };
  for (const double z : {-2.0, 0.0, 1.5}) {
    CHECK(share(std::type_identity<ProjectedRate>{}, z) == doctest::Approx(1 / (1 + std::exp(-z))).epsilon(1e-14));
    CHECK(share(std::type_identity<HeadRate>{}, z) == doctest::Approx(1 / (1 + std::exp(-z))).epsilon(1e-14));
  }
}

TEST_CASE("delta rule: names, and what has no weights says so") {
  CHECK(Projected::name() == "hybrid<hedgehog<4>, sinks<2, sliding<5>>, delta<projected rate>>");
  CHECK(Alone::name() == "linear<hedgehog<4>, key maps per group, delta<rate per head>>");
  using B = Cpu<double>;
  const auto c = testing::random_attention_case<Projected>({}, {4, 2, 8}, Sequences::rectangular(1, 5), 3);
  testing::AttentionArguments<B, Projected> arguments(c, {false, false, false});
  Tape<B> tape;
  const Var<B> q = arguments.var(tape, "q"), k = arguments.var(tape, "k");
  const AttentionWeights<B> w = arguments.weights(tape);
  const std::string why = " has no attention weights, as its memory corrects what it wrote; expected one that sums";
  CHECK_THROWS_WITH_AS(visit_attention_weights<Projected>(B{}, q.value(), k.value(), c.sequences, c.heads, w, c.window, [](auto&&...) {}),
                       ("visit_attention_weights: " + Projected::name() + why).c_str(), ConfigError);
  CHECK_THROWS_WITH_AS(weight_cross_entropy<Projected>(tape, q, k, c.sequences, c.heads, w, c.window, Sliding<>(unlimited), 1.0),
                       ("weight_cross_entropy: " + Projected::name() + why).c_str(), ConfigError);
}

TEST_CASE("delta rule: a state is counted and copied, and a step that is refused leaves it alone") {
  using B = Cpu<double>;
  const auto c = testing::random_attention_case<Cautious>({}, {4, 2, 8}, Sequences::rectangular(2, 9), 3);
  AttentionState<B> state;
  testing::run_attention_steps<B>(c, [](Index n) { return std::vector<Index>{n}; }, state);
  REQUIRE(state.slots.size() == 2);
  auto& slot = state.slots[0];
  CHECK(slot.sums.shape() == Shape{2, 8, 8});
  CHECK(!slot.normalizer);
  CHECK(state.bytes() == 2 * sizeof(double) * static_cast<std::size_t>(slot.sums.size() + slot.keys.size() + slot.values.size()));
  const std::vector<double> before = testing::host(B{}, std::as_const(slot.sums).view());
  const auto copy = slot.clone(B{});
  testing::AttentionArguments<B, Cautious> arguments(c, {false, false, false});
  Tape<B> tape;
  const Var<B> q = arguments.var(tape, "q"), k = arguments.var(tape, "k"), v = arguments.var(tape, "v");
  const AttentionWeights<B> w = arguments.weights(tape);
  CHECK_THROWS_AS(attention_step<Cautious>(tape, q, k, v, c.sequences, c.heads, state, w), ShapeError);  // positions that were read
  CHECK(slot.length == 9);
  CHECK(testing::host(B{}, std::as_const(slot.sums).view()) == before);

  const Sequences more(18, {{0, 9, 9}, {9, 9, 9}});
  attention_step<Cautious>(tape, q, k, v, more, c.heads, state, w);
  CHECK(slot.length == 18);
  CHECK(testing::host(B{}, std::as_const(slot.sums).view()) != before);
  CHECK(copy.length == 9);
  CHECK(testing::host(B{}, copy.sums.view()) == before);
}
