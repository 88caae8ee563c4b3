// Every operation against its reference, for any backend: the part of the operations' tests that backends share.
#pragma once

#include <lolcats/ops/arg_max/arg_max.hpp>
#include <lolcats/ops/blend/blend.hpp>
#include <lolcats/ops/blend/naive.hpp>
#include <lolcats/ops/concat/concat.hpp>
#include <lolcats/ops/concat/naive.hpp>
#include <lolcats/ops/cross_entropy/cross_entropy.hpp>
#include <lolcats/ops/cross_entropy/naive.hpp>
#include <lolcats/ops/delta_rule/delta_rule.hpp>
#include <lolcats/ops/delta_rule/naive.hpp>
#include <lolcats/ops/divergence/divergence.hpp>
#include <lolcats/ops/divergence/naive.hpp>
#include <lolcats/ops/dropout/dropout.hpp>
#include <lolcats/ops/dropout/naive.hpp>
#include <lolcats/ops/elementwise/elementwise.hpp>
#include <lolcats/ops/elementwise/naive.hpp>
#include <lolcats/ops/embedding/embedding.hpp>
#include <lolcats/ops/embedding/naive.hpp>
#include <lolcats/ops/lerp/lerp.hpp>
#include <lolcats/ops/lerp/naive.hpp>
#include <lolcats/ops/linear/linear.hpp>
#include <lolcats/ops/linear/naive.hpp>
#include <lolcats/ops/lora_linear/lora_linear.hpp>
#include <lolcats/ops/lora_linear/naive.hpp>
#include <lolcats/ops/novelty/naive.hpp>
#include <lolcats/ops/novelty/novelty.hpp>
#include <lolcats/ops/rms_norm/naive.hpp>
#include <lolcats/ops/rms_norm/rms_norm.hpp>
#include <lolcats/ops/rope/naive.hpp>
#include <lolcats/ops/rope/rope.hpp>
#include <lolcats/ops/softmax/naive.hpp>
#include <lolcats/ops/softmax/softmax.hpp>
#include <lolcats/ops/squared_error/naive.hpp>
#include <lolcats/ops/squared_error/squared_error.hpp>
#include <lolcats/ops/swiglu/naive.hpp>
#include <lolcats/ops/swiglu/swiglu.hpp>
#include <lolcats/testing/operation_check.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

