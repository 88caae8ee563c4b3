// Shape.
#include <lolcats/tensor/shape.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

TEST_CASE("rows and columns of every rank") {
  CHECK(Shape{}.size() == 1);
  CHECK(Shape{}.rows() == 1);
  CHECK(Shape{}.cols() == 1);
  CHECK(Shape{5}.rows() == 1);
  CHECK(Shape{5}.cols() == 5);
  CHECK(Shape{2, 3, 4}.rows() == 6);
  CHECK(Shape{2, 3, 4}.cols() == 4);
  CHECK(Shape{2, 0, 4}.size() == 0);
}

TEST_CASE("shapes compare by rank and extents, and print") {
  CHECK(Shape{2, 3} == Shape{2, 3});
  CHECK_FALSE(Shape{2, 3} == Shape{3, 2});
  CHECK_FALSE(Shape{2} == Shape{2, 1});
  CHECK(to_string(Shape{}) == "()");
  CHECK(to_string(Shape{2, 3}) == "(2, 3)");
  Shape grown{2};
  grown.append(7);
  CHECK(grown == Shape{2, 7});
}

TEST_CASE("a fifth axis is an error") {
  CHECK_THROWS_AS((Shape{1, 2, 3, 4, 5}), ShapeError);
  Shape four{1, 2, 3, 4};
  CHECK_THROWS_AS(four.append(5), ShapeError);
}

TEST_CASE("check_shape names function, argument, got and expected") {
  CHECK_NOTHROW(check_shape("f", "x", Shape{2}, Shape{2}));
  CHECK_THROWS_WITH_AS(check_shape("f", "x", Shape{2}, Shape{2, 1}), "f: x has shape (2), expected (2, 1)", ShapeError);
}
