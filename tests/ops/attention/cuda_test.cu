// General CUDA attention against N x N loops in double: outputs and every gradient, any map and window.
#include <lolcats/ops/attention/cuda.cuh>
#include <lolcats/ops/blend/cuda.cuh>
#include <lolcats/ops/delta_rule/cuda.cuh>
#include <lolcats/ops/feature_map/cuda.cuh>
#include <lolcats/testing/attention_suite.hpp>
#include <lolcats/testing/gpu.cuh>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

// Head sizes and feature counts that no fused kernel takes, around the 64 rows and columns of a tile.
const AttentionSuite small{.lengths = {1, 3, 63, 64, 65, 127, 200}};

/// A pass in float, and in bf16 on inputs that were rounded before: gradients then carry the rounding of y alone.
template <AttentionPolicy A>
void check_general(typename A::Window window, const AttentionSuite& suite = small, double bf16_gradients = 3e-2) {
  if (!have_gpu()) return;
  check_attention_against_reference<A, Cuda<float>>(window, suite, 1e-5, 1e-4);
  check_attention_against_reference<A, Cuda<bf16>>(window, suite, 1e-2, bf16_gradients);
}

/// The path of a problem with 4 query and 2 key heads and 300 tokens.
template <class Map, class M = Sum, class W>
AttentionPath path_of(W window, Index size, Index key_maps = 4) {
  using Paths = AttentionPaths<bf16, Map, W, M>;
  const Sequences sequences = Sequences::rectangular(1, 300);
  AttentionProblem<Cuda<bf16>, W> p{{4, 2, size}, &sequences, window, false, {}, {}, {}, {}};
  p.weights.query_map.value = {nullptr, {4, size, Map::projected}};
  p.weights.key_map.value = {nullptr, {key_maps, size, Map::projected}};
  const AttentionPath there = Paths::forward(p);
  CHECK(Paths::backward(p) == (there == AttentionPath::tiles ? AttentionPath::fused : there));
  return there;
}

/// Attention over features that are given, one block per query head or per key/value head.
template <bool PerGroup>
struct OverGiven {
  using Map = GivenFeatures;
  using Window = Sliding<>;
  static constexpr bool affine = true;
  static constexpr bool shared_maps = false;
  static constexpr bool key_maps_per_group = PerGroup;
  static std::string name() { return PerGroup ? "given features per group" : "given features"; }
};

}  // namespace

TEST_CASE("sliding windows") {
  using A = Hybrid<Hedgehog<dynamic>, Sliding<>>;
  for (const Index width : {1, 5, 64, 100}) check_general<A>(Sliding<>(width));
  if (!have_gpu()) return;
  const AttentionSuite suite;
  check_attention_symmetries<A, Cuda<float>>(Sliding<>(8), suite, 2e-6);
  check_attention_wanted<A, Cuda<float>>(Sliding<>(8), suite);
  check_attention_wanted<A, Cuda<bf16>>(Sliding<>(8), suite);
  check_attention_shapes<A, Cuda<float>>(Sliding<>(8), suite);
}

TEST_CASE("terraced windows, far keys weighing 1 - gamma, biased maps") {
  using A = Hybrid<T2R<dynamic>, Terraced<>, Affine>;
  for (const Index width : {1, 32, 64, 100})
    check_general<A>(Terraced<>(width), {.lengths = small.lengths, .sizes = {8}});
}

TEST_CASE("linear attention, one key map per key/value head") {
  check_general<Linear<EluPlusOne<3>, KeyMapsPerGroup>>({});
}

TEST_CASE("softmax") {
  for (const Index width : {Index{1}, Index{70}, unlimited}) check_general<Softmax<>>(Sliding<>(width));
}

TEST_CASE("sinks beside a window, beside far keys, and alone") {
  check_general<Softmax<Sinks<4, Sliding<>>>>(Sinks<4, Sliding<>>(10));
  check_general<Softmax<Sinks<70, Sliding<>>>>(Sinks<70, Sliding<>>(5));
  check_general<Hybrid<Hedgehog<dynamic>, Sinks<4, Sliding<>>, Affine>>(Sinks<4, Sliding<>>(10));
  check_general<Hybrid<Hedgehog<dynamic>, Sinks<70, Sliding<>>>>(Sinks<70, Sliding<>>(70), {.lengths = {65, 200}});
  check_general<Hybrid<Hedgehog<dynamic>, Sinks<3, Nothing>>>({});
}

