#include <doctest/doctest.h>
#include <lolcats/data/batch.hpp>

TEST_CASE("supervised counts the labels that are not ignored") {
  lolcats::Batch batch;
  CHECK(batch.supervised() == 0);
  batch.labels = {3, lolcats::ignored_label, 0, lolcats::ignored_label};
  CHECK(batch.supervised() == 2);
}

TEST_CASE("supervise_all labels each token with itself") {
  CHECK(lolcats::supervise_all({4, 5}) == lolcats::Sample{{4, 5}, {4, 5}});
}
