// Errors: types and texts.
#include <lolcats/core/error.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

TEST_CASE("require throws the named type with the formatted text, and only when it must") {
  CHECK_NOTHROW(require<ShapeError>(true, "never {}", 1));
  CHECK_THROWS_WITH_AS(require<ShapeError>(false, "f: got {}, expected {}", 1, 2), "f: got 1, expected 2", ShapeError);
  CHECK_THROWS_WITH_AS(fail<FileError>("{}: cannot open", "a.txt"), "a.txt: cannot open", FileError);
  CHECK_THROWS_AS(fail("plain"), Error);
}

TEST_CASE_TEMPLATE("every error is an Error and a runtime_error", E, ShapeError, FormatError, ConfigError, FileError,
                   DataError, NumericError) {
  CHECK_THROWS_AS(fail<E>("x"), Error);
  CHECK_THROWS_AS(fail<E>("x"), std::runtime_error);
}
