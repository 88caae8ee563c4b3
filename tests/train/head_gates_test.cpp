#include "../eval/plain_swapped.hpp"
#include "tiny_llama.hpp"

#include <lolcats/ops/lerp/eigen.hpp>
#include <lolcats/train/head_gates.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

namespace {

using B = Cpu<double>;
using Recalling = Llama<B, Softmax<Sinks<1, Sliding<3>>, Kept<32, LearnedScore>>, Lora<2>>;  // 32: all keys of a row
using GateTask = detail::HeadGateTask<Recalling>;
using Gates = std::vector<double>;

void set_sizes(Recalling& model, const CacheSizes& sizes) {
  for (std::size_t l = 0; l < sizes.size(); ++l) model.layer(static_cast<Index>(l)).attention().set_cache_sizes(B{}, sizes[l]);
}

/// Trained gates (L, 2) with these values.
Parameter<B> gates_of(const Gates& values) {
  Parameter<B> gates = detail::make_parameter(B{}, Shape{static_cast<Index>(values.size()) / 2, 2}, values);
  gates.train(B{});
  return gates;
}

/// The loss of the whole data as one update of several micro-batches.
double loss_of(Recalling& model, Parameter<B>& gates, const DataSet& data, double sparsity, Index rows) {
  GateTask task(model, gates, sparsity);
  double loss = 0;
  Index supervised = 0;
  for (Index first = 0; first < data.size(); ++first) supervised += data.batch(first, 1).supervised();
  for (Index first = 0; first < data.size(); first += rows) {
    loss += task.step(data.batch(first, std::min(rows, data.size() - first)), {.scale = 1.0 / static_cast<double>(supervised)});
  }
  return loss;
}

/// A model in which predictions depend on one head alone: key/value head `head` of `layer`.
Recalling one_head_matters(Index layer, Index head) {
  Recalling model = tiny::student<Recalling>(3);
  for (const auto& [name, parameter] : model.base_parameters()) {
    if (!name.ends_with("o_proj.weight")) continue;
    parameter->own(B{});
    const auto o = parameter->mutable_value();  // (C, H * D)
    const Index width = o.cols() / 2;
    for (Index i = 0; i < o.size(); ++i) {
      if (name != fmt::format("model.layers.{}.self_attn.o_proj.weight", layer) || i % o.cols() / width != head) o.data[i] = 0;
    }
  }
  return model;
}

}  // namespace

TEST_CASE("head gates: all or nothing is softmax or the near keys alone, by the definition") {
  Recalling model = tiny::student<Recalling>(3);
  const DataSet data = tiny::data(4, {17, 12, 23});
  auto teacher = convert<tiny::Teacher>(model);
  for (const Gates& values : {Gates{1, 1, 1, 1, 1, 1}, Gates{0, 0, 0, 0, 0, 0}, Gates{1, 0, 0, 1, 1, 1}, Gates{0, 0, 0, 1, 0, 0}}) {
    CacheSizes sizes;
    double open = 0;
    for (std::size_t l = 0; l < 3; ++l) {
      sizes.push_back({32 * static_cast<Index>(values[2 * l]), 32 * static_cast<Index>(values[2 * l + 1])});
      open += values[2 * l] + values[2 * l + 1];
    }
    set_sizes(model, sizes);
    const double want = plain::swapped(model, teacher, data).divergence;
    CHECK((want > 1e-4) == (open < 6));
    set_sizes(model, CacheSizes(3, {0, 0}));
    for (const Index rows : {1, 3, 4}) {
      Parameter<B> gates = gates_of(values);
      CHECK(loss_of(model, gates, data, 0, rows) == doctest::Approx(want).epsilon(1e-9));
      CHECK(loss_of(model, gates, data, 0.25, rows) == doctest::Approx(want + 0.25 * open).epsilon(1e-9));
    }
  }
}

TEST_CASE("head gates: the loss has the gradients of what it is, also in micro-batches") {
  Recalling model = tiny::student<Recalling>(3);
  set_sizes(model, CacheSizes(3, {0, 0}));
  const DataSet data = tiny::data(3, {17, 12});
  const Gates values{0.3, 0.9, 0.5, 0.2, 0.7, 0.4};
  Parameter<B> gates = gates_of(values);
  loss_of(model, gates, data, 0.1, 2);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto at = [&](double step) {
      Gates moved = values;
      moved[i] += step;
      Parameter<B> there = gates_of(moved);
      return loss_of(model, there, data, 0.1, 3);
    };
    CHECK(gates.gradient().data[i] == doctest::Approx((at(1e-5) - at(-1e-5)) / 2e-5).epsilon(1e-6));
  }
}

