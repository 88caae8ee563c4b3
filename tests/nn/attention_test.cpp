#include <lolcats/nn/attention.hpp>

#include <lolcats/ops/attention/eigen.hpp>
#include <lolcats/ops/attention/eigen_state.hpp>
#include <lolcats/ops/blend/eigen.hpp>
#include <lolcats/ops/concat/eigen.hpp>
#include <lolcats/ops/delta_rule/eigen.hpp>
#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/ops/feature_map/eigen.hpp>
#include <lolcats/ops/feature_map/feature_map.hpp>
#include <lolcats/ops/softmax/eigen.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/policy/feature_map/identity.hpp>
#include <lolcats/policy/feature_map/modifiers.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using lolcats::testing::check_gradients;
using lolcats::testing::close;

namespace {

using B = Cpu<double>;
using Start = StartedBy<Hedgehog<3>, NormalStart>;
using Started = StartedBy<Identity<3>, NormalStart>;

/// Hedgehog again, composed of tape operations: the fused map is its reference.
struct ComposedHedgehog {
  static std::string name() { return "composed_hedgehog"; }

  template <Backend Device>
  class Layer {
   public:
    Layer() = default;
    Layer(const Device& backend, const Heads& heads, Index count, std::uint64_t seed)
        : map_(backend, count, heads.size, seed, 0) {}
    Var<Device> operator()(Tape<Device>& tape, Var<Device> x, Heads heads) const {
      const Index count = x.cols() / heads.size;
      const auto z = feature_map<Started>(tape, x, map_.weight(), {}, count);
      return concat(tape, softmax(tape, z, count), softmax(tape, scale(tape, z, -1.0), count), count);
    }
    template <class F>
    void visit_maps(const std::string& at, F&& f) {
      map_.visit_maps(at, f);
    }

   private:
    FeatureMapLayer<Device, Started> map_;
  };
};
static_assert(ComposedFeatureMap<ComposedHedgehog, B>);
static_assert(!ComposedFeatureMap<Hedgehog<3>, B> && !FeatureMap<ComposedHedgehog>);

using Fused = AttentionLayer<B, Hybrid<Start, Sliding<3>, KeyMapsPerGroup>>;
using Unfused = AttentionLayer<B, Composed<ComposedHedgehog, Sliding<3>>>;

const Heads four_to_two{4, 2, 4};

struct Inputs {
  Tensor<double> q, k, v;
  Inputs(Index rows, const Heads& heads) {
    Rng rng(4);
    q = testing::normal<B>(Shape{rows, heads.queries * heads.size}, rng);
    k = testing::normal<B>(Shape{rows, heads.keys * heads.size}, rng);
    v = testing::normal<B>(Shape{rows, heads.keys * heads.size}, rng);
  }
  Qkv<B> on(Tape<B>& tape) const { return {tape.constant(q.view()), tape.constant(k.view()), tape.constant(v.view())}; }
};

template <class Layer>
std::vector<Parameter<B>*> parameters(Layer& layer, std::vector<std::string>* names = nullptr) {
  std::vector<Parameter<B>*> list;
  layer.visit_maps("at.", [&](const std::string& name, const Shape& shape, Parameter<B>& parameter) {
    CHECK(parameter.shape() == shape);
    list.push_back(&parameter);
    if (names) names->push_back(name);
  });
  return list;
}

}  // namespace

TEST_CASE("names, and what starts where") {
  Fused layer({}, four_to_two, 0, 3, 7);
  std::vector<std::string> names;
  const auto list = parameters(layer, &names);
  CHECK(names ==
        std::vector<std::string>{"at.feature_map_q.mlp.layer", "at.feature_map_k.mlp.layer", "at.window_factors"});
  // Keys start with the maps of the first query head of each group.
  CHECK(list[1]->shape() == Shape{2, 4, 3});
  for (Index i = 0; i < 12; ++i) CHECK(list[1]->value().data[12 + i] == list[0]->value().data[24 + i]);
  CHECK(list[2]->shape() == Shape{1, 4, 1, 1});
  for (const double x : list[2]->value().span()) CHECK(x == -2.1972245773362196);
  Fused other({}, four_to_two, 0, 4, 7);
  CHECK(testing::as_doubles(list[0]->value()) != testing::as_doubles(parameters(other)[0]->value()));
}

