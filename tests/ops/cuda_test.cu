// The operations on CUDA: each against its reference, and what is special about a GPU.
#include "checks.hpp"

#include <lolcats/ops/arg_max/cuda.cuh>
#include <lolcats/ops/blend/cuda.cuh>
#include <lolcats/ops/concat/cuda.cuh>
#include <lolcats/ops/cross_entropy/cuda.cuh>
#include <lolcats/ops/delta_rule/cuda.cuh>
#include <lolcats/ops/divergence/cuda.cuh>
#include <lolcats/ops/dropout/cuda.cuh>
#include <lolcats/ops/elementwise/cuda.cuh>
#include <lolcats/ops/embedding/cuda.cuh>
#include <lolcats/ops/lerp/cuda.cuh>
#include <lolcats/ops/linear/cuda.cuh>
#include <lolcats/ops/lora_linear/cuda.cuh>
#include <lolcats/ops/novelty/cuda.cuh>
#include <lolcats/ops/rms_norm/cuda.cuh>
#include <lolcats/ops/rope/cuda.cuh>
#include <lolcats/ops/softmax/cuda.cuh>
#include <lolcats/ops/squared_error/cuda.cuh>
#include <lolcats/ops/swiglu/cuda.cuh>
#include <lolcats/testing/gpu.cuh>

using namespace lolcats;
using namespace lolcats::testing;

#define LOLCATS_CHECK_ON_GPU(operation)                                                      \
  TEST_CASE_TEMPLATE(#operation " is its reference on CUDA", B, Cuda<float>, Cuda<bf16>) { \
    if (have_gpu()) check_##operation<B>();                                                  \
  }
LOLCATS_CHECK_ON_GPU(elementwise)
LOLCATS_CHECK_ON_GPU(softmax)
LOLCATS_CHECK_ON_GPU(concat)
LOLCATS_CHECK_ON_GPU(linear)
LOLCATS_CHECK_ON_GPU(lora_linear)
LOLCATS_CHECK_ON_GPU(embedding)
LOLCATS_CHECK_ON_GPU(rms_norm)
LOLCATS_CHECK_ON_GPU(rope)
LOLCATS_CHECK_ON_GPU(novelty)
LOLCATS_CHECK_ON_GPU(swiglu)
LOLCATS_CHECK_ON_GPU(squared_error)
LOLCATS_CHECK_ON_GPU(lerp)
LOLCATS_CHECK_ON_GPU(blend)
LOLCATS_CHECK_ON_GPU(delta_rule)
LOLCATS_CHECK_ON_GPU(delta_rule_states)
LOLCATS_CHECK_ON_GPU(cross_entropy)
LOLCATS_CHECK_ON_GPU(divergence)
LOLCATS_CHECK_ON_GPU(dropout)
LOLCATS_CHECK_ON_GPU(arg_max)

TEST_CASE("both backends drop the same elements") {
  if (!have_gpu()) return;
  using B = Cuda<float>;
  Tape<B> tape;
  tape.training = true;
  tape.seed = 3;
  const auto ones = array<B>(Shape{5000}, std::vector<double>(5000, 1.0));
  const auto y = host(tape.backend(), dropout(tape, tape.constant(ones.view()), 0.5, 1).value());
  CHECK(same(mask_of(5000, 0.5, 3, 1), y));
}

TEST_CASE("one array may be both arguments of swiglu") {
  if (!have_gpu()) return;
  using B = Cuda<float>;
  CHECK(check_operation<B>({{Shape{7, 13}}},
                           [](Tape<B>& tape, Vars<B> x, Weights<B>) { return swiglu(tape, x[0], x[0]); },
                           [](Numbers a) { return naive::swiglu(a[0], a[0]); }));
}

