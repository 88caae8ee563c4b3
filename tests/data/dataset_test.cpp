#include <doctest/doctest.h>
#include <lolcats/data/dataset.hpp>

#include <algorithm>
#include <vector>

using namespace lolcats;  // tests only
using Ids = std::vector<Index>;

namespace {

const std::vector<Row> two_rows{{{1, 5, 6, 1}, {1, 5, 6, 1}, {0, 3}}, {{7, 1, 8, 9}, {-100, -100, 8, 9}, {0, 1}}};

}  // namespace

TEST_CASE("joined documents: one sequence a row, targets one ahead") {
  const DataSet data(two_rows);
  const Batch batch = data.batch(0, 2);
  CHECK(batch.tokens == Ids{1, 5, 6, 1, 7, 1, 8, 9});
  CHECK(batch.labels == Ids{5, 6, 1, -100, -100, 8, 9, -100});
  CHECK(batch.sequences.rows() == 8);
  CHECK(std::ranges::equal(batch.sequences.extents(), Sequences::rectangular(2, 4).extents()));
  CHECK(batch.supervised() == 5);
  CHECK(data.tokens() == 8);
}

TEST_CASE("separate documents: a sequence each, and no target across a boundary") {
  const Batch batch = DataSet(two_rows, DocumentBoundaries::Separate).batch(Ids{1, 0});
  CHECK(batch.tokens == Ids{7, 1, 8, 9, 1, 5, 6, 1});
  CHECK(batch.labels == Ids{-100, 8, 9, -100, 5, 6, -100, -100});
  CHECK(std::ranges::equal(batch.sequences.extents(), std::vector<Extent>{{0, 1, 0}, {1, 3, 0}, {4, 3, 0}, {7, 1, 0}}));
}

TEST_CASE("rows may differ in length") {
  const Batch batch = DataSet({{{1, 2, 3}, {1, 2, 3}, {0}}, {{1, 4}, {1, 4}, {0}}}).batch(0, 2);
  CHECK(batch.labels == Ids{2, 3, -100, 4, -100});
  CHECK(batch.sequences[1] == Extent{3, 2, 0});
}

TEST_CASE("rows that do not fit are refused") {
  CHECK_THROWS_AS(DataSet({{{1}, {1}, {0}}}), DataError);
  CHECK_THROWS_AS(DataSet({{{}, {}, {0}}}), DataError);
  CHECK_THROWS_AS(DataSet({{{1, 2}, {1}, {0}}}), DataError);
  for (const Ids& starts : {Ids{}, Ids{1}, Ids{0, 2}, Ids{0, 0}})
    CHECK_THROWS_AS(DataSet({{{1, 2}, {1, 2}, starts}}), DataError);
  CHECK_THROWS_AS(DataSet(two_rows).batch(Ids{2}), DataError);
  CHECK_THROWS_AS(DataSet(two_rows).batch(Ids{-1}), DataError);
}

TEST_CASE("unknown tokens are found before they are used") {
  CHECK_NOTHROW(DataSet(two_rows).check_vocabulary(10));
  CHECK_THROWS_WITH_AS(DataSet(two_rows).check_vocabulary(9),
                       "DataSet: row 1, position 3: token 9 lies outside of the vocabulary of 9", DataError);
  CHECK_THROWS_AS(DataSet({{{1, -1}, {1, 1}, {0}}}).check_vocabulary(10), DataError);
  CHECK_THROWS_AS(DataSet({{{1, 1}, {1, -5}, {0}}}).check_vocabulary(10), DataError);
}