namespace lolcats::testing {

template <Backend B>
using Vars = std::span<const Var<B>>;
template <Backend B>
using Weights = std::span<const Weight<B>>;
using Numbers = std::span<const std::vector<double>>;

template <Backend B>
void check_elementwise() {
  for (const auto& [rows, cols] : {std::array<Index, 2>{1, 1}, {3, 63}, {64, 3}, {65, 65}, {700, 64}}) {
    CAPTURE(rows);
    CAPTURE(cols);
    CHECK(check_operation<B>(
        {{Shape{rows, cols}}, {Shape{rows, cols}}},
        [](Tape<B>& tape, Vars<B> x, Weights<B>) { return add(tape, x[0], x[1]); },
        [](Numbers a) { return naive::add(a[0], a[1]); }));
    CHECK(check_operation<B>(
        {{Shape{rows, cols}}, {Shape{rows, cols}}},
        [](Tape<B>& tape, Vars<B> x, Weights<B>) { return multiply(tape, x[0], x[1]); },
        [](Numbers a) { return naive::multiply(a[0], a[1]); }));
    CHECK(check_operation<B>(
        {{Shape{rows, cols}}}, [](Tape<B>& tape, Vars<B> x, Weights<B>) { return multiply(tape, x[0], x[0]); },
        [](Numbers a) { return naive::multiply(a[0], a[0]); }));
    CHECK(check_operation<B>(
        {{Shape{rows, cols}}}, [](Tape<B>& tape, Vars<B> x, Weights<B>) { return exp(tape, x[0]); },
        [](Numbers a) { return naive::exp(a[0]); }));
    CHECK(check_operation<B>(
        {{Shape{rows, cols}}}, [](Tape<B>& tape, Vars<B> x, Weights<B>) { return scale(tape, x[0], -2.5); },
        [](Numbers a) { return naive::scale(a[0], -2.5); }));
    CHECK(check_operation<B>(
        {{Shape{rows, cols}, false, 1.0, 1.0}},  // a mean of one: relative error means something
        [](Tape<B>& tape, Vars<B> x, Weights<B>) { return sum(tape, x[0]); },
        [](Numbers a) { return std::vector{naive::sum(a[0])}; }));
  }
}

template <Backend B>
void check_softmax() {
  for (const auto& [rows, heads, size] : {std::array<Index, 3>{1, 1, 1}, {3, 2, 63}, {64, 3, 2}, {65, 5, 65}, {700, 1, 64}}) {
    CAPTURE(rows);
    CAPTURE(size);
    CHECK(check_operation<B>(
        {{Shape{rows, heads * size}, false, 2.0}},
        [heads = heads](Tape<B>& tape, Vars<B> x, Weights<B>) { return softmax(tape, x[0], heads); },
        [size = size](Numbers a) { return naive::softmax(a[0], static_cast<std::size_t>(size)); }));
  }
}

template <Backend B>
void check_concat() {
  // rows, heads, columns of a head on the left and on the right
  for (const auto& [rows, heads, left, right] :
       {std::array<Index, 4>{1, 1, 1, 1}, {3, 2, 63, 1}, {64, 3, 2, 5}, {65, 5, 13, 64}, {700, 1, 64, 64}}) {
    CAPTURE(rows);
    CAPTURE(left);
    const auto a = static_cast<std::size_t>(left), b = static_cast<std::size_t>(right);
    CHECK(check_operation<B>(
        {{Shape{rows, heads * left}}, {Shape{rows, heads * right}}},
        [heads = heads](Tape<B>& tape, Vars<B> x, Weights<B>) { return concat(tape, x[0], x[1], heads); },
        [&](Numbers n) { return naive::concat(n[0], n[1], a, b); }));
    CHECK(check_operation<B>(
        {{Shape{rows, heads * left}}},
        [heads = heads](Tape<B>& tape, Vars<B> x, Weights<B>) { return concat(tape, x[0], x[0], heads); },
        [&](Numbers n) { return naive::concat(n[0], n[0], a, a); }));
  }
}

template <Backend B>
void check_linear() {
  // The last two are large enough for several row blocks, for token ranges and for a grid of gradient tiles.
  const std::array<Index, 3> sizes[] = {{1, 1, 1},    {3, 65, 1},    {63, 64, 65},   {64, 3, 63},
                                        {65, 63, 64}, {1, 64, 1000}, {300, 64, 172}, {17, 520, 510}};
  for (const auto& [rows, inputs, outputs] : sizes) {
    CAPTURE(rows);
    CAPTURE(inputs);
    CAPTURE(outputs);
    CHECK(check_operation<B>(
        {{Shape{rows, inputs}}, {Shape{outputs, inputs}, true}},
        [](Tape<B>& tape, Vars<B> x, Weights<B> w) { return linear(tape, x[0], w[0]); },
        [&](Numbers a) { return naive::linear(a[0], a[1], rows, inputs, outputs); }));
    CHECK(check_operation<B>(
        {{Shape{rows, inputs}}, {Shape{outputs, inputs}, true}, {Shape{outputs}, true}},
        [](Tape<B>& tape, Vars<B> x, Weights<B> w) { return linear(tape, x[0], w[0], w[1]); },
        [&](Numbers a) { return naive::plus_row(naive::linear(a[0], a[1], rows, inputs, outputs), a[2]); }));
  }
}

/// The mask of dropout as the reference wants it: 0 or 1 / (1 - p).
inline std::vector<double> mask_of(Index size, double p, std::uint64_t seed, std::uint64_t stream) {
  const DropoutMask mask("test", p, seed, stream);
  std::vector<double> factors;
  for (Index i = 0; i < size; ++i) factors.push_back(mask.keeps(i) ? mask.factor() : 0.0);
  return factors;
}

template <Backend B>
void check_lora_linear() {
  const std::array<Index, 4> sizes[] = {{1, 1, 1, 1},    {3, 65, 1, 2},     {63, 64, 65, 8},
                                        {64, 3, 63, 3},  {65, 63, 64, 1},   {300, 64, 64, 8},
                                        {1, 64, 900, 4}, {70, 64, 257, 16}, {5, 2056, 9, 8}};
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
          [p = p](Tape<B>& tape, Vars<B> x, Weights<B> w) {
            return lora_linear(tape, x[0], w[0], w[1], w[2], 0.75, p, 9);
          },
          [&](Numbers a) {
            return naive::lora_linear(a[0], a[1], a[2], a[3], mask, 0.75, rows, inputs, outputs, rank);
          },
          options));
      CHECK(check_operation<B>(
          {{Shape{rows, inputs}},
           {Shape{outputs, inputs}, true},
           {Shape{rank, inputs}, true},
           {Shape{outputs, rank}, true},
           {Shape{outputs}, true}},
          [p = p](Tape<B>& tape, Vars<B> x, Weights<B> w) {
            return lora_linear(tape, x[0], w[0], w[1], w[2], 0.75, p, 9, w[3]);
          },
          [&](Numbers a) {
            const auto plain = naive::lora_linear(a[0], a[1], a[2], a[3], mask, 0.75, rows, inputs, outputs, rank);
            return naive::plus_row(plain, a[4]);
          },
          options));
    }
  }
}

