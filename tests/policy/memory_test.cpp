// Sinks and memories with a gate, through the whole suite.
#include <lolcats/ops/attention/eigen_weights.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/testing/attention_suite.hpp>
#include <lolcats/testing/gate_suite.hpp>
#include <lolcats/testing/window_suite.hpp>

#include <cmath>
#include <limits>

using namespace lolcats;
using lolcats::testing::check_attention;

namespace {
/// Forgets by a gate of its own: half of everything with a token, where z is large.
struct StepGate {
  static constexpr GateInput input = GateInput::hidden;  // z = x w + b, x the layer's normed input
  static constexpr bool learned = true;
  static double start(Index, Index) { return 0; }
  static constexpr double log_decay(double z) { return -0.05 * z * z / (1 + z * z); }
  static constexpr double slope(double z) { return -0.1 * z / ((1 + z * z) * (1 + z * z)); }
  static std::string name() { return "step"; }
};
static_assert(GatePolicy<StepGate>);

/// Forgets exp(-Tenths / 10) with every token: over three hundred of them, whose inverse exp() cannot hold.
template <int Tenths>
struct FastGate {
  static constexpr GateInput input = GateInput::none;
  static constexpr bool learned = false;
  static constexpr double start(Index, Index) { return 0; }
  static constexpr double log_decay(double) { return -0.1 * Tenths; }
  static constexpr double slope(double) { return 0; }
  static std::string name() { return "fast"; }
};

using Fixed = Hybrid<Hedgehog<4>, Sliding<5>, Decay<RetentionGate>>;
using PerGroup = Linear<Hedgehog<4>, Decay<HeadGate>, KeyMapsPerGroup>;
using Own = Hybrid<Hedgehog<4>, Sinks<2, Terraced<64>>, Affine, Decay<StepGate>>;
using CacheAlone = Softmax<Sinks<2, Sliding<10>>, Kept<5, LearnedScore>>;
using CacheLearned = Hybrid<Hedgehog<4>, Sinks<4, Terraced<8>>, Affine, Kept<6, LearnedScore>>;
using CacheRecall = Hybrid<Hedgehog<4>, Sliding<5>, Kept<7, RecallError>, KeyMapsPerGroup>;
using CacheNovel = Softmax<Sinks<2, Terraced<8>>, Kept<5, Novelty>>;
using CacheReceived = Softmax<Sinks<2, Sliding<10>>, Kept<5, ReceivedAttention>>;
using CacheReceivedBeside = Hybrid<Hedgehog<4>, Sinks<4, Terraced<8>>, Affine, Kept<6, ReceivedAttention>>;
using SinksAlone = Hybrid<Hedgehog<4>, Sinks<3, Nothing>>;

/// A cache and memories of one's own, some of which mean nothing.
struct OwnCache {
  static constexpr Index size = 5;
  using Score = Novelty;
  static std::string name() { return "own"; }
};
struct Unscored {
  static constexpr Index size = 5;
  static std::string name() { return "unscored"; }
};
template <class G, class C>
struct OwnMemory {
  using Gate = G;
  using Cache = C;
  static std::string name() { return "own"; }
};
struct OwnCorrection : OwnMemory<NoGate, OwnCache> {
  static constexpr bool corrects = true;
};
using OwnKept = Softmax<Sinks<2, Terraced<8>>, OwnMemory<NoGate, OwnCache>>;
static_assert(MemoryPolicy<OwnMemory<NoGate, OwnCache>> && compares_keys<OwnMemory<NoGate, OwnCache>> && !projects_scores<OwnMemory<NoGate, OwnCache>>);
static_assert(!MemoryPolicy<OwnMemory<NoGate, Unscored>>, "by what score?");
static_assert(!MemoryPolicy<OwnMemory<HeadGate, OwnCache>> && !MemoryPolicy<OwnCorrection>, "no gate and no correction beside a cache");
}  // namespace

