// checkpoint: the same numbers from less memory.
#include <lolcats/ops/dropout/eigen.hpp>
#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/ops/linear/eigen.hpp>
#include <lolcats/ops/swiglu/eigen.hpp>
#include <lolcats/tape/checkpoint.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/random.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

struct Outcome {
  double loss = 0;
  std::vector<double> input, first, second;
  std::size_t peak = 0;
};

/// A residual block with dropout, `depth` times over, checkpointed or not.
template <Backend B>
Outcome run_network(bool recompute, bool input_wanted, bool train_weights, int depth = 2, Index rows = 65) {
  Rng rng(1);
  const auto value = normal<B>(Shape{rows, 63}, rng);
  Parameter<B> w(normal<B>(Shape{63, 63}, rng, 0.1)), v(normal<B>(Shape{63, 63}, rng, 0.1));
  if (train_weights) {
    w.train({});
    v.train({});
  }
  Tape<B> tape;
  tape.training = true;
  tape.seed = 9;
  poison(tape, 1 << 16);
  const auto block = [&w, &v](Tape<B>& t, Var<B> x) {
    return add(t, x, dropout(t, linear(t, swiglu(t, linear(t, x, w), x), v), 0.3, 5));
  };
  const auto x = input_wanted ? tape.variable(value.view()) : tape.constant(value.view());
  Var<B> y = x;
  for (int i = 0; i < depth; ++i) y = recompute ? checkpoint(tape, block, y) : block(tape, y);
  const auto loss = sum(tape, swiglu(tape, y, y));
  tape.backward(loss);
  return {item(tape, loss), input_wanted ? as_doubles(x.gradient()) : std::vector<double>{},
          train_weights ? as_doubles(w.gradient()) : std::vector<double>{},
          train_weights ? as_doubles(v.gradient()) : std::vector<double>{}, tape.peak_bytes()};
}

}  // namespace

TEST_CASE_TEMPLATE("checkpointed blocks give the bits of plain ones", B, Cpu<float>, Cpu<double>) {
  for (const auto& [input, weights] : {std::pair{true, true}, {true, false}, {false, true}}) {
    CAPTURE(input);
    CAPTURE(weights);
    const Outcome plain = run_network<B>(false, input, weights), again = run_network<B>(true, input, weights);
    CHECK(plain.loss == again.loss);
    if (input) CHECK(same(plain.input, again.input));
    if (weights) CHECK(same(plain.first, again.first));
    if (weights) CHECK(same(plain.second, again.second));
  }
}

TEST_CASE_TEMPLATE("checkpoints save memory", B, Cpu<float>, Cpu<double>) {
  CHECK(2 * run_network<B>(true, true, true, 12, 400).peak < run_network<B>(false, true, true, 12, 400).peak);
}

TEST_CASE("an input that f does not use has a zero gradient") {
  using B = Cpu<double>;
  Tape<B> tape;
  poison(tape);
  Parameter<B> w(array<B>(Shape{1, 1}, {2.0}));
  w.train({});
  const auto value = array<B>(Shape{1, 1}, {3.0});
  const auto x = tape.variable(value.view());
  const auto y = checkpoint(
      tape, [&](Tape<B>& t, Var<B>) { return linear(t, t.constant(value.view()), w); }, x);
  tape.backward(sum(tape, y));
  CHECK(same(std::vector{0.0}, x.gradient()));
  CHECK(same(std::vector{3.0}, w.gradient()));
}

TEST_CASE("an input that is used elsewhere keeps that gradient when the checkpoint trains nothing") {
  using B = Cpu<double>;
  Tape<B> tape;
  poison(tape);
  const auto value = array<B>(Shape{1, 1}, {3.0});
  const auto x = tape.variable(value.view());
  const auto dead = checkpoint(
      tape, [&](Tape<B>& t, Var<B>) { return t.constant(value.view()); }, x);
  tape.backward(sum(tape, add(tape, dead, scale(tape, x, 5.0))));
  CHECK(same(std::vector{5.0}, x.gradient()));
}

TEST_CASE("checkpoint records nothing under NoGradient, and names a changed shape") {
  using B = Cpu<double>;
  Tape<B> tape;
  const auto value = array<B>(Shape{1, 2}, {3.0, 4.0});
  const auto x = tape.variable(value.view());
  {
    const Tape<B>::NoGradient quiet(tape);
    CHECK(same(std::vector{6.0, 8.0}, checkpoint(
                                          tape, [](Tape<B>& t, Var<B> v) { return scale(t, v, 2.0); }, x)
                                          .value()));
    CHECK(tape.records() == 0);
  }
  CHECK_THROWS_AS(checkpoint(
                      tape, [](Tape<B>& t, Var<B> v) { return sum(t, v); }, x),
                  ShapeError);
}

TEST_CASE("a checkpoint that trains nothing writes a gradient of zero where it comes first") {
  using B = Cpu<double>;
  Tape<B> tape;
  poison(tape);
  const auto value = array<B>(Shape{1, 1}, {3.0});
  const auto x = tape.variable(value.view());
  const auto elsewhere = scale(tape, x, 5.0);
  const auto dead = checkpoint(
      tape, [&](Tape<B>& t, Var<B>) { return t.constant(value.view()); }, x);
  tape.backward(sum(tape, add(tape, dead, elsewhere)));
  CHECK(same(std::vector{5.0}, x.gradient()));
}

TEST_CASE("pullbacks run without recording, also behind a checkpoint") {
  using B = Cpu<double>;
  Tape<B> tape;
  const auto value = array<B>(Shape{1, 1}, {3.0});
  const auto x = tape.variable(value.view());
  bool recording = true;
  const auto [y, y_value] = tape.result(Shape{1, 1}, true);
  y_value.data[0] = 3;
  tape.record(y, [&tape, &recording] { recording = tape.recording(); });
  const auto z = checkpoint(
      tape, [](Tape<B>& t, Var<B> v) { return scale(t, v, 2.0); }, y);
  tape.backward(sum(tape, add(tape, x, z)));
  CHECK_FALSE(recording);
  CHECK(tape.recording());
}