TEST_CASE_TEMPLATE("gates far from zero are 0 or the identity", B, Cuda<float>, Cuda<bf16>) {
  if (!have_gpu()) return;
  Tape<B> tape;
  const auto gate = array<B>(Shape{6}, {-1e4, -800, -100, 100, 800, 1e4}), up = array<B>(Shape{6}, std::vector(6, 2.0));
  const auto g = tape.variable(gate.view()), u = tape.variable(up.view());
  const auto y = swiglu(tape, g, u);
  const auto want = host(tape.backend(), gate.view());
  CHECK(same(std::vector{0.0, 0.0, 0.0, 2 * want[3], 2 * want[4], 2 * want[5]}, host(tape.backend(), y.value())));
  tape.backend().copy(up.data(), y.sink().gradient.data, 6);
  tape.replay(0);
  CHECK(same(std::vector<double>{0, 0, 0, 4, 4, 4}, host(tape.backend(), g.gradient())));
}

TEST_CASE("a long sum of floats keeps its digits") {
  if (!have_gpu()) return;
  using B = Cuda<float>;
  Tape<B> tape;
  const auto x = array<B>(Shape{3'000'001}, std::vector<double>(3'000'001, 0.1F));
  CHECK(item(tape, sum(tape, tape.constant(x.view()))) == doctest::Approx(3'000'001 * double(0.1F)).epsilon(1e-7));
}

TEST_CASE("rows outside the extents stay as they are, with an empty table too") {
  if (!have_gpu()) return;
  using B = Cuda<float>;
  Rng rng(1);
  const auto x = normal<B>(Shape{4, 6}, rng);
  Tape<B> tape;
  poison(tape);
  const auto values = host(tape.backend(), x.view());
  const Sequences none(4, {});
  CHECK(same(values, host(tape.backend(), rope(tape, tape.constant(x.view()), none, RopeTable<B>(frequencies(3))).value())));
}

TEST_CASE_TEMPLATE("rows without a label have no loss and no gradient", B, Cuda<float>, Cuda<bf16>) {
  if (!have_gpu()) return;
  Rng rng(1);
  const auto hidden = normal<B>(Shape{600, 4}, rng), head = normal<B>(Shape{9, 4}, rng);
  const std::vector<Index> none(600, ignored_label);
  Tape<B> tape;
  poison(tape);
  const auto x = tape.variable(hidden.view());
  const auto loss = cross_entropy(tape, x, Weight<B>{head.view(), {}}, none, 1.0);
  CHECK(item(tape, loss) == 0.0);
  tape.backward(loss);
  CHECK(same(std::vector<double>(2400, 0.0), host(tape.backend(), x.gradient())));
}

TEST_CASE("large logits neither overflow nor cost digits") {
  if (!have_gpu()) return;
  using B = Cuda<float>;
  Tape<B> tape;
  const auto hidden = array<B>(Shape{2, 1}, {1.0, -1.0}), head = array<B>(Shape{3, 1}, {5000.0, 5000.0, -5000.0});
  const std::vector<Index> labels = {0, 1};
  CHECK(close(std::vector{std::log(2.0), 10000.0},
              host(tape.backend(), token_losses<B>(tape, hidden.view(), head.view(), labels)), 1e-7));
}

TEST_CASE_TEMPLATE("many tiles and chunks of a vocabulary on both sides of a divergence", B, Cuda<float>, Cuda<bf16>) {
  if (!have_gpu()) return;
  Rng rng(2);
  const Index rows = 2600, cols = 5, vocabulary = 8300;
  const auto hidden = normal<B>(Shape{rows, cols}, rng), teacher = normal<B>(Shape{rows, cols}, rng);
  const auto head = normal<B>(Shape{vocabulary, cols}, rng);
  std::vector<Index> labels(static_cast<std::size_t>(rows), 1);  // more than one tile of rows
  labels[3] = labels[2048] = ignored_label;
  Tape<B> tape;
  poison(tape);
  const B& backend = tape.backend();
  const auto h = host(backend, hidden.view()), t = host(backend, teacher.view()), w = host(backend, head.view());
  const auto x = tape.variable(hidden.view());
  const auto got = host(backend, token_divergences<B>(tape, hidden.view(), teacher.view(), head.view(), labels, 1.5));
  CHECK(close(naive::token_divergences(h, t, w, labels, vocabulary, cols, 1.5), got, 1e-5));
  tape.backward(divergence<B>(tape, x, teacher.view(), Weight<B>{head.view(), {}}, labels, 1.5, 0.5));
  const auto dx = host(backend, x.gradient());
  std::vector<double> want(dx.size(), 0.0);
  for (std::size_t m = 0; m < labels.size(); ++m) {
    if (labels[m] == ignored_label) continue;
    const auto q = naive::log_probabilities(h, m, w, vocabulary, cols, 1.5), p = naive::log_probabilities(t, m, w, vocabulary, cols, 1.5);
    for (std::size_t v = 0; v < q.size(); ++v) {
      for (std::size_t c = 0; c < 5; ++c) want[5 * m + c] += 0.5 / 1.5 * (std::exp(q[v]) - std::exp(p[v])) * w[5 * v + c];
    }
  }
  CHECK(close(want, dx, std::is_same_v<B, Cuda<float>> ? 1e-4 : 2e-2));
}

