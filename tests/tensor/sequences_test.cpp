// Sequences: how rows are divided.
#include <lolcats/tensor/sequences.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

TEST_CASE("a rectangular batch") {
  const Sequences batch = Sequences::rectangular(3, 4);
  CHECK(batch.rows() == 12);
  CHECK(batch.count() == 3);
  CHECK(batch.longest() == 4);
  CHECK(batch[2] == Extent{8, 4, 0});
}

TEST_CASE("ragged sequences with gaps and positions") {
  const Sequences ragged(10, {{0, 2, 0}, {3, 6, 7}});
  CHECK(ragged.count() == 2);
  CHECK(ragged.longest() == 6);
  CHECK(Sequences().rows() == 0);
  CHECK(Sequences(5, {}).longest() == 0);
}

TEST_CASE("extents that overlap, leave the rows, are empty or start before position 0 are errors") {
  CHECK_NOTHROW(Sequences(4, {{0, 2, 0}, {2, 2, 0}}));
  CHECK_THROWS_AS(Sequences(4, {{0, 2, 0}, {1, 2, 0}}), ShapeError);
  CHECK_THROWS_AS(Sequences(4, {{2, 2, 0}, {0, 2, 0}}), ShapeError);
  CHECK_THROWS_AS(Sequences(4, {{3, 2, 0}}), ShapeError);
  CHECK_THROWS_AS(Sequences(4, {{-1, 2, 0}}), ShapeError);
  CHECK_THROWS_AS(Sequences(4, {{0, 0, 0}}), ShapeError);
  CHECK_THROWS_AS(Sequences(4, {{0, 2, -1}}), ShapeError);
}

TEST_CASE("rows beside the sequences are padding") {
  CHECK((Sequences(9, {{0, 5, 0}, {5, 2, 3}}).tokens() == 7 && Sequences(9, {{0, 5, 0}, {5, 2, 3}}).padded()));
  CHECK((Sequences(7, {{0, 5, 0}, {5, 2, 3}}).tokens() == 7 && !Sequences(7, {{0, 5, 0}, {5, 2, 3}}).padded()));
  CHECK((Sequences(3, {}).padded() && !Sequences().padded()));
}

TEST_CASE("the longest of sequences need not be the last") { CHECK(Sequences(9, {{0, 5, 0}, {5, 2, 0}}).longest() == 5); }
