#include <lolcats/nn/decoder_layer.hpp>

#include <lolcats/model/cpu.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/random.hpp>

#include <doctest/doctest.h>

#include <set>

using namespace lolcats;
using lolcats::testing::as_doubles;
using lolcats::testing::close;
using lolcats::testing::same;

namespace {

using B = Cpu<double>;
using Layer = DecoderLayer<B, Hybrid<Hedgehog<4>, Terraced<2>>, Lora<2>>;

const LayerSizes sizes{10, {4, 2, 6}, 7, 1e-5, 3};
const RopeTable<B> table({1.0, 0.3, 0.01}, 32);

Layer make() {
  Layer layer({}, sizes, 0, 1);
  Rng rng(5);
  const auto fill = [&](const std::string&, const Shape& shape, Parameter<B>& parameter) {
    parameter = Parameter<B>(testing::normal<B>(shape, rng, 0.5));
  };
  layer.visit_base("", fill);
  layer.visit_adapter("", fill);
  layer.visit_maps("", fill);
  return layer;
}

struct Fixture {
  Layer layer = make();
  Tape<B> tape;
  Sequences sequences = Sequences::rectangular(1, 9);
  Tensor<double> input;
  Var<B> x;
  Fixture() {
    Rng rng(6);
    input = testing::normal<B>(Shape{9, 10}, rng);
    x = tape.constant(input.view());
  }
};

}  // namespace

// That the parts compute the right thing is tests/model/llama_test.cpp's, by an independent implementation.

TEST_CASE_FIXTURE(Fixture, "forward is project, attend, finish") {
  const auto qkv = layer.project(tape, x, sequences, table);
  CHECK(qkv.q.shape() == Shape{9, 24});
  CHECK(qkv.k.shape() == Shape{9, 12});
  CHECK(qkv.v.shape() == Shape{9, 12});
  const auto y = layer.attend(tape, qkv, sequences);
  CHECK(y.shape() == Shape{9, 24});
  CHECK(same(layer.forward(tape, x, sequences, table).value(), layer.finish(tape, x, y).value()));
}

TEST_CASE_FIXTURE(Fixture, "the teacher's attention reads the same queries, keys and values") {
  const auto qkv = layer.project(tape, x, sequences, table);
  const auto y = layer.attend_softmax(tape, qkv, sequences);
  const auto want = attention<Softmax<>>(tape, qkv.q, qkv.k, qkv.v, sequences, sizes.heads, {}, Sliding<dynamic>(3));
  CHECK(same(want.value(), y.value()));
  CHECK_FALSE(close(want.value(), layer.attend(tape, qkv, sequences).value(), 1e-2));
  CHECK(same(layer.forward_softmax(tape, x, sequences, table).value(), layer.finish(tape, x, y).value()));
}

TEST_CASE_FIXTURE(Fixture, "steps of any length are one pass, and record nothing") {
  layer.visit_adapter("", [](const auto&, const auto&, Parameter<B>& p) { p.train({}); });
  const auto want = as_doubles(layer.forward(tape, x, sequences, table).value());
  const std::size_t records = tape.records();
  AttentionState<B> state;
  std::vector<double> got;
  for (Index first = 0; first < 9;) {
    const Index count = first == 0 ? 4 : first == 4 ? 1 : 2;
    const Sequences chunk(count, {{0, count, first}});
    const auto y = layer.step(tape, tape.constant(input.view().row_range(first, count)), chunk, table, state);
    for (const double value : y.value().span()) got.push_back(value);
    first += count;
  }
  CHECK(close(want, got, 1e-13));
  CHECK(tape.records() == records);
}

TEST_CASE_FIXTURE(Fixture, "the adapter switch") {
  const auto with = as_doubles(layer.forward(tape, x, sequences, table).value());
  layer.use_adapters(false);
  const auto without = as_doubles(layer.forward(tape, x, sequences, table).value());
  CHECK_FALSE(close(with, without, 1e-2));
  layer.use_adapters(true);
  layer.merge_adapters({});
  CHECK(close(with, layer.forward(tape, x, sequences, table).value(), 1e-13));
  layer.unmerge_adapters();
  CHECK(same(with, layer.forward(tape, x, sequences, table).value()));
}

TEST_CASE_FIXTURE(Fixture, "every weight is visited once, under its name") {
  std::set<std::string> names;
  int count = 0;
  const auto collect = [&](const std::string& name, const Shape& shape, Parameter<B>& parameter) {
    CHECK(parameter.shape() == shape);
    names.insert(name);
    ++count;
  };
  layer.visit_base("l.", collect);
  CHECK(count == 9);
  CHECK(names.contains("l.self_attn.o_proj.weight"));
  CHECK(names.contains("l.mlp.gate_proj.weight"));
  layer.visit_adapter("l.", collect);
  CHECK(count == 17);
  layer.visit_maps("l.", collect);
  CHECK(count == 20);
  CHECK(names.size() == 20);
}

TEST_CASE_FIXTURE(Fixture, "what is trained decides what is recorded") {
  layer.forward(tape, x, sequences, table);
  CHECK(tape.records() == 0);
  layer.visit_maps("", [](const auto&, const auto&, Parameter<B>& p) { p.train({}); });
  const auto qkv = layer.project(tape, x, sequences, table);
  CHECK_FALSE(layer.attend_softmax(tape, qkv, sequences).wants_gradient());
  CHECK(tape.records() == 0);
  CHECK(layer.attend(tape, qkv, sequences).wants_gradient());
  CHECK(tape.records() == 1);
}
