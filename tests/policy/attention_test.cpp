#include <lolcats/policy/attention.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/policy/feature_map/relu.hpp>
#include <lolcats/testing/archetypes.hpp>
#include <lolcats/testing/attention_suite.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

/// Lacks one thing each.
struct NoMapType {
  using Window = Sliding<4>;
  static constexpr bool affine = false, shared_maps = false, key_maps_per_group = false;
  static std::string name() { return "no_map_type"; }
};
struct NoWindow {
  using Map = NoMap;
  static constexpr bool affine = false, shared_maps = false, key_maps_per_group = false;
  static std::string name() { return "no_window"; }
};
struct WrongWindow : NoWindow {
  using Window = Hedgehog<4>;
};
struct NoAffine {
  using Map = NoMap;
  using Window = Everything;
  static constexpr bool shared_maps = false, key_maps_per_group = false;
  static std::string name() { return "no_affine"; }
};
struct NoAttentionName {
  using Map = NoMap;
  using Window = Everything;
  static constexpr bool affine = false, shared_maps = false, key_maps_per_group = false;
};
struct CompleteAttention : NoAttentionName {
  static std::string name() { return "complete"; }
};

static_assert(AttentionPolicy<CompleteAttention> && AttentionPolicy<ArchetypeAttention>);
static_assert(AttentionPolicy<Softmax<>> && AttentionPolicy<Linear<Hedgehog<4>>> &&
              AttentionPolicy<Hybrid<Hedgehog<4>, Sliding<8>>>);
static_assert(!AttentionPolicy<NoMapType>);
static_assert(!AttentionPolicy<NoWindow>);
static_assert(!AttentionPolicy<WrongWindow>);
static_assert(!AttentionPolicy<NoAffine>);
static_assert(!AttentionPolicy<NoAttentionName>);
static_assert(!AttentionPolicy<int>);

/// Does `Attention<Arguments...>` exist?
template <template <class...> class Attention, class... Arguments>
concept Exists = requires {
  typename Attention<Arguments...>;
};
static_assert(Exists<Hybrid, Hedgehog<4>, Sliding<8>> && Exists<Hybrid, Hedgehog<4>, Sliding<8>, Affine, SharedMaps>);
static_assert(!Exists<Hybrid, Hedgehog<4>, Nothing>, "without near keys it is Linear");
static_assert(!Exists<Hybrid, Hedgehog<4>, Everything>, "without far keys it is Softmax");
static_assert(!Exists<Hybrid, Hedgehog<4>, Sliding<8>, int>, "int is no option");
static_assert(!Exists<Hybrid, NoMap, Sliding<8>>, "NoMap is no feature map");
static_assert(Exists<Linear, Hedgehog<4>, KeyMapsPerGroup> && !Exists<Linear, Hedgehog<4>, Affine>,
              "gamma needs near keys");

static_assert(has_maps<Linear<Hedgehog<4>>> && !has_mixing<Linear<Hedgehog<4>>>);
static_assert(has_mixing<Hybrid<Hedgehog<4>, Terraced<8>>> && !has_maps<Softmax<>> && !has_mixing<Softmax<>>);
static_assert(Hybrid<Hedgehog<4>, Sliding<8>, Affine>::affine && !Hybrid<Hedgehog<4>, Sliding<8>, SharedMaps>::affine);

}  // namespace

TEST_CASE("names of attentions") {
  CHECK(Softmax<>::name() == "softmax");
  CHECK(Softmax<Sliding<64>>::name() == "softmax<sliding<64>>");
  CHECK(Linear<T2R<128>>::name() == "linear<t2r<128>>");
  CHECK(Hybrid<Hedgehog<64>, Terraced<64>>::name() == "hybrid<hedgehog<64>, terraced<64>>");
  CHECK(Hybrid<Hedgehog<64>, Sliding<4>, KeyMapsPerGroup, Affine>::name() ==
        "hybrid<hedgehog<64>, sliding<4>, affine, key maps per group>");
}

TEST_CASE("an attention that models the concepts and nothing more runs everywhere") {
  check_attention<ArchetypeAttention, false>(ArchetypeWindow::make());
}
