#include <doctest/doctest.h>
#include <lolcats/data/dataset.hpp>

#include <algorithm>
#include <set>
#include <vector>

using namespace lolcats;  // tests only
using Ids = std::vector<Index>;

namespace {

const std::vector<Row> rows{{{1, 5, 6, 1}, {1, 5, 6, 1}, {0, 3}}, {{7, 1, 8, 9}, {-100, -100, 8, 9}, {0, 1}}};

DataSet numbered(Index count) {
  std::vector<Row> list;
  for (Index i = 0; i < count; ++i) list.push_back({{i, i}, {i, i}, {0}});
  return DataSet(std::move(list));
}

Ids first_tokens(const Batch& batch) {
  Ids ids;
  for (const Extent& extent : batch.sequences.extents())
    ids.push_back(batch.tokens[static_cast<std::size_t>(extent.row)]);
  return ids;
}

}  // namespace

TEST_CASE("joined documents: one sequence a row, targets one ahead") {
  const DataSet data(rows);
  const Batch batch = data.batch(0, 2);
  CHECK(batch.tokens == Ids{1, 5, 6, 1, 7, 1, 8, 9});
  CHECK(batch.labels == Ids{5, 6, 1, -100, -100, 8, 9, -100});
  CHECK(batch.sequences.rows() == 8);
  CHECK(std::ranges::equal(batch.sequences.extents(), Sequences::rectangular(2, 4).extents()));
  CHECK(batch.supervised() == 5);
  CHECK(data.tokens() == 8);
}

TEST_CASE("separate documents: a sequence each, and no target across a boundary") {
  const Batch batch = DataSet(rows, DocumentBoundaries::Separate).batch(Ids{1, 0});
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
  CHECK_THROWS_AS(DataSet(rows).batch(Ids{2}), DataError);
  CHECK_THROWS_AS(DataSet(rows).batch(Ids{-1}), DataError);
}

TEST_CASE("unknown tokens are found before they are used") {
  CHECK_NOTHROW(DataSet(rows).check_vocabulary(10));
  CHECK_THROWS_WITH_AS(DataSet(rows).check_vocabulary(9),
                       "DataSet: row 1, position 3: token 9 lies outside of the vocabulary of 9", DataError);
  CHECK_THROWS_AS(DataSet({{{1, -1}, {1, 1}, {0}}}).check_vocabulary(10), DataError);
  CHECK_THROWS_AS(DataSet({{{1, 1}, {1, -5}, {0}}}).check_vocabulary(10), DataError);
}

TEST_CASE("an order is a permutation that seed and epoch decide") {
  const DataSet data = numbered(100);
  Ids order = data.order(3, 0);
  CHECK(order == data.order(3, 0));
  CHECK(order != data.order(3, 1));
  CHECK(order != data.order(4, 0));
  std::ranges::sort(order);
  for (Index i = 0; i < 100; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("every row can land on every place") {
  const DataSet data = numbered(3);
  std::set<Ids> orders;
  for (Index epoch = 0; epoch < 200; ++epoch) orders.insert(data.order(0, epoch));
  CHECK(orders.size() == 6);  // 3! permutations; missing one has probability below 6 * (5/6)^200 = 1e-15
}

TEST_CASE("a stream reads each row once an epoch, and goes on from any position") {
  const DataSet data = numbered(7);
  BatchStream stream(data, 3, 11);
  CHECK(stream.batches_per_epoch() == 3);
  std::vector<DataPosition> positions;
  std::vector<Ids> batches;
  for (int i = 0; i < 6; ++i) {
    positions.push_back(stream.position());
    batches.push_back(first_tokens(stream.next()));
  }
  CHECK(positions[2] == DataPosition{0, 6});
  CHECK(positions[3] == DataPosition{1, 0});
  CHECK(batches[2].size() == 1);  // the rest of the epoch
  for (const std::size_t epoch : {std::size_t{0}, std::size_t{3}}) {
    std::set<Index> seen;
    for (std::size_t i = epoch; i < epoch + 3; ++i) seen.insert(batches[i].begin(), batches[i].end());
    CHECK(seen.size() == 7);
  }
  for (std::size_t i = 0; i < positions.size(); ++i) {
    BatchStream resumed(data, 3, 11, positions[i]);
    for (std::size_t j = i; j < batches.size(); ++j) CHECK(first_tokens(resumed.next()) == batches[j]);
  }
  BatchStream plain(data, 4, std::nullopt);
  CHECK(first_tokens(plain.next()) == Ids{0, 1, 2, 3});
  CHECK(first_tokens(plain.next()) == Ids{4, 5, 6});
  CHECK(first_tokens(plain.next()) == Ids{0, 1, 2, 3});
}

TEST_CASE("streams that cannot run are refused") {
  const DataSet data = numbered(2), none;
  CHECK_THROWS_AS(BatchStream(data, 0, 1), ConfigError);
  CHECK_THROWS_AS(BatchStream(none, 1, 1), DataError);
  CHECK_THROWS_AS(BatchStream(data, 1, 1, {0, 2}), ConfigError);
  CHECK_THROWS_AS(BatchStream(data, 1, 1, {-1, 0}), ConfigError);
}
