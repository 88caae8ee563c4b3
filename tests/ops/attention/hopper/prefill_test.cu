// Prefill by the fused kernels: plain loops in double = one pass = any pieces = token by token, and the sums left behind are
// the general path's.
#include <lolcats/ops/attention/cuda.cuh>
#include <lolcats/ops/attention/cuda_state.cuh>
#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/policy/feature_map/relu.hpp>
#include <lolcats/testing/attention_suite.hpp>
#include <lolcats/testing/gpu.cuh>

#include <doctest/doctest.h>

#include <cstdio>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

using B = Cuda<bf16>;

bool have_hopper() {
  if (!have_gpu() || cuda::device().capability == 90) return have_gpu();
  std::fputs("skipped: no GPU of compute capability 9.0\n", stderr);
  return false;
}

/// Would these kernels take a prefill of 100 tokens behind 30 kept ones?
template <AttentionPolicy A>
AttentionPath prefill_path(typename A::Window window, const Heads& heads) {
  using Map = typename A::Map;
  const Sequences sequences = Sequences::rectangular(1, 100);
  AttentionProblem<B, typename A::Window> p{heads, &sequences, window, A::affine, {}, {}, {}, {}};
  p.q = {nullptr, {100, heads.queries * heads.size}};
  p.k = p.v = {nullptr, {130, heads.keys * heads.size}};
  if constexpr (FeatureMap<Map>) {
    for (auto* map : {&p.weights.query_map, &p.weights.key_map})
      map->value = {nullptr, {heads.queries, heads.size, Map::projected}};
  }
  return AttentionPaths<bf16, Map, typename A::Window>::prefill(p, std::vector<Extent>{{0, 130, 0}});
}

/// Outputs are bf16, and pieces round at other places.
template <AttentionPolicy A>
void check_pieces(typename A::Window window, std::vector<Index> sizes = {64, 128},
                  std::vector<Index> lengths = {1, 3, 63, 64, 65, 127, 200}) {
  if (!have_hopper()) return;
  for (const Index size : sizes) {
    INFO("heads of ", size);
    CHECK(prefill_path<A>(window, {4, 2, size}) != AttentionPath::general);
    check_attention_steps<A, B>(window, {.lengths = lengths, .sizes = {size}}, 1e-2);
  }
}

/// Pieces of different lengths, y against plain loops in double over the same rounded inputs.
template <AttentionPolicy A>
void check_loops(typename A::Window window, const Heads& heads) {
  if (!have_hopper()) return;
  auto c = random_attention_case<A>(window, heads, Sequences(561, {{0, 330, 0}, {330, 100, 0}, {430, 131, 0}}), 17);
  for (auto& [name, values] : c.in) values = rounded<B>(values);
  AttentionState<B> state;
  const auto cut = [](Index length) { return std::vector<Index>{length - 77, 5, 1, 71}; };
  CHECK(close(reference_attention(c).at("y"), run_attention_steps<B>(c, cut, state), 1e-2));
}

/// Two pieces of each sequence on both paths: y, S and z.  The fused kernels round features to bf16 before they sum.
template <AttentionPolicy A>
void check_sums(typename A::Window window, const Heads& heads, const Sequences& sequences) {
  const auto c = random_attention_case<A>(window, heads, sequences, 21);
  const auto cut = [](Index length) {
    const Index first = length - std::max<Index>(length / 3, 1);
    return length == 1 ? std::vector<Index>{1} : std::vector<Index>{first, length - first};
  };
  AttentionState<B> fused, general;
  const std::vector<double> got = run_attention_steps<B>(c, cut, fused);
  {
    const cuda::GeneralAttentionOnly only;
    CHECK(close(run_attention_steps<B>(c, cut, general), got, 1e-2));
  }
  REQUIRE(fused.slots.size() == general.slots.size());
  const B backend;
  for (std::size_t n = 0; n < fused.slots.size(); ++n) {
    INFO("sequence ", n);
    CHECK(fused.slots[n].first == general.slots[n].first);
    CHECK(fused.slots[n].length == general.slots[n].length);
    if (!fused.slots[n].sums) continue;
    CHECK(close(host(backend, general.slots[n].sums.view()), host(backend, fused.slots[n].sums.view()), 4e-3));
    CHECK(close(host(backend, general.slots[n].normalizer.view()), host(backend, fused.slots[n].normalizer.view()),
                4e-3));
  }
}

}  // namespace