TEST_CASE("gates: fixed, learned, of keys and projected, per query head and per key/value head") {
  check_general<Hybrid<Hedgehog<dynamic>, Sliding<>, Decay<RetentionGate>>>(Sliding<>(10));
  check_general<Hybrid<Hedgehog<dynamic>, Sliding<>, Decay<KeyGate>>>(Sliding<>(64), {.lengths = {65, 200}});
  check_general<Linear<EluPlusOne<3>, KeyMapsPerGroup, Decay<HeadGate>>>({});
  check_general<Hybrid<EluPlusOne<3>, Sinks<4, Sliding<>>, Affine, KeyMapsPerGroup, Decay<ProjectedGate>>>(
      Sinks<4, Sliding<>>(10));
}

TEST_CASE("the delta rule beside a window and alone, a state per query head and per key/value head") {
  if (!have_gpu()) return;
  const auto check = []<class A>(std::type_identity<A>, typename A::Window window) {
    const AttentionSuite suite{.lengths = {1, 65, 200}};
    check_attention_against_reference<A, Cuda<float>>(window, suite, 1e-5, 1e-4);
    check_attention_against_reference<A, Cuda<bf16>>(window, suite, 2e-2, 1e-1);  // features and both outputs are rounded
  };
  check(std::type_identity<Hybrid<Hedgehog<4>, Sinks<4, Sliding<>>, DeltaRule<>>>{}, Sinks<4, Sliding<>>(10));
  check(std::type_identity<Linear<EluPlusOne<3>, KeyMapsPerGroup, DeltaRule<HeadRate>>>{}, {});
}

TEST_CASE("a cache beside a window and sinks, by given scores") {
  check_general<Softmax<Sinks<4, Sliding<>>, Kept<6, LearnedScore>>>(Sinks<4, Sliding<>>(10));
  check_general<Softmax<Terraced<>, Kept<70, LearnedScore>>>(Terraced<>(8), {.lengths = {65, 200, 300}});
  check_general<Softmax<Sinks<4, Sliding<>>, Kept<6, Novelty>>>(Sinks<4, Sliding<>>(10));
}

TEST_CASE("a gate that forgets all with every token") {
  if (!have_gpu()) return;
  auto c = random_attention_case<Linear<EluPlusOne<3>, KeyMapsPerGroup, Decay<HeadGate>>>(
      {}, {4, 2, 8}, lolcats::testing::detail::ragged(300), 5);
  for (double& x : c.in["gate_bias"]) x = -3000;  // log a is -187: G reaches -56000
  lolcats::testing::detail::check_numbers(reference_attention(c), run_attention<Cuda<float>>(c), 1e-5, 1e-4);
}

TEST_CASE("given features") {
  check_general<OverGiven<false>>(Sliding<>(9));
  check_general<OverGiven<true>>(Sliding<>(9));
}

TEST_CASE("every map") {
  check_general<Hybrid<Skip<HedgehogExp<dynamic>>, Sliding<7>, SharedMaps>>({}, {.lengths = {65}});
  // The gradient of a head's one bias sums over all rows and features, here to a hundredth of its terms.
  check_general<Hybrid<Biased<EluPlusOne<5>, Bias::head>, Terraced<8, 1>>>({}, {.lengths = {65}}, 6e-2);
  check_general<Hybrid<HedgehogExpHalf<5>, Sliding<7>>>({}, {.lengths = {65}});
  check_general<Hybrid<HedgehogHalf<70>, Sliding<7>>>({}, {.lengths = {65}});
  check_general<ArchetypeAttention>(ArchetypeWindow::make(), {.lengths = {65}});
}

TEST_CASE("heads and features of more than a tile") {
  check_general<Hybrid<Hedgehog<dynamic>, Sliding<>>>(Sliding<>(40), {.lengths = {130}, .sizes = {72, 128}});
  check_general<Hybrid<HedgehogHalf<70>, Terraced<64>, KeyMapsPerGroup>>({}, {.lengths = {130}, .sizes = {160}});
}

