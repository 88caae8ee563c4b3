#include "../train/tiny_llama.hpp"
#include "plain_swapped.hpp"

#include <lolcats/eval/layer_sensitivity.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

namespace {

using B = Cpu<double>;
using Mixed = Llama<B, PerLayer<Softmax<>, Hybrid<Hedgehog<2>, Terraced<3>>>, Lora<2>>;

/// What the definition says, one model for each swap.
Swapped plainly(Mixed& model, std::vector<Index> attention, const DataSet& data) {
  auto swapped = convert<Mixed>(model, 1, attention);
  auto teacher = convert<Mixed>(model, 1, std::vector<Index>(static_cast<std::size_t>(model.layer_count()), 0));
  return plain::swapped(swapped, teacher, data);
}

}  // namespace

TEST_CASE("layer_sensitivity: each layer swapped alone, both ways") {
  Mixed model = tiny::student<Mixed>(3);
  const DataSet data = tiny::data(5, {11, 6});
  for (const Index rows : {2, 8}) {
    const auto got = layer_sensitivity(model, data, {.rows = rows, .kept = true});
    REQUIRE(got.swapped.size() == 3);
    REQUIRE(got.kept.size() == 3);
    const auto check = [&](const Swapped& x, const std::vector<Index>& attention) {
      const Swapped want = plainly(model, attention, data);
      CHECK(x.divergence == doctest::Approx(want.divergence).epsilon(1e-9));
      CHECK(x.loss == doctest::Approx(want.loss).epsilon(1e-12));
    };
    check(got.student, {1, 1, 1});
    CHECK(got.teacher.divergence < 1e-12);
    for (std::size_t i = 0; i < 3; ++i) {
      std::vector<Index> one(3, 0), others(3, 1);
      one[i] = 1;
      others[i] = 0;
      check(got.swapped[i], one);
      check(got.kept[i], others);
      CHECK(got.swapped[i].divergence > 1e-6);
    }
  }
  CHECK(layer_sensitivity(model, data).kept.empty());
  CHECK_THROWS_AS(layer_sensitivity(model, DataSet()), DataError);
  CHECK_THROWS_AS(layer_sensitivity(model, data, {.rows = 0}), ConfigError);
}

TEST_CASE("layer_sensitivity: an adapter does not count, and is on again afterwards") {
  Mixed model = tiny::student<Mixed>(2);
  const DataSet data = tiny::data(2);
  const auto before = layer_sensitivity(model, data);
  for (const auto& [name, parameter] : model.adapter_parameters()) {
    *parameter = lolcats::detail::make_parameter(B{}, parameter->shape(), std::vector<double>(static_cast<std::size_t>(parameter->size()), 0.3));
  }
  const double adapted = perplexity(model, data).loss;
  const auto after = layer_sensitivity(model, data);
  CHECK(after.student.loss == before.student.loss);
  CHECK(perplexity(model, data).loss == adapted);
  CHECK(adapted != doctest::Approx(before.student.loss));
}

TEST_CASE("layers are chosen by what they cost, by spacing, at random") {
  LayerSensitivity sensitivity;
  for (const double x : {0.1, 0.5, 0.2, 0.5, 0.05}) sensitivity.swapped.push_back({.divergence = x, .loss = 1});
  using List = std::vector<Index>;
  CHECK(most_sensitive_layers(sensitivity, 0).empty());
  CHECK(most_sensitive_layers(sensitivity, 1) == List{1});
  CHECK(most_sensitive_layers(sensitivity, 3) == List{1, 2, 3});
  CHECK_THROWS_WITH_AS(most_sensitive_layers(sensitivity, 6), "most_sensitive_layers: 6 layers, expected 0 to 5", ConfigError);
  CHECK(spaced_layers(30, 3) == List{5, 15, 25});
  CHECK(spaced_layers(4, 4) == List{0, 1, 2, 3});
  CHECK(spaced_layers(4, 0).empty());
  CHECK(random_layers(30, 30, 1) == spaced_layers(30, 30));
  CHECK(random_layers(30, 6, 1) == random_layers(30, 6, 1));
  CHECK(random_layers(30, 6, 1) != random_layers(30, 6, 2));
  const List kept{1, 3};
  CHECK(keeping_layers(4, kept) == List{1, 0, 1, 0});
  const List beyond{4}, twice{1, 1};
  CHECK_THROWS_WITH_AS(keeping_layers(4, beyond), "keeping_layers: layer 4, expected 0 to 3", ConfigError);
  CHECK_THROWS_WITH_AS(keeping_layers(4, twice), "keeping_layers: layer 1 is named twice", ConfigError);
}
