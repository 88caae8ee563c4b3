// Decoding states on CUDA: one pass = prefill in pieces = token by token, and nothing drifts over long texts.
#include <lolcats/ops/attention/cuda.cuh>
#include <lolcats/ops/attention/cuda_state.cuh>
#include <lolcats/ops/blend/cuda.cuh>
#include <lolcats/ops/delta_rule/cuda.cuh>
#include <lolcats/ops/feature_map/cuda.cuh>
#include <lolcats/testing/attention_suite.hpp>
#include <lolcats/testing/gpu.cuh>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

template <AttentionPolicy A>
void check_steps(typename A::Window window, const AttentionSuite& suite = {.lengths = {1, 3, 64, 65, 127, 200}}) {
  if (!have_gpu()) return;
  check_attention_steps<A, Cuda<float>>(window, suite, 1e-5);
  check_attention_steps<A, Cuda<bf16>>(window, suite, 1e-2);
}

struct StepsOverGiven {
  using Map = GivenFeatures;
  using Window = Sliding<>;
  static constexpr bool affine = false;
  static constexpr bool shared_maps = false;
  static constexpr bool key_maps_per_group = true;
  static std::string name() { return "given features"; }
};

}  // namespace

TEST_CASE("sliding windows") {
  for (const Index width : {1, 5, 64, 100}) check_steps<Hybrid<Hedgehog<dynamic>, Sliding<>>>(Sliding<>(width));
}

TEST_CASE("terraced windows") {
  for (const Index width : {1, 8, 64}) check_steps<Hybrid<T2R<dynamic>, Terraced<>, Affine>>(Terraced<>(width));
}

TEST_CASE("linear attention, one key map per key/value head") {
  check_steps<Linear<EluPlusOne<3>, KeyMapsPerGroup>>({});
}

TEST_CASE("softmax: a key/value cache that grows, and one that does not") {
  check_steps<Softmax<>>(Sliding<>(unlimited), {.lengths = {1, 3, 65, 600}});
  check_steps<Softmax<>>(Sliding<>(1500), {.lengths = {600}});
  check_steps<Softmax<>>(Sliding<>(7));
}

TEST_CASE("sinks") {
  for (const Index width : {1, 5, 64}) check_steps<Hybrid<Hedgehog<dynamic>, Sinks<4, Sliding<>>>>(Sinks<4, Sliding<>>(width));
  check_steps<Softmax<Sinks<70, Sliding<>>>>(Sinks<70, Sliding<>>(5));
  check_steps<Softmax<Sinks<4, Sliding<>>>>(Sinks<4, Sliding<>>(1500), {.lengths = {600}});
  check_steps<Hybrid<Hedgehog<dynamic>, Sinks<3, Nothing>>>({});
}

TEST_CASE("caches") {
  for (const Index width : {1, 10}) check_steps<Softmax<Sinks<4, Sliding<>>, Kept<6, LearnedScore>>>(Sinks<4, Sliding<>>(width));
  check_steps<Softmax<Terraced<>, Kept<70, LearnedScore>>>(Terraced<>(8), {.lengths = {65, 200, 300}});
}

TEST_CASE("caches: of equal scores the earlier keys stay") {
  if (!have_gpu()) return;
  using A = Softmax<Sinks<4, Sliding<>>, Kept<6, LearnedScore>>;
  using B = Cuda<float>;
  auto c = random_attention_case<A>(Sinks<4, Sliding<>>(10), {4, 2, 16}, Sequences::rectangular(2, 90), 5);
  for (double& x : c.in["score"]) x = std::round(x);
  const auto y = run_attention<B>(c, {false, false, false}).at("y");
  CHECK(close(reference_attention(c).at("y"), y, 1e-5));
  AttentionState<B> state;
  CHECK(close(y, run_attention_steps<B>(c, [](Index n) { return std::vector<Index>(static_cast<std::size_t>(n), 1); }, state), 1e-5));
}

TEST_CASE("a cache has room for what its heads keep") {
  if (!have_gpu()) return;
  using A = Softmax<Sinks<4, Sliding<>>, Kept<5, LearnedScore>>;
  using B = Cuda<bf16>;
  const auto bytes = [](const std::vector<double>& sizes) {
    auto c = random_attention_case<A>(Sinks<4, Sliding<>>(10), {4, 2, 16}, Sequences::rectangular(2, 90), 5);
    c.in["cache_sizes"] = sizes;
    const auto y = run_attention<B>(c, {false, false, false}).at("y");
    AttentionState<B> state;
    const auto cut = [](Index n) { return std::vector<Index>{n - 30, 20, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}; };
    CHECK(close(y, run_attention_steps<B>(c, cut, state), 1e-2));
    return state.bytes();
  };
  const std::size_t bare = bytes({0, 0}), place = 2 * ((16 + 16) * sizeof(bf16) + sizeof(float));  // of both sequences
  CHECK(bytes({0, 5}) == bare + 5 * place);
  CHECK(bytes({3, 1}) == bare + 4 * place);
  CHECK(bytes({5, 5}) == bare + 10 * place);
}