TEST_CASE("hybrids in pieces") {
  check_pieces<Hybrid<Hedgehog<64>, Terraced<64>>>({});
  check_pieces<Hybrid<Hedgehog<64>, Sliding<64>, Affine>>({});
  check_pieces<Hybrid<Hedgehog<64>, Sinks<4, Sliding<64>>>>({}, {64}, {1, 3, 65, 127, 200, 400});
  check_pieces<Hybrid<T2R<128>, Terraced<>, KeyMapsPerGroup>>(Terraced<>(32), {128});
}

TEST_CASE("pieces against plain loops in double") {
  check_loops<Hybrid<Hedgehog<64>, Terraced<64>>>({}, {4, 2, 128});
  check_loops<Hybrid<Hedgehog<64>, Sliding<64>, Affine>>({}, {4, 2, 64});
  check_loops<Hybrid<T2R<128>, Terraced<>, KeyMapsPerGroup>>(Terraced<>(32), {4, 2, 128});
  check_loops<Hybrid<Hedgehog<64>, Sinks<4, Sliding<64>>>>({}, {4, 2, 64});
  check_loops<Linear<Hedgehog<64>>>({}, {4, 1, 128});
  check_loops<Softmax<>>(Sliding<>(unlimited), {4, 2, 64});
  check_loops<Softmax<>>(Sliding<>(100), {4, 2, 128});
}

TEST_CASE("linear attention in pieces") { check_pieces<Linear<Hedgehog<64>>>({}); }

TEST_CASE("softmax in pieces") {
  check_pieces<Softmax<>>(Sliding<>(unlimited), {64, 128}, {1, 3, 127, 128, 129, 600});
  check_pieces<Softmax<>>(Sliding<>(100), {128});
}

TEST_CASE("softmax with sinks in pieces, which go on behind sinks that lie apart") {
  using A = Softmax<Sinks<4, Sliding<>>>;
  check_pieces<A>(Sinks<4, Sliding<>>(124), {64, 128}, {1, 3, 5, 128, 200, 600});
  check_pieces<A>(Sinks<4, Sliding<>>(128), {128}, {600});
  check_loops<A>(Sinks<4, Sliding<>>(60), {4, 2, 128});
}

TEST_CASE("long prompts are cut into chunks") {
  if (!have_hopper()) return;
  const Sequences sequences(5003, {{0, 4000, 0}, {4000, 1003, 0}});
  check_sums<Hybrid<Hedgehog<64>, Terraced<64>>>({}, {4, 2, 128}, sequences);
  check_sums<Hybrid<Hedgehog<64>, Sliding<64>>>({}, {4, 2, 64}, sequences);
  check_sums<Linear<T2R<128>>>({}, {4, 1, 128}, sequences);
  check_sums<Softmax<>>(Sliding<>(unlimited), {4, 2, 128}, sequences);
}

TEST_CASE("more sequences than a launch takes") {
  if (!have_hopper()) return;
  std::vector<Extent> extents;
  Index rows = 0;
  for (Index n = 0; n < 150; ++n) {
    const Index length = 2 + (n * 37) % 190;
    extents.push_back({rows, length, 0});
    rows += length;
  }
  check_sums<Hybrid<Hedgehog<64>, Terraced<64>>>({}, {4, 2, 64}, Sequences(rows, extents));
  check_sums<Softmax<>>(Sliding<>(unlimited), {4, 2, 64}, Sequences(rows, extents));
}