TEST_CASE_TEMPLATE("many tiles and chunks of a vocabulary", B, Cuda<float>, Cuda<bf16>) {
  if (!have_gpu()) return;
  // More than 4096 supervised rows and 8192 entries, neither a multiple of anything.
  Rng rng(2);
  const Index rows = 5003, cols = 9, vocabulary = 17011;
  const auto hidden = normal<B>(Shape{rows, cols}, rng);
  const auto table = normal<B>(Shape{vocabulary, cols}, rng);
  std::vector<Index> labels = labels_for(rows, vocabulary);
  for (std::size_t m = 0; m < labels.size(); ++m) {  // ignored rows are few, so that there are two tiles
    if (m % 7 != 0 && labels[m] == ignored_label) labels[m] = static_cast<Index>(m);
  }
  Tape<B> tape;
  poison(tape);
  const B& backend = tape.backend();
  const auto got = host(backend, token_losses<B>(tape, hidden.view(), table.view(), labels));
  const auto h = host(backend, hidden.view()), w = host(backend, table.view());
  const auto x = tape.variable(hidden.view());
  Parameter<B> head(table);
  head.train(backend);
  const auto loss = cross_entropy(tape, x, Weight<B>(head), labels, 0.5);
  tape.backward(loss);
  const auto dx = host(backend, x.gradient()), dw = host(backend, head.gradient());
  double worst = 0, total = 0, worst_gradient = 0;
  std::vector<double> last(static_cast<std::size_t>(cols), 0.0);  // the gradient of the last entry of the vocabulary
  for (Index m = 0; m < rows; ++m) {
    const auto row = static_cast<std::size_t>(m);
    if (labels[row] == ignored_label) {
      CHECK(got[row] == 0);
      continue;
    }
    std::vector<double> logits(static_cast<std::size_t>(vocabulary), 0.0);
    double sum = 0;
    for (std::size_t v = 0; v < logits.size(); ++v) {
      for (Index c = 0; c < cols; ++c) logits[v] += h[row * cols + c] * w[v * cols + c];
      sum += std::exp(logits[v]);
    }
    const double want = std::log(sum) - logits[static_cast<std::size_t>(labels[row])];
    worst = std::max(worst, std::abs(want - got[row]));
    total += want;
    const double p = std::exp(logits.back()) / sum - (labels[row] == vocabulary - 1 ? 1.0 : 0.0);
    for (Index c = 0; c < cols; ++c) last[static_cast<std::size_t>(c)] += 0.5 * p * h[row * cols + c];
    if (m % 500 != 0) continue;
    for (Index c = 0; c < cols; ++c) {
      double slope = -w[static_cast<std::size_t>(labels[row]) * cols + c];
      for (std::size_t v = 0; v < logits.size(); ++v) slope += std::exp(logits[v]) / sum * w[v * cols + c];
      worst_gradient = std::max(worst_gradient, std::abs(0.5 * slope - dx[row * cols + c]));
    }
  }
  CHECK(worst < 2e-5);
  CHECK(item(tape, loss) == doctest::Approx(0.5 * total).epsilon(1e-6));
  CHECK(worst_gradient < (std::is_same_v<Scalar<B>, bf16> ? 1e-2 : 1e-5));
  CHECK(close(last, std::vector<double>(dw.end() - cols, dw.end()), std::is_same_v<Scalar<B>, bf16> ? 1e-2 : 1e-4));
}
