// Cross-entropy of attention weights on any backend against N x N loops: value, and gradients by differences.
#pragma once

#include <lolcats/ops/weight_cross_entropy/naive.hpp>
#include <lolcats/ops/weight_cross_entropy/weight_cross_entropy.hpp>
#include <lolcats/testing/attention_suite.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace weight_entropy {

using namespace lolcats;
using namespace lolcats::testing;

/// The loss of a case, from raw numbers.
template <AttentionPolicy A>
double plain_loss(const AttentionCase<A>& c, Index teacher_width) {
  std::vector<std::vector<double>> student;
  reference_attention(c, &student);
  double loss = 0;
  for (Index n = 0; n < c.sequences.count(); ++n) {
    const Extent& e = c.sequences[n];
    const auto rows = [&](const char* name, Index width) {
      const auto& all = c.in.at(name);
      return std::vector<double>(all.begin() + e.row * width, all.begin() + (e.row + e.length) * width);
    };
    const Index q_width = c.heads.queries * c.heads.size, k_width = c.heads.keys * c.heads.size;
    const NaiveAttention teacher{.tokens = e.length,
                                 .heads = c.heads.queries,
                                 .groups = c.heads.keys,
                                 .size = c.heads.size,
                                 .begin = [&](Index i) { return std::max<Index>(0, i - teacher_width + 1); },
                                 .q = rows("q", q_width),
                                 .k = rows("k", k_width),
                                 .v = rows("k", k_width),
                                 .query_features = {},
                                 .key_features = {},
                                 .gamma_logits = {}};
    loss += naive::weight_cross_entropy(c.heads.queries, e.length, naive_attention(teacher).weights,
                                        student[static_cast<std::size_t>(n)], weight_floor);
  }
  return loss;
}

/// Value and gradients of 0.7 * loss, with an upstream gradient of 2.  Differences of the plain loss take five points a
/// step of 1e-3 apart, along random directions.  Without `maps` only the window factors are trained.
template <AttentionPolicy A, Backend B>
void check(typename A::Window window, const Heads& heads, Sequences sequences, Index teacher_width, double tolerance,
           double gradient_tolerance, bool maps = true) {
  INFO(A::name(), " on ", B::name(), ": ", heads.queries, " heads of size ", heads.size, ", longest sequence ",
       sequences.longest(), ", teacher window ", teacher_width);
  constexpr double scale = 0.7, upstream = 2;
  auto c = random_attention_case<A>(window, heads, std::move(sequences), 31);
  for (auto& [name, values] : c.in) values = rounded<B>(values);
  std::fill(c.in.at("dy").begin(), c.in.at("dy").end(), 0.0);

  AttentionArguments<B, A> weights(c, {false, maps, true});
  Tape<B> tape;
  poison(tape);
  const Var<B> q = weights.var(tape, "q"), k = weights.var(tape, "k");
  const auto loss = weight_cross_entropy<A>(tape, q, k, c.sequences, c.heads, weights.weights(tape), window,
                                            Sliding<>(teacher_width), scale);
  const double want = scale * plain_loss(c, teacher_width);
  CHECK(item(tape, loss) == doctest::Approx(want).epsilon(tolerance));
  tape.backward(loss, upstream);
  AttentionNumbers gradients;
  weights.collect(gradients);

  Rng rng(37, 5);
  for (const auto& [name, gradient] : gradients) {
    if (name == "query_features" || name == "key_features") continue;
    INFO("gradient of ", name);
    double norm = 0;
    for (const double g : gradient) norm += g * g;
    norm = std::sqrt(norm);
    CHECK(norm > 1e-6);
    for (int direction = 0; direction < 2; ++direction) {
      std::vector<double> step(gradient.size());
      double length = 0, slope = 0;
      for (std::size_t i = 0; i < step.size(); ++i) {
        step[i] = rng.normal();
        length += step[i] * step[i];
      }
      for (std::size_t i = 0; i < step.size(); ++i) {
        step[i] /= std::sqrt(length);
        slope += step[i] * gradient[i];
      }
      const auto at = [&](double steps) {
        auto moved = c;
        for (std::size_t i = 0; i < step.size(); ++i) moved.in.at(name)[i] += steps * 1e-3 * step[i];
        return plain_loss(moved, teacher_width);
      };
      const double expected = scale * upstream * (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / 12e-3;
      CHECK_MESSAGE(std::abs(slope - expected) <= gradient_tolerance * norm, "direction ", direction, ": got ", slope,
                    ", expected ", expected, ", gradient norm ", norm);
    }
  }
}

}  // namespace weight_entropy