TEST_CASE("gates") {
  for (const Index width : {5, 64}) check_steps<Hybrid<Hedgehog<dynamic>, Sliding<>, Decay<KeyGate>>>(Sliding<>(width));
  check_steps<Linear<EluPlusOne<3>, KeyMapsPerGroup, Decay<HeadGate>>>({});
  check_steps<Hybrid<EluPlusOne<3>, Sinks<4, Terraced<>>, Affine, KeyMapsPerGroup, Decay<ProjectedGate>>>(
      Sinks<4, Terraced<>>(16));
  check_steps<Linear<EluPlusOne<3>, KeyMapsPerGroup, Decay<HeadGate>>>({}, {.lengths = {600}});  // cut into chunks
}

TEST_CASE("the delta rule") {
  check_steps<Hybrid<Hedgehog<4>, Sinks<4, Sliding<>>, DeltaRule<>>>(Sinks<4, Sliding<>>(10), {.lengths = {1, 65, 200}});
  check_steps<Linear<EluPlusOne<3>, KeyMapsPerGroup, DeltaRule<HeadRate>>>({}, {.lengths = {65}});
}

TEST_CASE("given features") { check_steps<StepsOverGiven>(Sliding<>(9)); }

TEST_CASE("wide heads and many features") {
  check_steps<Hybrid<Hedgehog<dynamic>, Terraced<>>>(Terraced<>(16), {.lengths = {90}, .sizes = {128}});
  check_steps<Hybrid<HedgehogHalf<70>, Sliding<>, KeyMapsPerGroup>>(Sliding<>(16), {.lengths = {90}, .sizes = {160}});
}

TEST_CASE("more slots than one launch takes, at positions of their own") {
  if (!have_gpu()) return;
  using A = Hybrid<Hedgehog<dynamic>, Terraced<>>;
  std::vector<Extent> extents;
  Index rows = 0;
  for (Index n = 0; n < 70; ++n) {
    extents.push_back({rows, 20 + n % 13, 0});
    rows += 20 + n % 13;
  }
  const auto c = random_attention_case<A>(Terraced<>(4), {4, 2, 16}, Sequences(rows, extents), 9);
  AttentionState<Cuda<float>> state;
  const auto cut = [](Index length) {  // a prompt of its own length, then 19 tokens
    std::vector<Index> pieces(20, 1);
    pieces[0] = length - 19;
    return pieces;
  };
  const auto y = run_attention<Cuda<float>>(c, {false, false, false}).at("y");
  CHECK(close(y, run_attention_steps<Cuda<float>>(c, cut, state), 1e-5));
}