template <Backend B>
void check_embedding() {
  for (const Index rows : {1, 3, 63, 64, 65, 400}) {
    for (const Index cols : {1, 63, 64, 65}) {
      Rng rng(3);
      const Index vocabulary = 7;  // fewer than rows: most tokens occur many times
      const std::vector<Index> tokens = indices(rows, vocabulary, rng);
      CAPTURE(rows);
      CAPTURE(cols);
      CHECK(check_operation<B>(
          {{Shape{vocabulary, cols}, true}},
          [&](Tape<B>& tape, Vars<B>, Weights<B> w) { return embedding(tape, tokens, w[0]); },
          [&](Numbers a) { return naive::embedding(tokens, a[0], cols); }));
    }
  }
}

template <Backend B>
void check_rms_norm() {
  for (const auto& [rows, cols] :
       {std::array<Index, 2>{1, 1}, {3, 64}, {63, 3}, {64, 65}, {65, 63}, {1000, 64}, {4, 5000}}) {
    CAPTURE(rows);
    CAPTURE(cols);
    CHECK(check_operation<B>(
        {{Shape{rows, cols}}, {Shape{cols}, true, 0.3, 1.0}},
        [](Tape<B>& tape, Vars<B> x, Weights<B> w) {
          return rms_norm(tape, x[0], w[0], 0.1);  // an eps that matters
        },
        [rows = rows, cols = cols](Numbers a) { return naive::rms_norm(a[0], a[1], rows, cols, 0.1); }));
  }
  // Heads side by side, with sizes that are no power of two and none that packs fit.
  for (const auto& [rows, heads, size] : {std::array<Index, 3>{1, 1, 1},
                                          {3, 3, 64},
                                          {65, 2, 128},
                                          {7, 3, 63},
                                          {63, 5, 6},
                                          {9, 2, 96},
                                          {5, 2, 256},
                                          {300, 4, 64}}) {
    CAPTURE(rows);
    CAPTURE(heads);
    CAPTURE(size);
    CHECK(check_operation<B>(
        {{Shape{rows, heads * size}}, {Shape{size}, true, 0.3, 1.0}},
        [](Tape<B>& tape, Vars<B> x, Weights<B> w) { return rms_norm_heads(tape, x[0], w[0], 0.1); },
        [rows = rows, heads = heads, size = size](Numbers a) {
          return naive::rms_norm(a[0], a[1], rows * heads, size, 0.1);
        }));
  }
}

inline std::vector<double> frequencies(Index half) {
  std::vector<double> result;
  for (Index i = 0; i < half; ++i)
    result.push_back(std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(half)));
  return result;
}

