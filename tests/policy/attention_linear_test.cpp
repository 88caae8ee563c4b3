#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/elu.hpp>
#include <lolcats/policy/feature_map/hedgehog_exp.hpp>
#include <lolcats/policy/feature_map/modifiers.hpp>
#include <lolcats/testing/attention_suite.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {
/// Features from elsewhere, behind a window.
struct GivenSliding {
  using Map = GivenFeatures;
  using Window = Sliding<7>;
  static constexpr bool affine = true, shared_maps = false, key_maps_per_group = false;
  static std::string name() { return "given_sliding"; }
};
}  // namespace

TEST_CASE("linear attention, in double and float") { check_attention<Linear<HedgehogExp<3>, KeyMapsPerGroup>>(); }

TEST_CASE("linear attention with shared maps behind a skip connection") {
  check_attention<Linear<Skip<EluPlusOne<8>>, SharedMaps>, false>();
}

TEST_CASE("given features") { check_attention<GivenSliding, false>(); }

TEST_CASE("softmax attention within any window") {
  using Any = Softmax<Sliding<>>;
  check_attention<Any>(Sliding<>(unlimited));
  for (const Index width : {1, 3, 64, 128}) {
    check_attention_against_reference<Any>(Sliding<>(width), {.sizes = {3}}, 1e-11, 1e-8);
    check_attention_steps<Any>(Sliding<>(width), {});
  }
  for (const Index width : {150, 200}) {  // more than a block of keys
    check_attention_against_reference<Any>(Sliding<>(width), {.lengths = {257, 400}, .sizes = {3}}, 1e-11, 1e-8);
  }
}
