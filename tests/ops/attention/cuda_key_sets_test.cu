// A cache beside sums over far keys on CUDA: N x N loops in double, and decoding states that agree with one pass.
#include <lolcats/ops/attention/cuda.cuh>
#include <lolcats/ops/attention/cuda_state.cuh>
#include <lolcats/testing/attention_suite.hpp>
#include <lolcats/testing/gpu.cuh>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

using LearnedBeside = Hybrid<Hedgehog<dynamic>, Sinks<4, Sliding<>>, Affine, Kept<6, LearnedScore>>;
using RecalledBeside = Hybrid<Hedgehog<dynamic>, Sliding<>, Kept<40, RecallError>>;
using RecalledPerGroup = Hybrid<EluPlusOne<3>, Sinks<2, Terraced<>>, KeyMapsPerGroup, Kept<7, RecallError>>;

/// Against the reference in float.  In bf16 only where scores are given: computed ones of rounded products choose other keys.
template <AttentionPolicy A>
void check_cached_pass(typename A::Window window, const AttentionSuite& suite) {
  if (!have_gpu()) return;
  check_attention_against_reference<A, Cuda<float>>(window, suite, 1e-5, 1e-4);
  if constexpr (!recalls_values<MemoryOf<A>>) check_attention_against_reference<A, Cuda<bf16>>(window, suite, 1e-2, 3e-2);
}

template <AttentionPolicy A>
void check_cached_steps(typename A::Window window, const AttentionSuite& suite) {
  if (!have_gpu()) return;
  check_attention_steps<A, Cuda<float>>(window, suite, 1e-5);
  check_attention_steps<A, Cuda<bf16>>(window, suite, 1e-2);
}

void check_cached_case(const auto& c) {
  lolcats::testing::detail::check_numbers(reference_attention(c), run_attention<Cuda<float>>(c), 1e-5, 1e-4);
}

}  // namespace

TEST_CASE("a cache beside far sums, by given scores") {
  check_cached_pass<LearnedBeside>(Sinks<4, Sliding<>>(10), {.lengths = {1, 3, 63, 64, 65, 127, 200}});
  check_cached_pass<LearnedBeside>(Sinks<4, Sliding<>>(40), {.lengths = {130}, .sizes = {72}});
  if (!have_gpu()) return;
  check_attention_wanted<LearnedBeside, Cuda<float>>(Sinks<4, Sliding<>>(10), {});
  check_attention_wanted<LearnedBeside, Cuda<bf16>>(Sinks<4, Sliding<>>(10), {});
}

TEST_CASE("a cache beside far sums, by recall errors") {
  check_cached_pass<RecalledBeside>(Sliding<>(10), {.lengths = {3, 65, 200}, .sizes = {8}});
  check_cached_pass<RecalledPerGroup>(Sinks<2, Terraced<>>(8), {.lengths = {3, 65, 200}, .sizes = {8}});
}

TEST_CASE("a cache beside far sums: heads that keep nothing, or all") {
  if (!have_gpu()) return;
  auto c = random_attention_case<RecalledPerGroup>(Sinks<2, Terraced<>>(8), {4, 2, 8}, Sequences::rectangular(2, 100), 5);
  for (const auto& sizes : {std::vector<double>{0, 7}, std::vector<double>{7, 0}, std::vector<double>{0, 0}}) {
    c.in["cache_sizes"] = sizes;
    check_cached_case(c);
    AttentionState<Cuda<float>> state;
    const auto cut = [](Index n) { return std::vector<Index>{n - 30, 20, 1, 1, 8}; };
    CHECK(close(run_attention<Cuda<float>>(c).at("y"), run_attention_steps<Cuda<float>>(c, cut, state), 1e-5));
  }
}

TEST_CASE("a cache beside far sums: long sequences are cut into chunks") {
  if (!have_gpu()) return;
  check_cached_case(random_attention_case<RecalledBeside>(Sliding<>(64), {1, 1, 8}, Sequences(1500, {{3, 1100, 0}, {1103, 300, 0}}), 3));
}

TEST_CASE("a cache beside far sums: one pass = prefill in pieces = token by token") {
  check_cached_steps<LearnedBeside>(Sinks<4, Sliding<>>(10), {.lengths = {1, 3, 64, 65, 127}});
  check_cached_steps<RecalledBeside>(Sliding<>(5), {.lengths = {1, 65, 200}});
  check_cached_steps<RecalledPerGroup>(Sinks<2, Terraced<>>(8), {.lengths = {1, 3, 65, 200}});
}

TEST_CASE("a cache beside far sums: a prompt is cut into chunks and goes on") {
  if (!have_gpu()) return;
  const auto c = random_attention_case<RecalledBeside>(Sliding<>(64), {1, 1, 8}, Sequences::rectangular(1, 1500), 7);
  AttentionState<Cuda<float>> state;
  const auto cut = [](Index n) { return std::vector<Index>{700, n - 703, 1, 1, 1}; };
  CHECK(close(run_attention<Cuda<float>>(c).at("y"), run_attention_steps<Cuda<float>>(c, cut, state), 1e-5));
}

TEST_CASE("a cache beside far sums: many slots at positions of their own, whose tiles leave at different times") {
  if (!have_gpu()) return;
  std::vector<Extent> extents;
  Index rows = 0;
  for (Index n = 0; n < 70; ++n) {
    extents.push_back({rows, 20 + n % 13, 0});
    rows += 20 + n % 13;
  }
  const auto c = random_attention_case<RecalledPerGroup>(Sinks<2, Terraced<>>(4), {4, 2, 8}, Sequences(rows, extents), 9);
  AttentionState<Cuda<float>> state;
  const auto cut = [](Index length) {  // a prompt of its own length, then 19 tokens
    std::vector<Index> pieces(20, 1);
    pieces[0] = length - 19;
    return pieces;
  };
  CHECK(close(run_attention<Cuda<float>>(c).at("y"), run_attention_steps<Cuda<float>>(c, cut, state), 1e-5));
}