/// Extents with gaps: rows 1 ... 5 at positions 10 ..., and the rest but the last from position 0.
inline Sequences gapped(Index rows) { return {rows, {{1, 5, 10}, {6, rows - 7, 0}}}; }

inline std::vector<Index> gapped_positions(Index rows) {
  std::vector<Index> result = {0, 10, 11, 12, 13, 14};
  for (Index m = 6; m < rows; ++m) result.push_back(m + 1 < rows ? m - 6 : 0);
  return result;
}

template <Backend B>
void check_rope() {
  for (const Index half : {1, 3, 4, 8, 16, 32, 33, 64}) {
    for (const Index rows : {8, 63, 64, 65}) {
      const Index heads = half == 4 ? 8 : 3;
      const Sequences sequences = gapped(rows);
      const RopeTable<B> table(frequencies(half), 65);
      CAPTURE(half);
      CAPTURE(rows);
      CHECK(check_operation<B>(
          {{Shape{rows, heads * 2 * half}}},
          [&](Tape<B>& tape, Vars<B> x, Weights<B>) { return rope(tape, x[0], sequences, table); },
          [&](Numbers a) { return naive::rope(a[0], gapped_positions(rows), frequencies(half), heads); }));
    }
  }
}

/// Two sequences and padding around them: at once, and in two pieces each with the sums kept between.
template <Backend B>
void check_novelty() {
  const B backend;
  Rng rng(7);
  const double tolerance = std::is_same_v<Scalar<B>, bf16> ? 8e-3 : std::is_same_v<Scalar<B>, float> ? 2e-5 : 1e-12;
  for (const auto& [heads, size] : {std::array<Index, 2>{1, 1}, {3, 4}, {2, 33}, {2, 128}}) {
    CAPTURE(size);
    const Index width = heads * size;
    const auto k = normal<B>(Shape{75, width}, rng, 1.0, 0.4);
    const std::vector<double> keys = host(backend, k.view());
    std::vector<double> want(static_cast<std::size_t>(75 * heads), 0.0);
    const Sequences whole(75, {{1, 3, 0}, {5, 69, 0}});
    for (const Extent& e : whole.extents()) {
      const auto part = naive::novelty({keys.begin() + e.row * width, keys.begin() + (e.row + e.length) * width},
                                       static_cast<std::size_t>(heads), static_cast<std::size_t>(size));
      std::copy(part.begin(), part.end(), want.begin() + e.row * heads);
    }
    Tape<B> tape;
    const auto all = tape.constant(k.view());
    const auto far_off = [&](const std::vector<double>& got) {
      double worst = 0;
      for (std::size_t i = 0; i < got.size(); ++i) worst = std::max(worst, std::abs(got[i] - want[i]));
      return worst;
    };
    CHECK(far_off(host(backend, novelty(tape, all, whole, heads).value())) < tolerance);

    auto sums = array<B, Real<B>>(Shape{2, width}, std::vector<double>(static_cast<std::size_t>(2 * width), 0.0));
    const std::array<Real<B>*, 2> kept{sums.data(), sums.data() + width};
    std::vector<double> pieces(want.size(), 0.0);
    for (const Sequences& piece : {Sequences(75, {{1, 2, 0}, {5, 40, 0}}), Sequences(75, {{3, 1, 2}, {45, 29, 40}})}) {
      const auto got = host(backend, novelty(tape, all, piece, heads, kept).value());
      for (std::size_t i = 0; i < got.size(); ++i) pieces[i] += got[i];  // zero outside the extents
    }
    CHECK(far_off(pieces) < tolerance);
  }
  // A key of zeros is new, and so is what follows nothing but zeros.
  Tape<B> tape;
  const auto k = array<B>(Shape{4, 2}, {0, 0, 3, 4, 0, 0, 3, 4});
  const auto y = host(backend, novelty(tape, tape.constant(k.view()), Sequences::rectangular(1, 4), 1).value());
  CHECK(y[0] == 1);
  CHECK(y[1] == 1);
  CHECK(y[2] == 1);
  CHECK(std::abs(y[3]) < 1e-6);
}

