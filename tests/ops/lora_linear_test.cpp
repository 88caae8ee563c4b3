// lora_linear: y = x W^T + scale (mask(x) A^T) B^T.
#include <lolcats/ops/lora_linear/eigen.hpp>
#include <lolcats/ops/lora_linear/naive.hpp>
#include <lolcats/testing/gradient_check.hpp>
#include <lolcats/testing/operation_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

/// The mask of dropout as the reference wants it, read off dropout of ones.
std::vector<double> mask_of(Index size, double p, std::uint64_t seed, std::uint64_t stream) {
  using B = Cpu<double>;
  Tape<B> tape;
  tape.training = true;
  tape.seed = seed;
  const auto ones = array<B>(Shape{size}, std::vector<double>(static_cast<std::size_t>(size), 1.0));
  return as_doubles(dropout(tape, tape.constant(ones.view()), p, stream).value());
}

}  // namespace

TEST_CASE_TEMPLATE("lora_linear is its reference, values and gradients", B, Cpu<float>, Cpu<double>) {
  const std::array<Index, 4> sizes[] = {{1, 1, 1, 1},    {3, 65, 1, 2},    {63, 64, 65, 8}, {64, 3, 63, 3},
                                        {65, 63, 64, 1}, {300, 64, 64, 8}, {1, 64, 900, 4}, {70, 64, 257, 16}};
  for (const auto& [rows, inputs, outputs, rank] : sizes) {
    for (const double p : {0.0, 0.3}) {
      CAPTURE(rows);
      CAPTURE(inputs);
      CAPTURE(p);
      OperationCheckOptions<B> options;
      options.training = true;
      const auto mask = mask_of(rows * inputs, p, options.seed, 9);
      CHECK(check_operation<B>(
          {{Shape{rows, inputs}},
           {Shape{outputs, inputs}, true},
           {Shape{rank, inputs}, true},
           {Shape{outputs, rank}, true}},
          [p = p](Tape<B>& tape, std::span<const Var<B>> x, std::span<const Weight<B>> w) {
            return lora_linear(tape, x[0], w[0], w[1], w[2], 0.75, p, 9);
          },
          [&](std::span<const std::vector<double>> a) {
            return naive::lora_linear(a[0], a[1], a[2], a[3], mask, 0.75, rows, inputs, outputs, rank);
          },
          options));
    }
  }
}

TEST_CASE("lora_linear has the derivatives of what it computes, each argument alone") {
  using B = Cpu<double>;
  Rng rng(1);
  Parameter<B> w(normal<B>(Shape{4, 3}, rng)), a(normal<B>(Shape{2, 3}, rng)), b(normal<B>(Shape{4, 2}, rng));
  for (const double p : {0.0, 0.5}) {
    CHECK(check_gradients({normal<B>(Shape{5, 3}, rng)}, {&w, &a, &b}, [&](Tape<B>& tape, std::span<const Var<B>> x) {
      tape.training = true;
      return lora_linear(tape, x[0], w, a, b, 2.0, p, 3);
    }));
  }
}

TEST_CASE_TEMPLATE("a fresh adapter (B = 0) changes nothing, and dropout acts in training only", T, float, double) {
  using B = Cpu<T>;
  Rng rng(1);
  const auto x = normal<B>(Shape{65, 64}, rng), w = normal<B>(Shape{63, 64}, rng), a = normal<B>(Shape{8, 64}, rng);
  const auto zero = normal<B>(Shape{63, 8}, rng, 0.0), b = normal<B>(Shape{63, 8}, rng);
  Tape<B> tape;
  poison(tape);
  const auto weight = [](const Tensor<T>& value) { return Weight<B>{value.view(), {}}; };
  const auto in = tape.constant(x.view());
  const auto plain = linear(tape, in, weight(w));
  tape.training = true;
  CHECK(same(plain.value(), lora_linear(tape, in, weight(w), weight(a), weight(zero), 2.0, 0.5, 1).value()));
  const auto dropped = lora_linear(tape, in, weight(w), weight(a), weight(b), 2.0, 0.5, 1);
  const auto undropped = lora_linear(tape, in, weight(w), weight(a), weight(b), 2.0, 0.0, 1);
  CHECK_FALSE(close(undropped.value(), dropped.value(), 1e-2));
  tape.training = false;
  CHECK(same(undropped.value(), lora_linear(tape, in, weight(w), weight(a), weight(b), 2.0, 0.5, 1).value()));
}

TEST_CASE("lora_linear refuses shapes and probabilities that make no sense") {
  using B = Cpu<double>;
  Rng rng(1);
  Tape<B> tape;
  tape.training = true;
  const auto x = tape.constant(tape.scratch<double>(Shape{2, 3}));
  const Weight<B> w{tape.scratch<double>(Shape{4, 3}), {}}, a{tape.scratch<double>(Shape{2, 3}), {}};
  const Weight<B> b{tape.scratch<double>(Shape{4, 2}), {}};
  CHECK_THROWS_AS(lora_linear(tape, x, a, b, w, 1.0, 0.0, 0), ShapeError);
  CHECK_THROWS_WITH_AS(lora_linear(tape, x, w, b, b, 1.0, 0.0, 0), "lora_linear: a has shape (4, 2), expected (4, 3)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(lora_linear(tape, x, w, a, a, 1.0, 0.0, 0), "lora_linear: b has shape (2, 3), expected (4, 2)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(lora_linear(tape, x, w, a, b, 1.0, 1.0, 0), "lora_linear: dropout is 1, expected 0 <= p < 1",
                       ConfigError);
}