TEST_CASE("sinks: the window's own suite") {
  lolcats::testing::check_window(Sinks<4, Sliding<10>>{});
  lolcats::testing::check_window(Sinks<3, Nothing>{});
  lolcats::testing::check_window(Sinks<70, Terraced<8, 1>>{});
  lolcats::testing::check_window(Sinks<2, Sliding<>>(Index{6}));
}
TEST_CASE("sinks: softmax within a window") { check_attention<Softmax<Sinks<4, Sliding<10>>>, false>(); }
TEST_CASE("sinks: more than a tile") { check_attention<Softmax<Sinks<70, Terraced<8, 1>>>, false>(); }
TEST_CASE("sinks: beside a window and far keys") { check_attention<Hybrid<Hedgehog<4>, Sinks<4, Terraced<8>>, Affine>>(); }
TEST_CASE("sinks: the only near keys") { check_attention<SinksAlone, false>(); }
TEST_CASE_TEMPLATE("gates and rates: the suite", G, NoGate, RetentionGate, LightningGate, HeadGate, KeyGate, ProjectedGate, ProjectedRate, HeadRate, StepGate) {
  lolcats::testing::check_gate<G>();
}
TEST_CASE("gate: fixed, beside a window") { check_attention<Fixed>(); }
TEST_CASE("gate: one per key/value head, without a window") { check_attention<PerGroup, false>(); }
TEST_CASE("gate: one's own, of the input, with sinks") { check_attention<Own, false>(); }

TEST_CASE("gate: what is all but forgotten stays in range") {
  using lolcats::testing::check_attention_against_reference;
  using Fast = Hybrid<Hedgehog<4>, Sliding<5>, Decay<FastGate<25>>>;
  using FastInFloat = Hybrid<Hedgehog<4>, Sliding<5>, Decay<FastGate<5>>>;
  check_attention_against_reference<Fast>({}, {.lengths = {300}, .sizes = {3}}, 1e-11, 1e-8);
  check_attention_against_reference<FastInFloat, Cpu<float>>({}, {.lengths = {300}, .sizes = {3}}, 1e-5, 1e-3);
  lolcats::testing::check_attention_steps<Fast>({}, {.lengths = {300}});
}
TEST_CASE("gates start where their papers say") {
  CHECK(std::exp(RetentionGate::start(0, 8)) == doctest::Approx(1 - std::exp2(-5)));
  CHECK(std::exp(RetentionGate::start(7, 8)) == doctest::Approx(1 - std::exp2(-12)));
  CHECK(std::exp(RetentionGate::start(8, 16)) == doctest::Approx(1 - std::exp2(-9)));
  CHECK(LightningGate::start(0, 8) == -0.5);
  CHECK(LightningGate::start(7, 8) == -std::exp2(-8));
  CHECK(LightningGate::start(1, 16) == -0.5);
  const auto half_life = [](Index h, Index heads) {
    return -std::log(2.0) / HeadGate::log_decay(HeadGate::start(h, heads));
  };
  CHECK(half_life(0, 4) == doctest::Approx(1024));
  CHECK(half_life(2, 4) == doctest::Approx(4096));
  CHECK(half_life(7, 8) == doctest::Approx(1024 * std::exp2(3.5)));
}

TEST_CASE("cache: of equal scores the earlier key stays") {
  const eigen::CachePlan plan = eigen::plan_cache({1, 1, 1, 1}, 0, {3, 4, 5, 6}, 2, 0, 8);
  CHECK(plan.left == std::vector<Index>{0, 1});
  CHECK(plan.far == std::vector<Index>{2, 3});
  CHECK(plan.far_from == std::vector<Index>{5, 6});
}
TEST_CASE("cache: a score that is no number is less than all numbers") {
  const double none = std::numeric_limits<double>::quiet_NaN(), least = -std::numeric_limits<double>::infinity();
  CHECK(eigen::plan_cache({3, none}, 0, {3, 4}, 1, 0, 8).left == std::vector<Index>{0});
  CHECK(eigen::plan_cache({none, 3, none, 2}, 0, {3, 4, 5, 6}, 2, 0, 8).left == std::vector<Index>{1, 3});
  CHECK(eigen::plan_cache({least, none}, 0, {3, 4}, 1, 0, 8).left == std::vector<Index>{0});  // of equals, the earlier
}
TEST_CASE("cache: alone, by given scores") { check_attention<CacheAlone>(); }
TEST_CASE_TEMPLATE("cache: scores that tie, and such that are infinite", A, CacheAlone, CacheLearned) {
  using namespace lolcats::testing;
  using B = Cpu<double>;
  auto c = random_attention_case<A>({}, {4, 2, 4}, Sequences(107, {{0, 40, 0}, {40, 67, 0}}), 5);
  for (double& x : c.in.at("score")) {
    x = std::round(x);
    if (std::abs(x) > 1) x *= std::numeric_limits<double>::infinity();
  }
  const auto want = reference_attention(c).at("y");
  CHECK(close(want, run_attention<B>(c).at("y"), 1e-11));
  AttentionState<B> state;
  CHECK(close(want, run_attention_steps<B>(c, [](Index n) { return std::vector<Index>{n / 3, 1, 1, n - n / 3 - 2}; }, state), 1e-11));
  CHECK(close(want, run_attention_steps<B>(c, [](Index n) { return std::vector<Index>(static_cast<std::size_t>(n), 1); }, state), 1e-11));
}
TEST_CASE("cache: beside sinks and no window, a key is far for its own query unless it is kept") {
  using NoWindow = Softmax<Sinks<3, Nothing>, Kept<4, LearnedScore>>;
  lolcats::testing::check_attention_against_reference<NoWindow>({}, {.lengths = {1, 5, 65}, .sizes = {4}}, 1e-11, 1e-8);
  lolcats::testing::check_attention_steps<NoWindow>({}, {.lengths = {1, 5, 65}});
}
TEST_CASE("cache: beside far keys, by given scores") { check_attention<CacheLearned, false>(); }
TEST_CASE("cache: beside far keys, by their recall error") { check_attention<CacheRecall, false>(); }