template <Backend B>
void check_swiglu() {
  for (const auto& [rows, cols] : {std::array<Index, 2>{1, 1}, {3, 63}, {64, 3}, {65, 65}, {300, 64}}) {
    CAPTURE(rows);
    CAPTURE(cols);
    CHECK(check_operation<B>(
        {{Shape{rows, cols}, false, 2.0}, {Shape{rows, cols}}},
        [](Tape<B>& tape, Vars<B> x, Weights<B>) { return swiglu(tape, x[0], x[1]); },
        [](Numbers a) { return naive::swiglu(a[0], a[1]); }));
  }
}

template <Backend B>
void check_squared_error() {
  for (const auto& [rows, cols] : {std::array<Index, 2>{1, 1}, {3, 63}, {64, 3}, {65, 65}, {700, 64}}) {
    Rng rng(5);
    const auto target = normal<B>(Shape{rows, cols}, rng);
    const auto values = host(B{}, target.view());
    CAPTURE(rows);
    CAPTURE(cols);
    CHECK(check_operation<B>(
        {{Shape{rows, cols}}},
        [&](Tape<B>& tape, Vars<B> x, Weights<B>) { return squared_error(tape, x[0], target.view(), 0.7); },
        [&](Numbers a) { return std::vector{naive::squared_error(a[0], values, 0.7)}; }));
  }
}

template <Backend B>
void check_lerp() {
  // The last needs several row blocks, and weights that several tiles of columns share.
  for (const auto& [rows, width, count] : {std::array<Index, 3>{1, 1, 1}, {3, 63, 1}, {64, 1, 3}, {65, 13, 5}, {700, 192, 3}}) {
    const Index cols = width * count;
    CAPTURE(rows);
    CAPTURE(cols);
    CHECK(check_operation<B>(
        {{Shape{rows, cols}}, {Shape{rows, cols}}, {Shape{count}, true}},
        [](Tape<B>& tape, Vars<B> x, Weights<B> w) { return lerp(tape, x[0], x[1], w[0]); },
        [&](Numbers a) { return naive::lerp(a[0], a[1], a[2], static_cast<std::size_t>(cols)); }));
  }
}

template <Backend B>
void check_blend() {
  for (const auto& [rows, size, heads] : {std::array<Index, 3>{1, 1, 1}, {3, 63, 1}, {64, 1, 3}, {65, 13, 5}, {700, 192, 3}}) {
    const Index cols = size * heads;
    CAPTURE(rows);
    CAPTURE(cols);
    CHECK(check_operation<B>(
        {{Shape{rows, cols}}, {Shape{rows, cols}}, {Shape{1, heads, 1, 1}, true, 2.0}},
        [](Tape<B>& tape, Vars<B> x, Weights<B> w) { return blend(tape, x[0], x[1], w[0]); },
        [&](Numbers a) { return naive::blend(a[0], a[1], a[2], static_cast<std::size_t>(cols)); }));
  }
}

/// The delta rule of each sequence on its own, by ProjectedGate or, without bias, NoGate; rows outside are zero.  `states` receives
/// where each ends.
inline std::vector<double> delta_reference(Numbers a, const Sequences& sequences, const naive::DeltaSizes& sizes,
                                           std::vector<std::vector<double>>* states = nullptr) {
  const auto [H, G, N, F, D] = sizes;
  std::vector<double> y(static_cast<std::size_t>(sequences.rows()) * H * D, 0.0);
  for (const Extent& e : sequences.extents()) {
    const auto first = static_cast<std::size_t>(e.row), length = static_cast<std::size_t>(e.length);
    const auto rows = [&](const std::vector<double>& x, std::size_t cols) {
      return std::vector(x.begin() + static_cast<std::ptrdiff_t>(first * cols), x.begin() + static_cast<std::ptrdiff_t>((first + length) * cols));
    };
    std::vector<double> rates(length * N, 1.0), state(N * F * D, 0.0);
    for (std::size_t i = 0; a.size() > 3 && i < rates.size(); ++i) {
      rates[i] = std::pow(1 + std::exp(-a[3][first * N + i] - a[4][i % N]), -1.0 / 16);  // sigmoid(z)^(1/16)
    }
    const auto part = naive::delta_rule(rows(a[0], H * F), rows(a[1], N * F), rows(a[2], G * D), rates, sizes, state);
    std::copy(part.begin(), part.end(), y.begin() + static_cast<std::ptrdiff_t>(first * H * D));
    if (states) states->push_back(state);
  }
  return y;
}

