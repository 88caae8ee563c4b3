#include <lolcats/policy/feature_map/feature_map.hpp>
#include <lolcats/testing/feature_map_suite.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

/// Complete; those below lack one thing each.
struct Complete : RowMap<3> {
  static std::string name() { return "complete"; }
  template <class R>
  static Features<R, 1> features(const R& z) {
    return {z};
  }
  template <class R>
  static R pullback(const R&, const Features<R, 1>&, const Features<R, 1>& dphi) {
    return dphi[0];
  }
};
struct NoMapName : RowMap<3> {
  template <class R>
  static Features<R, 1> features(const R& z) {
    return {z};
  }
  template <class R>
  static R pullback(const R&, const Features<R, 1>&, const Features<R, 1>& dphi) {
    return dphi[0];
  }
};
struct NoPullback : RowMap<3> {
  static std::string name() { return "no_pullback"; }
  template <class R>
  static Features<R, 1> features(const R& z) {
    return {z};
  }
};
struct NoFeatures : RowMap<3> {
  static std::string name() { return "no_features"; }
  template <class R>
  static R pullback(const R&, const Features<R, 1>&, const Features<R, 1>& dphi) {
    return dphi[0];
  }
};
struct WrongCount : RowMap<3, 2> {  // says two rows of features, returns one
  static std::string name() { return "wrong_count"; }
  template <class R>
  static Features<R, 1> features(const R& z) {
    return {z};
  }
  template <class R>
  static R pullback(const R&, const Features<R, 2>&, const Features<R, 2>& dphi) {
    return dphi[0];
  }
};
struct NoConstants {
  static std::string name() { return "no_constants"; }
  template <class R>
  static Features<R, 1> features(const R& z) {
    return {z};
  }
  template <class R>
  static R pullback(const R&, const Features<R, 1>&, const Features<R, 1>& dphi) {
    return dphi[0];
  }
};
struct NoFloor : ArchetypeMap {  // clamped at nothing
  static constexpr bool clamped = true;
};
struct NoStart : Complete {
  struct Initialization {};
};

static_assert(FeatureMap<Complete> && FeatureMap<ArchetypeMap>);
static_assert(!FeatureMap<NoFloor> && !FeatureMap<NoStart>);
static_assert(!FeatureMap<NoMapName>);
static_assert(!FeatureMap<NoPullback>);
static_assert(!FeatureMap<NoFeatures>);
static_assert(!FeatureMap<WrongCount>);
static_assert(!FeatureMap<NoConstants>);
static_assert(!FeatureMap<RowMap<3>>);
static_assert(!FeatureMap<int>);
static_assert(feature_count<Complete>(3) == 3 && feature_count<ArchetypeMap>(5) == 5);

}  // namespace

TEST_CASE("a map that models the concept and nothing more runs everywhere") { check_feature_map<ArchetypeMap>(); }

TEST_CASE("features below the floor are raised to it, and pass no gradient") {
  using B = Cpu<double>;
  const std::vector<double> x{-1, 1, 2, 3}, one{1, 0, 0, 0, 1, 0};  // W (1, 2, 3): columns x0, x1, 0
  Parameter<B> map(array<B>(Shape{1, 2, 3}, one));
  map.train(B{});
  Tape<B> tape;
  const auto input = tape.variable({x.data(), {2, 2}});
  const auto phi = feature_map<Complete>(tape, input, static_cast<Weight<B>>(map), Weight<B>{}, Index{1});
  CHECK(close(std::vector<double>{1e-12, 1, 1e-12, 2, 3, 1e-12}, phi.value(), 0.0));
  const std::vector<double> ones(6, 1.0);
  B::from_host(ones.data(), phi.sink().gradient.data, 6);
  tape.replay(0);
  CHECK(close(std::vector<double>{0, 1, 1, 1}, input.gradient(), 0.0));
  CHECK(close(std::vector<double>{2, -1 + 2, 0, 3, 1 + 3, 0}, map.gradient(), 0.0));
}

TEST_CASE("a frozen map costs no record when its input is constant") {
  using B = Cpu<double>;
  const std::vector<double> x{1, 2}, w{1, 2, 3, 4, 5, 6};
  Tape<B> tape;
  const auto phi = feature_map<Complete>(tape, tape.constant({x.data(), {1, 2}}), Weight<B>{{w.data(), {1, 2, 3}}, {}},
                                         Weight<B>{}, Index{1});
  CHECK(!phi.wants_gradient());
  CHECK(tape.records() == 0);
}