// Sums over far keys that were kept in bf16 would be 88% off at this length.
TEST_CASE_TEMPLATE("outputs and denominators after 32768 tokens are those of double", B, Cuda<float>, Cuda<bf16>) {
  if (!have_gpu()) return;
  using A = Hybrid<Hedgehog<dynamic>, Sliding<>>;
  constexpr Index length = 32768, D = 16, f = 8, F = 16, width = 64, tail = 16;
  const B backend;
  Rng rng(11, 3);
  const auto draw = [&](Index count, double scale, double mean = 0) {
    std::vector<double> values;
    for (Index i = 0; i < count; ++i) values.push_back(mean + scale * rng.normal());
    return rounded<B>(values);
  };
  // Values have a mean, so that the output is no difference of large sums.
  const auto q = draw(length * D, 1), k = draw(length * D, 1), v = draw(length * D, 1, 1);
  const auto query_map = draw(D * f, 0.4), key_map = draw(D * f, 0.4), factor = draw(1, 0, -2);

  Tape<B> tape;
  const Shape x{length, D}, map{1, D, f};
  const auto q_there = array<B>(x, q), k_there = array<B>(x, k), v_there = array<B>(x, v),
             wq = array<B>(map, query_map), wk = array<B>(map, key_map), factor_there = array<B>(Shape{1}, factor);
  AttentionWeights<B> w;
  w.query_map.value = wq.view();
  w.key_map.value = wk.view();
  w.window_factors.value = factor_there.view();
  const auto sequences = Sequences::rectangular(1, length);
  const AttentionProblem<B, Sliding<>> problem{{1, 1, D},      &sequences,     Sliding<>(width), false,
                                               q_there.view(), k_there.view(), v_there.view(),   w};
  Array<B> y(x);
  Array<B, float> largest(Shape{length, 1}), inverse(Shape{length, 1});
  Array<B, std::int32_t> at(Shape{length, 1});
  AttentionKernel<B, typename A::Map, Sliding<>, Sum>::forward(backend, problem, y.view(),
                                                          {largest.view(), inverse.view(), at.view()});
  const auto got_y = host(backend, y.view()), got_inverse = host(backend, inverse.view());

  // The recurrence in double.
  naive::FeatureMapSizes sizes{length, 1, D, f, 0, false};
  const auto phi_q = naive::feature_map(sizes, q, query_map, {}, naive::hedgehog, 1e-12);
  const auto phi_k = naive::feature_map(sizes, k, key_map, {}, naive::hedgehog, 1e-12);
  std::vector<double> S(F * D), z(F), want, denominators, got, got_denominators;
  const double gamma = 1 / (1 + std::exp(-factor[0]));
  for (Index n = 0; n < length; ++n) {
    if (const Index j = n - width; j >= 0) {
      for (Index a = 0; a < F; ++a) {
        const double phi = phi_k[static_cast<std::size_t>(j * F + a)];
        z[static_cast<std::size_t>(a)] += phi;
        for (Index d = 0; d < D; ++d)
          S[static_cast<std::size_t>(a * D + d)] += phi * v[static_cast<std::size_t>(j * D + d)];
      }
    }
    if (n < length - tail) continue;
    std::vector<double> sum(D), scores(width);
    double denominator = 0, top = -1e30;
    for (Index i = 0; i < width; ++i) {
      double s = 0;
      for (Index d = 0; d < D; ++d)
        s += q[static_cast<std::size_t>(n * D + d)] * k[static_cast<std::size_t>((n - i) * D + d)];
      scores[static_cast<std::size_t>(i)] = s / std::sqrt(static_cast<double>(D));
      top = std::max(top, scores[static_cast<std::size_t>(i)]);
    }
    for (Index i = 0; i < width; ++i) {
      const double p = gamma * std::exp(scores[static_cast<std::size_t>(i)] - top);
      denominator += p;
      for (Index d = 0; d < D; ++d)
        sum[static_cast<std::size_t>(d)] += p * v[static_cast<std::size_t>((n - i) * D + d)];
    }
    for (Index a = 0; a < F; ++a) {
      const double phi = phi_q[static_cast<std::size_t>(n * F + a)];
      denominator += phi * z[static_cast<std::size_t>(a)];
      for (Index d = 0; d < D; ++d) sum[static_cast<std::size_t>(d)] += phi * S[static_cast<std::size_t>(a * D + d)];
    }
    denominators.push_back(denominator);
    got_denominators.push_back(1 / got_inverse[static_cast<std::size_t>(n)]);
    for (Index d = 0; d < D; ++d) {
      want.push_back(sum[static_cast<std::size_t>(d)] / denominator);
      got.push_back(got_y[static_cast<std::size_t>(n * D + d)]);
    }
  }
  CHECK(close(denominators, got_denominators, 1e-4));
  CHECK(close(want, got, std::is_same_v<B, Cuda<float>> ? 1e-4 : 4e-3));  // a bf16 is within 0.4% of what it rounds
}

TEST_CASE("4096 steps of decoding in bf16 are one pass") {
  if (!have_gpu()) return;
  using A = Hybrid<Hedgehog<16>, Terraced<64>>;
  using B = Cuda<bf16>;
  constexpr Index length = 4096;
  const auto c = random_attention_case<A>({}, {4, 2, 32}, Sequences::rectangular(1, length), 13);
  AttentionArguments<B, A> arguments(c, {false, false, false});
  Tape<B> tape;
  const typename Tape<B>::NoGradient quiet(tape);
  const Var<B> q = arguments.var(tape, "q"), k = arguments.var(tape, "k"), v = arguments.var(tape, "v");
  const auto weights = arguments.weights(tape);
  const B backend;
  const auto want = host(backend, attention<A>(tape, q, k, v, c.sequences, c.heads, weights, c.window).value());
  AttentionState<B> state;
  std::vector<double> got;
  for (Index n = 0; n < length; ++n) {
    const typename Tape<B>::Scope scope(tape);
    const Sequences one(1, {{0, 1, n}});
    const auto token = [&](const Var<B>& x) { return tape.constant(x.value().row_range(n, 1)); };
    const Var<B> y = attention_step<A>(tape, token(q), token(k), token(v), one, c.heads, state, weights, c.window);
    if (n % 512 == 511 || n >= length - 8) {
      const auto rows = host(backend, y.value());
      got.insert(got.end(), rows.begin(), rows.end());
    }
  }
  std::vector<double> expected;
  const std::size_t width = want.size() / length;
  for (std::size_t n = 0; n < length; ++n) {
    if (n % 512 != 511 && n < length - 8) continue;
    expected.insert(expected.end(), want.begin() + static_cast<std::ptrdiff_t>(n * width),
                    want.begin() + static_cast<std::ptrdiff_t>((n + 1) * width));
  }
  CHECK(close(expected, got, 1e-2));
}