template <Backend B>
void check_delta_rule() {
  struct Case {
    Heads heads;
    Index states, features, rows;
  };
  // Several states of a value head, several query heads of a state, both and neither; more rows of S than tokens and the other way.
  for (const auto& [heads, states, features, rows] :
       {Case{{1, 1, 1}, 1, 2, 8}, Case{{2, 1, 5}, 1, 3, 9}, Case{{2, 1, 3}, 2, 63, 75}, Case{{4, 2, 65}, 2, 3, 75},
        Case{{6, 3, 64}, 6, 33, 40}, Case{{3, 3, 63}, 3, 64, 70}, Case{{2, 1, 65}, 1, 65, 75}, Case{{1, 1, 130}, 1, 129, 20},
        Case{{1, 1, 3}, 1, 300, 8}, Case{{1, 1, 300}, 1, 2, 8}}) {
    CAPTURE(heads.size);
    CAPTURE(features);
    const Sequences sequences(rows, {{1, 3, 0}, {5, rows - 6, 0}});
    const naive::DeltaSizes sizes{static_cast<std::size_t>(heads.queries), static_cast<std::size_t>(heads.keys),
                                  static_cast<std::size_t>(states), static_cast<std::size_t>(features), static_cast<std::size_t>(heads.size)};
    const Argument q{Shape{rows, heads.queries * features}}, k{Shape{rows, states * features}}, v{Shape{rows, heads.keys * heads.size}};
    // A bias around -20 makes for rates from 0.1 to 0.6.
    CHECK(check_operation<B>(
        {q, k, v, {Shape{rows, states}, false, 4.0}, {Shape{1, states, 1, 1}, true, 4.0, -20.0}},
        [&](Tape<B>& tape, Vars<B> x, Weights<B> w) { return delta_rule<ProjectedGate>(tape, x[0], x[1], x[2], x[3], w[0], sequences, heads); },
        [&](Numbers a) { return delta_reference(a, sequences, sizes); }));
    if (rows > 40) continue;  // a rate of 1 needs fewer shapes
    CHECK(check_operation<B>(
        {q, k, v},
        [&](Tape<B>& tape, Vars<B> x, Weights<B>) { return delta_rule<NoGate>(tape, x[0], x[1], x[2], {}, {}, sequences, heads); },
        [&](Numbers a) { return delta_reference(a, sequences, sizes); }));
  }
}