TEST_CASE("long sequences are cut into chunks") {  // one head leaves most of the chip idle otherwise
  if (!have_gpu()) return;
  using A = Hybrid<Hedgehog<dynamic>, Sliding<>>;
  const auto c = random_attention_case<A>(Sliding<>(64), {1, 1, 8}, Sequences(1500, {{3, 1100, 0}, {1103, 300, 0}}), 3);
  lolcats::testing::detail::check_numbers(reference_attention(c), run_attention<Cuda<float>>(c), 1e-5, 1e-4);
  using Gated = Hybrid<EluPlusOne<3>, Sinks<4, Sliding<>>, Affine, KeyMapsPerGroup, Decay<ProjectedGate>>;
  const auto g = random_attention_case<Gated>(Sinks<4, Sliding<>>(64), {1, 1, 8}, c.sequences, 3);
  lolcats::testing::detail::check_numbers(reference_attention(g), run_attention<Cuda<float>>(g), 1e-5, 1e-4);
}

TEST_CASE("the same bits every time") {
  if (!have_gpu()) return;
  using A = Hybrid<T2R<dynamic>, Sliding<>>;
  const auto c = random_attention_case<A>(Sliding<>(16), {4, 2, 16}, lolcats::testing::detail::ragged(300), 5);
  const AttentionNumbers first = run_attention<Cuda<bf16>>(c);
  for (int i = 0; i < 20; ++i) {
    for (const auto& [name, numbers] : run_attention<Cuda<bf16>>(c)) {
      INFO(name);
      CHECK(same(first.at(name), numbers));
    }
  }
}

TEST_CASE("sizes that do not fit are refused before anything runs") {
  if (!have_gpu()) return;
  using A = Softmax<>;
  const auto c = random_attention_case<A>(Sliding<>(4), {1, 1, 1024}, Sequences::rectangular(1, 3), 1);
  CHECK_THROWS_AS(run_attention<Cuda<float>>(c), ConfigError);
}

TEST_CASE("which kernels an attention takes") {
  if (!have_gpu()) return;
  const auto fused = cuda::device().capability == 90 ? AttentionPath::fused : AttentionPath::general;
  const auto tiles = cuda::device().capability == 90 ? AttentionPath::tiles : AttentionPath::general;
  CHECK(path_of<Hedgehog<64>>(Terraced<64>(), 128) == fused);
  CHECK(path_of<Hedgehog<64>>(Sliding<16>(), 128) == tiles);
  CHECK(path_of<T2R<128>>(Sliding<128>(), 64) == tiles);
  CHECK(path_of<Hedgehog<64>>(Terraced<>(128), 128) == tiles);
  CHECK(path_of<Hedgehog<64>>(Terraced<64>(), 128, 2) == fused);  // a key map per key/value head
  CHECK(path_of<Hedgehog<64>>(Terraced<64>(), 72) == AttentionPath::general);
  CHECK(path_of<Hedgehog<16>>(Terraced<64>(), 128) == AttentionPath::general);
  CHECK(path_of<Skip<Hedgehog<64>>>(Terraced<64>(), 64) == AttentionPath::general);
  CHECK(path_of<Hedgehog<64>, Decay<HeadGate>>(Terraced<64>(), 128) == AttentionPath::general);
  CHECK(path_of<Hedgehog<64>>(Sinks<4, Terraced<64>>(), 64) == fused);
  CHECK(path_of<Hedgehog<64>>(Sinks<65, Terraced<64>>(), 64) == AttentionPath::general);
}

TEST_CASE("a test can ask for the general path") {
  using Paths = AttentionPaths<float, NoMap, Sliding<>>;
  AttentionProblem<Cuda<float>, Sliding<>> problem;
  CHECK(Paths::forward(problem) == AttentionPath::general);
  CHECK(name_of(Paths::backward(problem)) == "general");
  CHECK(Paths::explain(problem) == "general: fused kernels compute in bf16");
  const cuda::GeneralAttentionOnly only;
  CHECK(cuda::GeneralAttentionOnly::active());
}