TEST_CASE("cache: beside a terraced window, as novelty is handed to it") { check_attention<CacheNovel, false>(); }
TEST_CASE("cache: of one's own, by its score") {
  lolcats::testing::check_attention_against_reference<OwnKept>({}, {.lengths = {33}, .sizes = {3}}, 1e-11, 1e-8);
  lolcats::testing::check_attention_steps<OwnKept>({}, {.lengths = {33}});
}
TEST_CASE("cache: alone, by received attention") { check_attention<CacheReceived, false>(); }
TEST_CASE("cache: beside far keys, by received attention") { check_attention<CacheReceivedBeside, false>(); }
TEST_CASE("cache: received attention within more than a tile of keys, from any piece of a long sequence") {
  using Wide = Hybrid<Hedgehog<4>, Sinks<2, Sliding<70>>, Kept<9, ReceivedAttention>>;
  lolcats::testing::check_attention_against_reference<Wide>({}, {.lengths = {170}, .sizes = {4}}, 1e-11, 1e-8);
  lolcats::testing::check_attention_steps<Wide>({}, {.lengths = {170}});
}

TEST_CASE("cache: recall errors are summed over the query heads of a group") {
  using ByHead = Hybrid<Hedgehog<4>, Sliding<5>, Kept<7, RecallError>>;
  lolcats::testing::check_attention_against_reference<ByHead>({}, {.lengths = {63}, .sizes = {4}}, 1e-11, 1e-8);
}

TEST_CASE("memories and windows say their names") {
  CHECK(Softmax<Sinks<4, Sliding<124>>>::name() == "softmax<sinks<4, sliding<124>>>");
  CHECK(CacheNovel::name() == "softmax<sinks<2, terraced<8>>, kept<5, novelty>>");
  CHECK(CacheReceivedBeside::name() == "hybrid<hedgehog<4>, sinks<4, terraced<8>>, affine, kept<6, received attention>>");
  CHECK(Fixed::name() == "hybrid<hedgehog<4>, sliding<5>, decay<retention>>");
}

TEST_CASE_TEMPLATE("attention weights of sinks and gates are the reference's", A, Softmax<Sinks<4, Sliding<10>>>, Fixed, Own, SinksAlone,
                   CacheAlone, CacheLearned, CacheRecall, CacheReceivedBeside) {
  using B = Cpu<double>;
  const auto c = lolcats::testing::random_attention_case<A>({}, {4, 2, 8}, Sequences::rectangular(2, 90), 3);
  std::vector<std::vector<double>> want;
  lolcats::testing::reference_attention(c, &want);
  lolcats::testing::AttentionArguments<B, A> arguments(c, {false, false, false});
  Tape<B> tape;
  const Var<B> q = arguments.var(tape, "q"), k = arguments.var(tape, "k"), v = arguments.var(tape, "v");
  double worst = 0;
  Index tiles = 0;
  visit_attention_weights<A>(B{}, q.value(), k.value(), c.sequences, c.heads, arguments.weights(tape), c.window,
                             [&](Index n, Index h, Index first, View<const double> weights) {
#pragma omp critical
                               {
                                 ++tiles;
                                 for (Index i = 0; i < weights.rows(); ++i) {
                                   for (Index j = 0; j < weights.cols(); ++j) {
                                     const auto at = static_cast<std::size_t>((h * 90 + first + i) * 90 + j);
                                     worst = std::max(worst, std::abs(weights.data[i * weights.cols() + j] -
                                                                      want[static_cast<std::size_t>(n)][at]));
                                   }
                                 }
                               }
                             }, v.value());
  CHECK(tiles == 2 * 4 * 2);
  CHECK(worst < 1e-13);
}
