#include <lolcats/policy/feature_map/initialization.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace lolcats;

TEST_CASE("identity start copies coordinates, and is zero under a skip connection") {
  Rng rng(1);
  for (Index i = 0; i < 5; ++i) {
    for (Index j = 0; j < 3; ++j) {
      CHECK(IdentityStart::weight(rng, i, j, 5, 3, false) == (i == j ? 1 : 0));
      CHECK(IdentityStart::weight(rng, i, j, 5, 3, true) == 0);
    }
  }
  CHECK(rng.counter() == 0);
}

TEST_CASE("Kaiming start is uniform within sqrt(6 / (d f))") {
  Rng rng(2);
  const double bound = std::sqrt(6.0 / (128 * 64));
  double largest = 0, sum = 0, squares = 0;
  const int count = 20000;
  for (int i = 0; i < count; ++i) {
    const double w = KaimingStart::weight(rng, 0, 0, 128, 64, false);
    largest = std::max(largest, std::abs(w));
    sum += w;
    squares += w * w;
  }
  CHECK(largest <= bound);
  CHECK(largest > 0.999 * bound);
  // Five standard errors.
  CHECK(std::abs(sum / count) < 5 * bound / std::sqrt(3.0 * count));
  CHECK(squares / count == doctest::Approx(bound * bound / 3).epsilon(0.03));
}

TEST_CASE("normal start has mean zero and variance one") {
  Rng rng(3);
  double sum = 0, squares = 0;
  const int count = 20000;
  for (int i = 0; i < count; ++i) {
    const double w = NormalStart::weight(rng, 0, 0, 8, 8, false);
    sum += w;
    squares += w * w;
  }
  CHECK(std::abs(sum / count) < 5 / std::sqrt(double{count}));
  CHECK(squares / count == doctest::Approx(1).epsilon(0.05));
}

TEST_CASE("names of starts") {
  CHECK(IdentityStart::name() == "identity");
  CHECK(KaimingStart::name() == "kaiming");
  CHECK(NormalStart::name() == "normal");
}