TEST_CASE("softmax takes the checkpoint's window, if any") {
  AttentionLayer<B, Softmax<>> endless({}, four_to_two, 0, 0, 0), narrow({}, four_to_two, 5, 0, 0);
  CHECK(endless.window().begin(100000) == 0);
  CHECK(narrow.window().begin(100) == 96);
  AttentionLayer<B, Softmax<Sliding<2>>> fixed({}, four_to_two, 5, 0, 0);
  CHECK(fixed.window().begin(100) == 99);
  CHECK(parameters(endless).empty());
}

TEST_CASE("a map composed of tape operations is the fused map: output, decoding, gradients") {
  Fused fused({}, four_to_two, 0, 0, 7);
  Unfused composed({}, four_to_two, 0, 0, 7);
  const auto a = parameters(fused), b = parameters(composed);
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    REQUIRE(a[i]->shape() == b[i]->shape());
    *b[i] = *a[i];
  }
  const Sequences sequences = Sequences::rectangular(1, 9);
  const Inputs inputs(9, four_to_two);
  Tape<B> tape;
  const auto want = testing::as_doubles(fused(tape, inputs.on(tape), sequences).value());
  CHECK(close(want, composed(tape, inputs.on(tape), sequences).value(), 1e-13));

  AttentionState<B> state;
  std::vector<double> steps;
  for (Index first = 0; first < 9; first += 3) {
    const Sequences chunk(3, {{0, 3, first}});
    const Qkv<B> x{tape.constant(inputs.q.view().row_range(first, 3)),
                   tape.constant(inputs.k.view().row_range(first, 3)),
                   tape.constant(inputs.v.view().row_range(first, 3))};
    for (const double y : composed.step(tape, x, chunk, state).value().span()) steps.push_back(y);
  }
  CHECK(close(want, steps, 1e-13));

  CHECK(check_gradients({inputs.q, inputs.k, inputs.v}, b, [&](Tape<B>& t, std::span<const Var<B>> x) {
    return composed(t, Qkv<B>{x[0], x[1], x[2]}, sequences);
  }));
}

TEST_CASE("shared maps: one set of weights serves both sides and collects both gradients") {
  AttentionLayer<B, Hybrid<Start, Sliding<3>, SharedMaps>> shared({}, four_to_two, 0, 0, 7);
  std::vector<std::string> names;
  const auto list = parameters(shared, &names);
  CHECK(names == std::vector<std::string>{"at.feature_map_q.mlp.layer", "at.window_factors"});
  const Inputs inputs(9, four_to_two);
  const Sequences sequences = Sequences::rectangular(1, 9);
  CHECK(check_gradients({inputs.q, inputs.k, inputs.v}, list, [&](Tape<B>& t, std::span<const Var<B>> x) {
    return shared(t, Qkv<B>{x[0], x[1], x[2]}, sequences);
  }));
}

TEST_CASE("names of composed attentions") {
  CHECK(Composed<ComposedHedgehog, Sliding<3>, Affine>::name() == "composed<composed_hedgehog, sliding<3>, affine>");
}

TEST_CASE("AttentionLayer: window dropout acts in training only, and is the attention without its window") {
  using Map = Hedgehog<4>;
  const Sequences sequences = Sequences::rectangular(1, 40);
  const Heads heads{4, 2, 4};
  const auto layer_of = [&]<class A>(std::type_identity<A>) { return AttentionLayer<B, A>(B{}, heads, 0, 3, 7); };
  const auto hybrid = layer_of(std::type_identity<Hybrid<Map, Sliding<8>>>{});
  const auto linear = layer_of(std::type_identity<Linear<Map>>{});
  const auto sometimes = layer_of(std::type_identity<Hybrid<Map, Sliding<8>, WindowDropout<Ratio{1, 2}>>>{});
  const Inputs inputs(sequences.rows(), heads);
  const auto values = [&](const auto& layer, bool training, std::uint64_t seed) {
    Tape<B> tape;
    tape.training = training;
    tape.seed = seed;
    const auto y = layer(tape, inputs.on(tape), sequences).value();
    return std::vector<double>(y.data, y.data + y.size());
  };
  const auto with = values(hybrid, false, 0), without = values(linear, false, 0);
  CHECK(with != without);
  int dropped = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    CHECK(values(sometimes, false, seed) == with);
    const auto y = values(sometimes, true, seed);
    const bool is_dropped = y == without;
    CHECK((is_dropped || y == with));
    dropped += is_dropped;
  }
  CHECK(dropped > 8);  // 20 +- 3.2
  CHECK(dropped < 32);
  // One in ten is not nine in ten.
  const auto rarely = layer_of(std::type_identity<Hybrid<Map, Sliding<8>, WindowDropout<Ratio{1, 10}>>>{});
  int rare = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) rare += values(rarely, true, seed) == without;
  CHECK(rare > 0);  // 10 +- 3
  CHECK(rare < 30);
  CHECK(std::string(Hybrid<Map, Sliding<8>, WindowDropout<Ratio{1, 2}>>::name()) ==
        "hybrid<hedgehog<4>, sliding<8>, window dropout 0.5>");
}