TEST_CASE("head gates outside of [0, 1] are put back") {
  Recalling model = tiny::student<Recalling>(1);
  Parameter<B> gates = gates_of({-0.5, 1.25});
  GateTask task(model, gates, 0);
  task.project();
  CHECK(task.read() == Gates{0, 1});
}

TEST_CASE("learn_head_gates finds the head that predictions need") {
  const DataSet data = tiny::data(8, {23, 17});
  for (const auto& [layer, head] : {std::pair<Index, Index>{1, 1}, {0, 0}}) {
    Recalling model = one_head_matters(layer, head);
    const CacheSizes before{{3, 4}, {5, 6}, {7, 8}};
    set_sizes(model, before);
    const auto weights = tiny::snapshot(model.base_parameters()), adapters = tiny::snapshot(model.adapter_parameters());
    const HeadGates found = learn_head_gates(model, data, 1e-3, Recipe<>{.epochs = 30, .batch = 4, .learning_rate = 0.03});
    CHECK(found.training.updates == 60);
    CHECK(found.training.history.front().loss == doctest::Approx(6e-3).epsilon(1e-9));  // all gates are open
    CHECK(found.training.history.back().loss < 3e-3);
    REQUIRE(found.gates.size() == 3);
    for (Index l = 0; l < 3; ++l) {
      for (Index g = 0; g < 2; ++g) {
        const double gate = found.gates[static_cast<std::size_t>(l)][static_cast<std::size_t>(g)];
        CAPTURE(l);
        CAPTURE(g);
        if (l == layer && g == head) CHECK(gate > 0.5);
        else CHECK(gate == 0);
      }
    }
    CHECK(tiny::snapshot(model.base_parameters()) == weights);
    CHECK(tiny::snapshot(model.adapter_parameters()) == adapters);
    CHECK(!tiny::any_trained(model.base_parameters()));
    for (Index l = 0; l < 3; ++l) CHECK(model.layer(l).attention().cache_sizes(B{}) == before[static_cast<std::size_t>(l)]);
  }
}

TEST_CASE("learn_head_gates goes on where it was stopped") {
  Recalling model = tiny::student<Recalling>(2);
  const DataSet data = tiny::data(6, {17});
  const tiny::TemporaryFolder folder;
  Recipe<> recipe{.epochs = 2, .batch = 2, .learning_rate = 0.03};
  const auto whole = learn_head_gates(model, data, 0.02, recipe).gates;
  recipe.checkpoint = folder / "gates.state";
  int asked = 0;
  recipe.stop = [&] { return ++asked == 4; };
  CHECK_THROWS_AS(learn_head_gates(model, data, 0.02, recipe), Interrupted);
  CHECK_THROWS_AS(learn_head_gates(model, data, 0.03, recipe), ConfigError);
  CHECK(learn_head_gates(model, data, 0.02, recipe).gates == whole);
  CHECK(learn_head_gates(model, data, 0.02, recipe).gates == whole);  // from its end
}

TEST_CASE("learn_head_gates refuses what cannot be") {
  Recalling model = tiny::student<Recalling>(1);
  const DataSet data = tiny::data(2, {17});
  CHECK_THROWS_WITH_AS(learn_head_gates(model, data, -1, Recipe<>{.epochs = 1}), "learn_head_gates: sparsity is -1, expected 0 or more", ConfigError);
  CHECK_THROWS_AS(learn_head_gates(model, data, 0, Recipe<>{.epochs = 1, .evaluate_every = 1}), ConfigError);
  CHECK_THROWS_AS(learn_head_gates(model, data, 0, Recipe<>{}), ConfigError);
  std::vector<Row> rows = data.rows();
  for (Row& row : rows) std::ranges::fill(row.labels, ignored_label);
  CHECK_THROWS_AS(learn_head_gates(model, DataSet(std::move(rows)), 0, Recipe<>{.epochs = 1}), DataError);
}
