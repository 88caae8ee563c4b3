// delta_rule.
#include "checks.hpp"

#include <lolcats/ops/delta_rule/eigen.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

#include <algorithm>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("delta_rule is its reference, values and gradients", B, Cpu<float>, Cpu<double>) { check_delta_rule<B>(); }

TEST_CASE_TEMPLATE("delta_rule in pieces is delta_rule at once", B, Cpu<float>, Cpu<double>) { check_delta_rule_states<B>(); }

TEST_CASE("delta_rule: gradients are derivatives, each alone too") {
  using B = Cpu<double>;
  Rng rng(3);
  const Heads heads{4, 2, 3};
  const Sequences sequences(9, {{0, 5, 0}, {6, 2, 0}});
  for (const Index states : {2, 4}) {
    const auto q = normal<B>(Shape{9, 4 * 5}, rng), k = normal<B>(Shape{9, states * 5}, rng), v = normal<B>(Shape{9, 2 * 3}, rng);
    const auto gate = normal<B>(Shape{9, states}, rng, 4.0);
    Parameter<B> bias(normal<B>(Shape{1, states, 1, 1}, rng, 4.0, -20.0));
    CHECK(check_gradients({q, k, v, gate}, {&bias}, [&](Tape<B>& tape, Vars<B> x) {
      return delta_rule<ProjectedGate>(tape, x[0], x[1], x[2], x[3], bias, sequences, heads);
    }));
    CHECK(check_gradients({q, v}, {&bias}, [&](Tape<B>& tape, Vars<B> x) {  // a bias alone; k as q where there are as many
      return delta_rule<HeadGate>(tape, x[0], states == 4 ? x[0] : tape.constant(k.view()), x[1], {}, bias, sequences, heads);
    }));
  }
}

TEST_CASE("delta_rule: a key that comes again gets its new value, and others keep theirs") {
  using B = Cpu<double>;
  Tape<B> tape;
  const auto k = array<B>(Shape{4, 2}, {3, 0, 0, 2, 1, 0, 0, 5}), v = array<B>(Shape{4, 1}, {7, 8, 9, 10});
  const auto q = array<B>(Shape{4, 2}, {1, 0, 1, 0, 0, 4, 1, 0});
  const auto y = delta_rule<NoGate>(tape, tape.constant(q.view()), tape.constant(k.view()), tape.constant(v.view()), {}, {},
                                    Sequences::rectangular(1, 4), Heads{1, 1, 1});
  CHECK(host(B{}, y.value()) == std::vector<double>{7, 7, 8, 9});  // the token itself is read, whatever the length of keys
}

TEST_CASE("delta_rule: rows of zeros write nothing, read nothing and have no gradient") {
  using B = Cpu<float>;
  Rng rng(4);
  const auto q = array<B>(Shape{3, 2}, {1, 2, 0, 0, 3, 4}), k = array<B>(Shape{3, 2}, {1, 1, 0, 0, 2, 1}), v = normal<B>(Shape{3, 4}, rng);
  Tape<B> tape;
  poison(tape);
  const auto queries = tape.variable(q.view()), keys = tape.variable(k.view()), values = tape.variable(v.view());
  const Sequences sequences = Sequences::rectangular(1, 3);
  const auto y = delta_rule<NoGate>(tape, queries, keys, values, {}, {}, sequences, Heads{1, 1, 4});
  CHECK(std::all_of(y.value().data + 4, y.value().data + 8, [](float x) { return x == 0; }));
  tape.backward(sum(tape, y));
  for (const auto& x : {queries, keys}) {
    const auto gradient = host(B{}, x.gradient());
    CHECK(std::all_of(gradient.begin(), gradient.end(), [](double g) { return std::isfinite(g); }));
    CHECK(gradient[2] == 0);
    CHECK(gradient[3] == 0);
    CHECK(gradient[4] != 0);
  }
  CHECK(host(B{}, values.gradient())[4] == 0);
}

TEST_CASE("delta_rule names what does not fit") {
  using B = Cpu<float>;
  Tape<B> tape;
  const auto of = [&](Index rows, Index cols) { return tape.constant(tape.scratch<float>(Shape{rows, cols})); };
  const Weight<B> two{tape.scratch<float>(Shape{2}), {}}, three{tape.scratch<float>(Shape{3}), {}};
  const Heads heads{4, 2, 5};
  const Sequences sequences = Sequences::rectangular(2, 3);
  float state = 0;
  float* const one[] = {&state};
  const auto q = of(6, 4 * 3), k = of(6, 2 * 3), v = of(6, 2 * 5), gate = of(6, 2);
  CHECK_THROWS_WITH_AS(delta_rule<NoGate>(tape, of(6, 13), k, v, {}, {}, sequences, heads), "delta_rule: q has shape (6, 13), expected (6, 4 * F)", ShapeError);
  CHECK_THROWS_WITH_AS(delta_rule<NoGate>(tape, q, of(6, 9), v, {}, {}, sequences, heads),
                       "delta_rule: k has shape (6, 9), expected (6, 4 * 3) or (6, 2 * 3)", ShapeError);
  CHECK_THROWS_WITH_AS(delta_rule<NoGate>(tape, q, k, of(6, 9), {}, {}, sequences, heads), "delta_rule: v has shape (6, 9), expected (6, 10)", ShapeError);
  CHECK_THROWS_WITH_AS(delta_rule<ProjectedGate>(tape, q, k, v, {}, two, sequences, heads), "delta_rule: gate is missing, expected shape (6, 2)", ShapeError);
  CHECK_THROWS_WITH_AS(delta_rule<ProjectedGate>(tape, q, k, v, of(6, 4), two, sequences, heads),
                       "delta_rule: gate has shape (6, 4), expected (6, 2)", ShapeError);
  CHECK_THROWS_WITH_AS(delta_rule<ProjectedGate>(tape, q, k, v, gate, three, sequences, heads),
                       "delta_rule: bias has 3 elements, expected 2, one per state", ShapeError);
  CHECK_THROWS_AS(delta_rule<HeadGate>(tape, q, k, v, {}, {}, sequences, heads), ShapeError);
  CHECK_THROWS_WITH_AS(delta_rule<NoGate>(tape, q, k, v, {}, {}, sequences, heads, one), "delta_rule: 1 states, expected 2, one per sequence", ShapeError);
  CHECK_THROWS_AS(delta_rule<NoGate>(tape, q, k, v, {}, {}, sequences, Heads{4, 3, 5}), ShapeError);
}