TEST_CASE("AttentionLayer: beside a memory that corrects, window dropout leaves what the memory recalls") {
  using Map = Hedgehog<4>;
  const Sequences sequences = Sequences::rectangular(1, 40);
  const Heads heads{4, 2, 4};
  const AttentionLayer<B, Linear<Map, DeltaRule<HeadRate>>> memory({}, heads, 0, 3, 7);
  const AttentionLayer<B, Hybrid<Map, Sliding<8>, DeltaRule<HeadRate>, WindowDropout<Ratio{1, 1}>>> dropped({}, heads, 0, 3, 7);
  const AttentionLayer<B, Softmax<Sliding<8>>> window({}, heads, 0, 3, 7);
  const Inputs inputs(sequences.rows(), heads);
  const auto values = [&](const auto& layer, bool training) {
    Tape<B> tape;
    tape.training = training;
    return testing::host(B{}, layer(tape, inputs.on(tape), sequences).value());
  };
  const auto far = values(memory, false), near = values(window, false);
  CHECK(values(dropped, true) == far);
  std::vector<double> mixed;
  for (std::size_t i = 0; i < far.size(); ++i) mixed.push_back(0.9 * near[i] + 0.1 * far[i]);
  CHECK(testing::close(mixed, values(dropped, false), 1e-13));
}

TEST_CASE("AttentionLayer: window dropout by schedule") {
  using A = Hybrid<Hedgehog<4>, Sliding<8>, WindowDropout<Ratio{1, 1}, Ratio{0, 1}, 10>>;
  CHECK(A::name() == "hybrid<hedgehog<4>, sliding<8>, window dropout 1 to 0 in 10 updates>");
  const Sequences sequences = Sequences::rectangular(1, 40);
  const Heads heads{4, 2, 4};
  const AttentionLayer<B, A> layer(B{}, heads, 0, 3, 7);
  const Inputs inputs(sequences.rows(), heads);
  const auto values = [&](bool training, std::uint64_t seed, Index update) {
    Tape<B> tape;
    tape.training = training;
    tape.seed = seed;
    tape.update = update;
    const auto y = layer(tape, inputs.on(tape), sequences).value();
    return std::vector<double>(y.data, y.data + y.size());
  };
  const auto with = values(false, 0, 0);
  const auto dropped = [&](Index update) {
    int count = 0;
    for (std::uint64_t seed = 0; seed < 60; ++seed) count += values(true, seed, update) != with;
    return count;
  };
  CHECK(dropped(0) == 60);
  CHECK(dropped(3) > 28);  // 42 +- 3.5
  CHECK(dropped(3) < 56);
  CHECK(dropped(8) > 0);  // 12 +- 3.1
  CHECK(dropped(8) < 26);
  CHECK(dropped(10) == 0);
  CHECK(dropped(1000) == 0);
}

TEST_CASE("AttentionLayer: query heads that share a key map share a state") {
  const Sequences sequences = Sequences::rectangular(1, 40);
  const Heads heads{4, 2, 4};
  const Inputs inputs(sequences.rows(), heads);
  const auto sums_of = [&]<class A>(std::type_identity<A>) {
    const AttentionLayer<B, A> layer(B{}, heads, 0, 3, 7);
    Tape<B> tape;
    AttentionState<B> state;
    layer.step(tape, inputs.on(tape), sequences, state);
    return to_string(state.slots[0].sums.shape()) + to_string(state.slots[0].normalizer.shape());
  };
  CHECK(sums_of(std::type_identity<Hybrid<Start, Sliding<3>>>{}) == "(4, 6, 4)(4, 6)");
  CHECK(sums_of(std::type_identity<Hybrid<Start, Sliding<3>, KeyMapsPerGroup>>{}) == "(2, 6, 4)(2, 6)");
}
