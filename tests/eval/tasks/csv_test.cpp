#include "support.hpp"

#include <lolcats/eval/tasks/csv.hpp>

using namespace lolcats;
using tasks_test::contains;

namespace {

using Cells = std::vector<std::vector<std::string>>;

Cells cells(std::string_view text) {
  Cells all;
  for (const CsvRow& row : parse_csv(text, "t.csv")) all.push_back(row.cells);
  return all;
}

}  // namespace

TEST_CASE("csv: cells, quotation marks, line ends") {  // the right sides are what Python's csv.reader gives
  CHECK(cells("a,b,c\n1,2,3") == Cells{{"a", "b", "c"}, {"1", "2", "3"}});
  CHECK(cells("a,,\r\n,\r\n") == Cells{{"a", "", ""}, {"", ""}});
  CHECK(cells("\"a,b\",\"c\"\"d\",\"e\nf\r\ng\"\n\"\"\n") == Cells{{"a,b", "c\"d", "e\nf\r\ng"}, {""}});
  CHECK(cells("a\"b\",c\"\n") == Cells{{"a\"b\"", "c\""}});
  CHECK(cells("\"a\"b\"c,d\n") == Cells{{"ab\"c", "d"}});
  CHECK(cells("\xef\xbb\xbf\"x\"\n\n\nz\n") == Cells{{"x"}, {"z"}});
  CHECK(cells("").empty());
  CHECK(cells("\"\"\"\"") == Cells{{"\""}});
}

TEST_CASE("csv: the line on which a record begins") {
  const auto rows = parse_csv("a\n\"b\nc\nd\",e\n\nf\n", "t.csv");
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].line == 1);
  CHECK(rows[1].line == 2);
  CHECK(rows[2].line == 6);
}

TEST_CASE("csv: a quotation that does not end") {
  const auto message = tasks_test::error_of<DataError>([] { parse_csv("a\nb,\"c\nd\n", "t.csv"); });
  CHECK(contains(message, "t.csv: line 2: "));
  CHECK(contains(tasks_test::error_of<DataError>([] { parse_csv("\"", "t.csv"); }), "line 1"));
  CHECK(contains(tasks_test::error_of<DataError>([] { parse_csv("\"\"\"", "t.csv"); }), "line 1"));
}