/// From states and to them, in pieces of any length: as in one pass, and as the reference.
template <Backend B>
void check_delta_rule_states() {
  const B backend;
  Rng rng(9);
  const double tolerance = std::is_same_v<Scalar<B>, bf16> ? 1e-2 : std::is_same_v<Scalar<B>, float> ? 2e-5 : 1e-12;
  const Heads heads{4, 2, 65};
  const Index rows = 75;
  for (const auto& [states, features] : {std::array<Index, 2>{2, 1}, {4, 1}, {2, 63}, {4, 65}, {2, 130}}) {
    CAPTURE(features);
    const Sequences whole(rows, {{1, 3, 0}, {5, 69, 0}});
    const auto q = normal<B>(Shape{rows, heads.queries * features}, rng), k = normal<B>(Shape{rows, states * features}, rng);
    const auto v = normal<B>(Shape{rows, heads.keys * heads.size}, rng), gate = normal<B>(Shape{rows, states}, rng, 4.0);
    const auto bias = normal<B>(Shape{states}, rng, 4.0, -20.0);
    std::vector<std::vector<double>> numbers, ends;
    for (const auto& x : {q, k, v, gate, bias}) numbers.push_back(host(backend, x.view()));
    const naive::DeltaSizes sizes{4, 2, static_cast<std::size_t>(states), static_cast<std::size_t>(features), 65};
    const auto want = delta_reference(numbers, whole, sizes, &ends);

    Tape<B> tape;
    poison(tape);
    const auto run = [&](const Sequences& sequences, std::span<Real<B>* const> at) {
      return host(backend, delta_rule<ProjectedGate>(tape, tape.variable(q.view()), tape.constant(k.view()), tape.constant(v.view()),
                                                     tape.constant(gate.view()), Weight<B>{bias.view(), {}}, sequences, heads, at)
                               .value());
    };
    CHECK(close(want, run(whole, {}), tolerance));
    const Index size = states * features * heads.size;
    auto kept = array<B, Real<B>>(Shape{2, size}, std::vector<double>(static_cast<std::size_t>(2 * size), 0.0));
    const std::array<Real<B>*, 2> at{kept.data() + size, kept.data()};  // in any order
    std::vector<double> pieces(want.size(), 0.0);
    const std::size_t records = tape.records();
    for (const Sequences& piece : {Sequences(rows, {{1, 2, 0}, {5, 40, 0}}), Sequences(rows, {{3, 1, 2}, {45, 1, 40}})}) {
      const auto got = run(piece, at);
      for (std::size_t i = 0; i < got.size(); ++i) pieces[i] += got[i];  // zero outside the extents
    }
    const std::array<Real<B>*, 1> second{kept.data()};
    const auto got = run(Sequences(rows, {{46, 28, 41}}), second);
    for (std::size_t i = 0; i < got.size(); ++i) pieces[i] += got[i];
    CHECK(tape.records() == records);
    CHECK(close(want, pieces, tolerance));
    ends[1].insert(ends[1].end(), ends[0].begin(), ends[0].end());
    CHECK(close(ends[1], host(backend, kept.view()), std::is_same_v<Real<B>, float> ? 2e-5 : 1e-12));
  }
}

/// Random labels, a quarter of them ignored (but not the first).
inline std::vector<Index> labels_for(Index rows, Index vocabulary) {
  Rng rng(8);
  std::vector<Index> labels = indices(rows, vocabulary, rng);
  for (std::size_t m = 1; m < labels.size(); ++m) {
    if (rng.below(4) == 0) labels[m] = ignored_label;
  }
  return labels;
}

template <Backend B>
void check_cross_entropy() {
  // The last two need several chunks of the vocabulary, and several tiles of rows.
  const std::array<Index, 3> sizes[] = {{1, 1, 1},    {3, 65, 1},   {63, 64, 65},  {64, 3, 63},
                                        {65, 63, 64}, {1, 5, 3000}, {20, 8, 4099}, {600, 4, 65}};
  for (const auto& [rows, cols, vocabulary] : sizes) {
    const std::vector<Index> labels = labels_for(rows, vocabulary);
    CAPTURE(rows);
    CAPTURE(cols);
    CAPTURE(vocabulary);
    CHECK(check_operation<B>(
        {{Shape{rows, cols}}, {Shape{vocabulary, cols}, true}},
        [&](Tape<B>& tape, Vars<B> x, Weights<B> w) { return cross_entropy(tape, x[0], w[0], labels, 0.3); },
        [&](Numbers a) { return std::vector{naive::cross_entropy(a[0], a[1], labels, vocabulary, cols, 0.3)}; }));
    Rng rng(3);
    const auto hidden = normal<B>(Shape{rows, cols}, rng), head = normal<B>(Shape{vocabulary, cols}, rng);
    Tape<B> tape;
    poison(tape);
    CHECK(close(naive::token_losses(host(B{}, hidden.view()), host(B{}, head.view()), labels, vocabulary, cols),
                host(tape.backend(), token_losses<B>(tape, hidden.view(), head.view(), labels)),
                64 * static_cast<double>(std::numeric_limits<Real<B>>::epsilon())));  // also where Scalar is narrow
  }
}

