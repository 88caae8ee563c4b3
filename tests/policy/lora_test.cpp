#include <lolcats/policy/lora.hpp>
#include <lolcats/testing/adapter_suite.hpp>
#include <lolcats/testing/archetypes.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

struct NoTargets {
  static constexpr Index rank = 1;
  static constexpr double alpha = 1, dropout = 0;
  static std::string name() { return "no_targets"; }
};
struct NoRank {
  static constexpr Targets targets = qkvo;
  static constexpr double alpha = 1, dropout = 0;
  static std::string name() { return "no_rank"; }
};
struct NoAlpha {
  static constexpr Targets targets = qkvo;
  static constexpr Index rank = 1;
  static constexpr double dropout = 0;
  static std::string name() { return "no_alpha"; }
};
struct NoDropout {
  static constexpr Targets targets = qkvo;
  static constexpr Index rank = 1;
  static constexpr double alpha = 1;
  static std::string name() { return "no_dropout"; }
};
struct NoLoraName {
  static constexpr Targets targets = qkvo;
  static constexpr Index rank = 1;
  static constexpr double alpha = 1, dropout = 0;
};

static_assert(AdapterPolicy<NoAdapter> && AdapterPolicy<Lora<4>> && AdapterPolicy<ArchetypeAdapter>);
static_assert(!AdapterPolicy<NoTargets>);
static_assert(!AdapterPolicy<NoRank>);
static_assert(!AdapterPolicy<NoAlpha>);
static_assert(!AdapterPolicy<NoDropout>);
static_assert(!AdapterPolicy<NoLoraName>);
static_assert(!AdapterPolicy<int>);

static_assert(Lora<8>::alpha == 16 && Lora<8, qkvo, 8>::alpha == 8 && Lora<8>::dropout == 0);
static_assert(Lora<8, qkvo, 16, Ratio{1, 20}>::dropout == 0.05);
static_assert(qkvo.contains(Projections::o) && !qkvo.contains(Projections::gate));
static_assert(Targets{Projections::v, Projections::q} == Targets{Projections::q, Projections::v});

}  // namespace

TEST_CASE("adapters keep the promises of an adapter") {
  check_adapter<NoAdapter>();
  check_adapter<Lora<2>>();
  check_adapter<Lora<3, Targets{Projections::v, Projections::down}, 5, Ratio{1, 4}>>();
  check_adapter<ArchetypeAdapter>();
}

TEST_CASE("names of adapters and targets") {
  using enum Projections;
  CHECK(NoAdapter::name() == "no adapter");
  CHECK(Lora<8>::name() == "lora<8, qkvo>");
  CHECK(Lora<4, Targets{v, o}, 4>::name() == "lora<4, vo, alpha 4>");
  CHECK(Lora<8, Targets{q, k, v, o, gate, up, down}>::name() == "lora<8, qkvo+gate+up+down>");
  CHECK(Lora<8, Targets{down}>::name() == "lora<8, down>");
  CHECK(Lora<8, qkvo, 16, Ratio{1, 20}>::name() == "lora<8, qkvo, dropout 0.05>");
}