// Padding holds NaN, and a tile at the end of a sequence reads it.
TEST_CASE("rows outside every sequence are zero and leak into none") {
  if (!have_hopper()) return;
  const auto check = [&]<AttentionPolicy A>(typename A::Window window, std::type_identity<A>) {
    auto c = random_attention_case<A>(window, {4, 2, 64}, Sequences(200, {{5, 70, 0}, {100, 33, 0}}), 8);
    for (const char* name : {"q", "k", "v"}) {
      auto& x = c.in.at(name);
      const std::size_t width = x.size() / 200;
      for (std::size_t row = 0; row < 200; ++row) {
        const bool inside = (row >= 5 && row < 75) || (row >= 100 && row < 133);
        if (!inside) std::fill_n(x.begin() + static_cast<std::ptrdiff_t>(row * width), width, std::nan(""));
      }
    }
    AttentionArguments<B, A> arguments(c, {false, false, false});
    Tape<B> tape;
    poison(tape, Index{1} << 16);
    AttentionState<B> state;
    const Var<B> q = arguments.var(tape, "q"), k = arguments.var(tape, "k"), v = arguments.var(tape, "v");
    const auto y = host(
        B{}, attention_step<A>(tape, q, k, v, c.sequences, c.heads, state, arguments.weights(tape), window).value());
    const cuda::GeneralAttentionOnly only;
    AttentionState<B> general;
    const auto want = host(
        B{}, attention_step<A>(tape, q, k, v, c.sequences, c.heads, general, arguments.weights(tape), window).value());
    CHECK(close(want, y, 1e-2));
    for (std::size_t n = 0; n < 2; ++n) {
      if (!state.slots[n].sums) continue;
      CHECK(close(host(B{}, general.slots[n].sums.view()), host(B{}, state.slots[n].sums.view()), 4e-3));
    }
  };
  check(Terraced<64>{}, std::type_identity<Hybrid<Hedgehog<64>, Terraced<64>>>{});
  check(Nothing{}, std::type_identity<Linear<Hedgehog<64>>>{});
  check(Sliding<>(unlimited), std::type_identity<Softmax<>>{});
}

TEST_CASE("which kernels a prefill takes") {
  if (!have_hopper()) return;
  CHECK(prefill_path<Hybrid<Hedgehog<64>, Terraced<64>>>({}, {4, 2, 128}) == AttentionPath::fused);
  CHECK(prefill_path<Softmax<>>(Sliding<>(unlimited), {4, 2, 64}) == AttentionPath::softmax);
  CHECK(prefill_path<Softmax<Sinks<4, Sliding<124>>>>({}, {4, 2, 64}) == AttentionPath::softmax);
  CHECK(prefill_path<Softmax<Sinks<65, Sliding<124>>>>({}, {4, 2, 64}) == AttentionPath::general);
  CHECK(prefill_path<Hybrid<Hedgehog<64>, Sinks<4, Terraced<64>>>>({}, {4, 2, 128}) == AttentionPath::fused);
  CHECK(prefill_path<Hybrid<Hedgehog<64>, Sinks<9, Terraced<64>>>>({}, {4, 2, 128}) == AttentionPath::general);
  CHECK(prefill_path<Hybrid<T2R<128>, Sinks<4, Terraced<64>>>>({}, {4, 2, 128}) == AttentionPath::fused);
  CHECK(prefill_path<Hybrid<Hedgehog<64>, Terraced<64>>>({}, {4, 2, 72}) == AttentionPath::general);
  CHECK(prefill_path<Hybrid<Hedgehog<64>, Sliding<16>>>({}, {4, 2, 128}) == AttentionPath::general);
  // A terrace is the same only behind whole terraces.
  CHECK(hopper::sees_the_same(Terraced<64>{}, 128, 5, 400));
  CHECK(!hopper::sees_the_same(Terraced<64>{}, 100, 5, 400));
  CHECK(hopper::sees_the_same(Sliding<64>{}, 77, 64, 400));
}