template <Backend B>
void check_divergence() {
  const std::array<Index, 3> sizes[] = {{1, 1, 2}, {3, 65, 3}, {63, 64, 65}, {65, 63, 64}, {1, 5, 3000}, {20, 8, 4099}, {600, 4, 65}};
  for (const auto& [rows, cols, vocabulary] : sizes) {
    const std::vector<Index> labels = labels_for(rows, vocabulary);
    CAPTURE(rows);
    CAPTURE(cols);
    CAPTURE(vocabulary);
    Rng rng(3);
    const auto head = normal<B>(Shape{vocabulary, cols}, rng), teacher = normal<B>(Shape{rows, cols}, rng);
    const std::vector<double> h = host(B{}, head.view()), t = host(B{}, teacher.view());
    for (const double temperature : {1.0, 2.5}) {
      const auto rows_of = [&](const std::vector<double>& x) { return naive::token_divergences(x, t, h, labels, vocabulary, cols, temperature); };
      CHECK(check_operation<B>(
          {{Shape{rows, cols}}},
          [&](Tape<B>& tape, Vars<B> x, Weights<B>) {
            return divergence<B>(tape, x[0], teacher.view(), Weight<B>{head.view(), {}}, labels, temperature, 0.3);
          },
          [&](Numbers a) {
            const auto of_rows = rows_of(a[0]);
            return std::vector{0.3 * std::accumulate(of_rows.begin(), of_rows.end(), 0.0)};
          }));
      const auto hidden = normal<B>(Shape{rows, cols}, rng);
      Tape<B> tape;
      poison(tape);
      CHECK(close(rows_of(host(B{}, hidden.view())),
                  host(tape.backend(), token_divergences<B>(tape, hidden.view(), teacher.view(), head.view(), labels, temperature)),
                  256 * static_cast<double>(std::numeric_limits<Real<B>>::epsilon())));
    }
  }
}

template <Backend B>
void check_dropout() {
  OperationCheckOptions<B> options;
  options.training = true;
  for (const Index size : {1, 3, 63, 64, 65, 20000}) {
    CAPTURE(size);
    const DropoutMask mask("test", 0.25, options.seed, 4);
    std::vector<bool> kept;
    for (Index i = 0; i < size; ++i) kept.push_back(mask.keeps(i));
    CHECK(check_operation<B>(
        {{Shape{size}}}, [](Tape<B>& tape, Vars<B> x, Weights<B>) { return dropout(tape, x[0], 0.25, 4); },
        [&](Numbers a) { return naive::dropout(a[0], kept, 0.25); }, options));
  }
}

template <Backend B>
void check_arg_max() {
  const B backend;
  Tape<B> tape;
  for (const auto& [rows, cols] : {std::array<Index, 2>{1, 1}, {3, 63}, {64, 3}, {65, 65}, {5, 4099}, {3, 20000}}) {
    CAPTURE(rows);
    CAPTURE(cols);
    Rng rng(7);
    auto numbers = host(backend, normal<B>(Shape{rows, cols}, rng).view());
    // Equals: the largest number of the last row stands at both of its ends.
    numbers[numbers.size() - 1] = numbers[numbers.size() - static_cast<std::size_t>(cols)] = 100;
    std::vector<Index> want;
    for (Index m = 0; m < rows; ++m) {
      Index best = 0;
      for (Index i = 1; i < cols; ++i) {
        if (numbers[static_cast<std::size_t>(m * cols + i)] > numbers[static_cast<std::size_t>(m * cols + best)])
          best = i;
      }
      want.push_back(best);
    }
    const auto x = array<B>(Shape{rows, cols}, numbers);
    CHECK(arg_max(tape, tape.constant(x.view())) == want);
    for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
      auto spoiled = numbers;
      spoiled[spoiled.size() / 2] = bad;
      const auto y = array<B>(Shape{rows, cols}, spoiled);
      CHECK_THROWS_AS(arg_max(tape, tape.constant(y.view())), NumericError);
    }
  }
}

}  // namespace lolcats::testing
