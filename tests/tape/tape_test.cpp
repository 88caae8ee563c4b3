// The tape: recording, backward, scopes, and what costs nothing.
#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/ops/linear/eigen.hpp>
#include <lolcats/ops/swiglu/eigen.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/random.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("a value used twice gets both gradients, on memory that held NaN", B, Cpu<float>, Cpu<double>) {
  Rng rng(1);
  Tape<B> tape;
  poison(tape);
  const auto value = normal<B>(Shape{3, 5}, rng);
  const auto x = tape.variable(value.view());
  const auto y = add(tape, scale(tape, x, 3.0), scale(tape, x, 4.0));
  CHECK_FALSE(x.has_gradient());
  tape.backward(sum(tape, y));
  CHECK(x.has_gradient());
  CHECK(same(std::vector<double>(15, 7.0), x.gradient()));
  CHECK(tape.records() == 0);
}

TEST_CASE_TEMPLATE("constants, frozen weights and NoGradient record nothing and keep no gradient", B, Cpu<float>,
                   Cpu<double>) {
  Rng rng(1);
  Tape<B> tape;
  const auto value = normal<B>(Shape{3, 5}, rng);
  Parameter<B> w(normal<B>(Shape{5, 5}, rng));
  const auto x = tape.constant(value.view()), v = tape.variable(value.view());
  const auto y = swiglu(tape, linear(tape, x, w), x);
  CHECK_FALSE(y.wants_gradient());
  CHECK(tape.records() == 0);
  w.train({});
  CHECK_FALSE(linear(tape, x, w.frozen()).wants_gradient());
  CHECK(tape.records() == 0);
  {
    const typename Tape<B>::NoGradient quiet(tape);
    CHECK_FALSE(tape.recording());
    CHECK_FALSE(linear(tape, v, w).wants_gradient());
    { const typename Tape<B>::NoGradient inner(tape); }
    CHECK_FALSE(tape.recording());
    CHECK(tape.records() == 0);
  }
  CHECK(tape.recording());
  CHECK(linear(tape, v, w).wants_gradient());
  CHECK(tape.records() == 1);
}

TEST_CASE_TEMPLATE("a branch that no gradient reaches is skipped", B, Cpu<float>, Cpu<double>) {
  Rng rng(1);
  Tape<B> tape;
  const auto value = normal<B>(Shape{3}, rng);
  const auto x = tape.variable(value.view());
  const auto unused = scale(tape, x, 100.0);
  const auto used = scale(tape, x, 2.0);
  tape.backward(sum(tape, used));
  CHECK_FALSE(unused.has_gradient());
  CHECK(same(std::vector<double>(3, 2.0), x.gradient()));
}

TEST_CASE_TEMPLATE("gradients of weights add up over passes and scopes; upstream scales them", B, Cpu<float>,
                   Cpu<double>) {
  Tape<B> tape;
  const auto ones = array<B>(Shape{1, 2}, {1.0, 1.0});
  Parameter<B> w(array<B>(Shape{1, 2}, {3.0, 4.0}));
  w.train({});
  for (const double upstream : {1.0, 0.5}) {
    const typename Tape<B>::Scope scope(tape);
    tape.backward(sum(tape, linear(tape, tape.constant(ones.view()), w)), upstream);
  }
  CHECK(same(std::vector{1.5, 1.5}, w.gradient()));
}

TEST_CASE_TEMPLATE("a scope takes values and records with it, and an equal second step allocates nothing", B,
                   Cpu<float>, Cpu<double>) {
  Rng rng(1);
  Tape<B> tape;
  const auto value = normal<B>(Shape{300, 70}, rng);
  const auto x = tape.variable(value.view());
  std::size_t peak = 0;
  const Scalar<B>* first = nullptr;
  for (int step = 0; step < 3; ++step) {
    {
      const typename Tape<B>::Scope scope(tape);
      const auto y = scale(tape, tape.constant(value.view()), 2.0);
      if (step == 0) first = y.value().data;
      CHECK(y.value().data == first);
      scale(tape, x, 2.0);
      CHECK(tape.records() == 1);
    }
    CHECK(tape.records() == 0);
    if (step == 0) peak = tape.peak_bytes();
    CHECK(tape.peak_bytes() == peak);
  }
}

TEST_CASE("an inner backward from a scope's first record leaves outer records alone") {
  using B = Cpu<double>;
  Tape<B> tape;
  const auto value = array<B>(Shape{2}, {1.0, 2.0});
  const auto x = tape.variable(value.view());
  const auto outer = sum(tape, x);
  {
    const Tape<B>::Scope scope(tape);
    const auto inner = tape.variable(value.view());
    tape.backward(sum(tape, scale(tape, inner, 5.0)), 1.0, scope.first_record());
    CHECK(same(std::vector{5.0, 5.0}, inner.gradient()));
  }
  CHECK(tape.records() == 1);
  tape.backward(outer);
  CHECK(same(std::vector{1.0, 1.0}, x.gradient()));
}

TEST_CASE("backward refuses what is no loss, and what nothing trained leads to") {
  using B = Cpu<float>;
  Tape<B> tape;
  const auto value = array<B>(Shape{2}, {1.0, 2.0});
  CHECK_THROWS_WITH_AS(tape.backward(scale(tape, tape.variable(value.view()), 1.0)),
                       "backward: loss has shape (2), expected one number", Error);
  CHECK_THROWS_WITH_AS(tape.backward(sum(tape, tape.constant(value.view()))),
                       "backward: the loss does not depend on anything that is trained", Error);
}

TEST_CASE("a backward pass over a long tape needs the memory of a few gradients") {
  using B = Cpu<float>;
  Tape<B> tape;
  const std::vector<double> ones(1 << 20, 1.0);
  const auto value = array<B>(Shape{1 << 20}, ones);
  const auto x = tape.variable(value.view());
  Var<B> y = x;
  for (int i = 0; i < 20; ++i) y = add(tape, y, scale(tape, x, 1.0));
  const std::size_t values = tape.peak_bytes();
  tape.backward(sum(tape, y));
  CHECK(tape.peak_bytes() - values < 5 * sizeof(float) << 20);
  CHECK(same(std::vector<double>(1 << 20, 21.0), x.gradient()));
}

TEST_CASE("an idle gradient's memory serves a gradient of the same size only") {
  Arena<> arena;
  lolcats::detail::GradientMemory<Host> memory(arena);
  void* large = memory.take(512);
  memory.give_back(large, 512);
  CHECK(memory.take(256) != large);  // it would come back as 256 bytes, and the others would be lost
  CHECK(memory.take(512) == large);
}

TEST_CASE("gradients that a scope leaves idle disappear with it") {
  using B = Cpu<double>;
  const auto value = array<B>(Shape{2}, {1.0, 2.0});
  Tape<B> tape;
  {
    const Tape<B>::Scope scope(tape);
    const auto x = tape.variable(value.view());
    tape.backward(sum(tape, scale(tape, scale(tape, x, 2.0), 2.0)));
  }
  // Values take the memory of the scope now; gradients must not.
  const auto gradient = [&](Tape<B>& t) {
    const auto x = t.variable(value.view());
    auto y = x;
    for (int i = 0; i < 4; ++i) y = add(t, y, swiglu(t, y, y));
    t.backward(sum(t, y));
    return as_doubles(x.gradient());
  };
  Tape<B> fresh;
  CHECK(same(gradient(fresh), gradient(tape)));
}
