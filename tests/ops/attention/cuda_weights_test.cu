// Attention weights on CUDA are those of the N x N loops.
#include <lolcats/ops/attention/cuda.cuh>
#include <lolcats/ops/attention/cuda_weights.cuh>
#include <lolcats/testing/attention_suite.hpp>
#include <lolcats/testing/gpu.cuh>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

template <AttentionPolicy A, Backend B>
void check_weights(typename A::Window window, Index size, double tolerance) {
  if (!have_gpu()) return;
  INFO(A::name(), " on ", B::name(), ", heads of size ", size);
  auto c = random_attention_case<A>(window, {4, 2, size}, lolcats::testing::detail::ragged(150), 21);
  for (auto& [name, values] : c.in) values = rounded<B>(values);
  std::vector<std::vector<double>> want;
  reference_attention(c, &want);
  AttentionArguments<B, A> arguments(c, {false, false, false});
  Tape<B> tape;
  const Var<B> q = arguments.var(tape, "q"), k = arguments.var(tape, "k");
  std::vector<std::vector<double>> got;
  for (const auto& one : want) got.emplace_back(one.size(), 0.0);
  Index last_first = -1;
  visit_attention_weights<A>(
      B{}, q.value(), k.value(), c.sequences, c.heads, arguments.weights(tape), window,
      [&](Index n, Index h, Index first, const auto& a) {
        const Index length = c.sequences[n].length;
        if (h == 0 && first == 0) last_first = -1;
        if (h == 0) CHECK(first > std::exchange(last_first, first));
        for (Index i = 0; i < a.rows(); ++i) {
          for (Index j = 0; j < a.cols(); ++j) {
            got[static_cast<std::size_t>(n)][static_cast<std::size_t>((h * length + first + i) * length + j)] =
                a.data[i * a.cols() + j];
          }
        }
      });
  for (std::size_t n = 0; n < want.size(); ++n) CHECK(close(want[n], got[n], tolerance));
}

}  // namespace

TEST_CASE_TEMPLATE("weights of sinks, gates and caches", B, Cuda<float>, Cuda<bf16>) {
  const double tolerance = std::is_same_v<B, Cuda<float>> ? 1e-5 : 2e-3;
  check_weights<Hybrid<Hedgehog<dynamic>, Sinks<4, Sliding<>>, Decay<ProjectedGate>>, B>(Sinks<4, Sliding<>>(20), 16, tolerance);
  check_weights<Softmax<Sinks<70, Sliding<>>>, B>(Sinks<70, Sliding<>>(20), 16, tolerance);
  check_weights<Hybrid<Hedgehog<dynamic>, Sinks<4, Sliding<>>, Kept<6, LearnedScore>>, B>(Sinks<4, Sliding<>>(20), 16, tolerance);
}

TEST_CASE_TEMPLATE("weights of hybrid, linear and softmax attention", B, Cuda<float>, Cuda<bf16>) {
  const double tolerance = std::is_same_v<B, Cuda<float>> ? 1e-5 : 2e-3;
  for (const Index size : {3, 16}) {
    check_weights<Hybrid<Hedgehog<dynamic>, Sliding<>, Affine>, B>(Sliding<>(20), size, tolerance);
    check_weights<Linear<EluPlusOne<70>, KeyMapsPerGroup>, B>({}, size, tolerance);
    check_weights<Softmax<>, B>(Sliding<>(unlimited), size, tolerance);
  }
}

TEST_CASE_TEMPLATE("the largest weights from beyond a window", B, Cuda<float>, Cuda<bf16>) {
  if (!have_gpu()) return;
  using A = Softmax<>;
  const Sinks<2, Sliding<>> window(Index{70});
  for (const Index teacher : {unlimited, Index{100}}) {
    auto c = random_attention_case<A>(Sliding<>(teacher), {4, 2, 64}, lolcats::testing::detail::ragged(250), 22);
    for (auto& [name, values] : c.in) values = rounded<B>(values);
    std::vector<std::vector<double>> weights;
    reference_attention(c, &weights);
    std::vector<double> want(static_cast<std::size_t>(c.sequences.rows() * 4), 0.0);
    for (Index n = 0; n < c.sequences.count(); ++n) {
      const Extent& e = c.sequences[n];
      for (Index h = 0; h < 4; ++h) {
        for (Index i = 0; i < e.length; ++i) {
          for (Index j = 2; j <= i - 70; ++j) {
            double& most = want[static_cast<std::size_t>((e.row + j) * 4 + h)];
            most = std::max(most, weights[static_cast<std::size_t>(n)][static_cast<std::size_t>((h * e.length + i) * e.length + j)]);
          }
        }
      }
    }
    AttentionArguments<B, A> arguments(c, {false, false, false});
    Tape<B> tape;
    const auto got = largest_far_weights(B{}, arguments.var(tape, "q").value(), arguments.var(tape, "k").value(), c.sequences, c.heads,
                                         Sliding<>(teacher), window);
    CHECK(close(want, std::vector<double>(got.begin(), got.end()), 1e-5));
  }
}
