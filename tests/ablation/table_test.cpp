#include "../train/tiny_rows.hpp"

#include <lolcats/ablation/row_folder.hpp>
#include <lolcats/ablation/table.hpp>

#include <doctest/doctest.h>

#include <fstream>

using namespace lolcats;

namespace {

AblationRow row(const std::string& variant, std::uint64_t seed, double value) {
  AblationRow r;
  r.variant = variant;
  r.seed = seed;
  r.recipe = {{"teacher", "0123"}, {"transfer.schedule", "plateau, factor \"0.1\""}};
  r.set("perplexity", value);
  return r;
}

}  // namespace

TEST_CASE("significant: digits, not decimals") {
  CHECK(significant(3.61234, 4) == "3.612");
  CHECK(significant(12.3456, 4) == "12.35");
  CHECK(significant(1539.39, 4) == "1539");
  CHECK(significant(153939, 4) == "153939");
  CHECK(significant(0.0123456, 3) == "0.0123");
  CHECK(significant(0.000123456, 3) == "1.23e-04");
  CHECK(significant(0, 3) == "0.00");
  CHECK(significant(-2.5, 2) == "-2.5");
  CHECK(significant(std::numeric_limits<double>::quiet_NaN(), 3).empty());
}

TEST_CASE("statistic_of and band: means over seeds") {
  const Statistic s = statistic_of({1, 2, 6, std::numeric_limits<double>::quiet_NaN()});
  CHECK(s.mean == 3);
  CHECK(s.count == 3);
  CHECK(s.spread == doctest::Approx(std::sqrt((4 + 1 + 9) / 2.0)));
  CHECK(std::isnan(statistic_of({}).mean));

  Ablation all;
  all.rows = {row("a", 0, 1), row("a", 1, 3)};
  all.rows[0].series = {{"loss", {0, 2, 4}, {5, 4, 3}}};
  all.rows[1].series = {{"loss", {0, 4}, {7, 1}}};
  const auto band = all.band("a", "loss");
  CHECK(band.x == std::vector<double>{0, 4});
  CHECK(band.y == std::vector<double>{6, 2});
  CHECK(band.low == std::vector<double>{5, 1});
  CHECK(band.high == std::vector<double>{7, 3});
  CHECK(all.band("b", "loss").x.empty());

  CHECK(all.of_seed(1).rows.size() == 1);
  CHECK(all.of_seed(1).statistic("a", "perplexity").mean == 3);
  CHECK(all.of_seed(2).rows.empty());
}

TEST_CASE("table: aligned, mean and deviation, a star on the best, failures below") {
  Ablation all;
  all.rows = {row("one", 0, 2), row("one", 1, 4), row("another", 0, 10), row("failed", 0, 1)};
  all.rows[3].status = "diverged: the loss is nan";
  CHECK(table(all, {{"perplexity", "ppl", Best::lowest, 3}}) ==
        "| variant |          ppl |\n"
        "|---------|-------------:|\n"
        "| one     | 3.00 ± 1.4 * |\n"
        "| another |         10.0 |\n"
        "| failed  |              |\n"
        "\nfailed, seed 0: diverged: the loss is nan\n");
}

TEST_CASE("table: groups keep to themselves") {
  Ablation all;
  all.rows = {row("one", 0, 2), row("two", 0, 3), row("one", 0, 7), row("two", 0, 5)};
  all.rows[2].group = all.rows[3].group = "text";
  CHECK(table(all, {{"perplexity", "ppl", Best::lowest, 2}}) ==
        "|      | variant |   ppl |\n"
        "|------|---------|------:|\n"
        "|      | one     | 2.0 * |\n"
        "|      | two     |   3.0 |\n"
        "| text | one     |   7.0 |\n"
        "| text | two     | 5.0 * |\n");
}

TEST_CASE("rows in files: they come back as they were") {
  AblationRow original = row("hybrid<hedgehog<8>, terraced<64>> + lora<8, qkvo>", 7, 3.61);
  original.group = "text";
  original.set("diverged", std::numeric_limits<double>::infinity());
  original.set("unknown", std::numeric_limits<double>::quiet_NaN());
  original.series = {{"loss", {0, 1}, {2.5, -std::numeric_limits<double>::infinity()}}};
  const tiny::TemporaryFolder folder;
  RowFolder rows(folder / "rows");
  CHECK(!rows.find(original));
  rows.keep(original);
  const auto found = rows.find(original);
  REQUIRE(found);
  CHECK(to_json(*found) == to_json(original));
  CHECK(std::isnan(found->number("unknown")));
  CHECK(std::isinf(found->number("diverged")));

  AblationRow other = original;
  other.recipe[0].second = "4567";
  CHECK(!rows.find(other));
  other = original;
  other.group = "another text";
  CHECK(!rows.find(other));

  for (const auto& entry : std::filesystem::directory_iterator(folder / "rows")) {
    std::ofstream(entry.path()) << "{\"variant\": 3";
  }
  CHECK_THROWS_AS(rows.find(original), FormatError);
  for (const auto& entry : std::filesystem::directory_iterator(folder / "rows")) {
    std::ofstream(entry.path()) << "{\"variant\": 3}";
  }
  CHECK_THROWS_AS(rows.find(original), FormatError);
  for (const char* seed : {"1e300", "-1", "0.5"}) {  // which no seed can hold
    nlohmann::ordered_json hostile = to_json(original);
    hostile["seed"] = nlohmann::json::parse(seed);
    CHECK_THROWS_WITH_AS(row_from_json(hostile, "rows"), doctest::Contains("rows: 'seed' is"), FormatError);
  }

  CHECK(to_csv({{original}}) ==
        "group,variant,seed,status,perplexity,diverged,unknown,teacher,transfer.schedule\n"
        "text,\"hybrid<hedgehog<8>, terraced<64>> + lora<8, qkvo>\",7,done,3.61,inf,,0123,\"plateau, factor \"\"0.1\"\"\"\n");
}

TEST_CASE("rows in files: states go when a study is finished, those of blocks, too; rows stay") {
  const tiny::TemporaryFolder folder;
  RowFolder rows(folder / "rows");
  rows.keep(row("a", 0, 1));
  for (const char* state : {"transfer-1-4.state", "transfer-1-4.state.block0"}) std::ofstream(folder / "rows" / state) << "x";
  rows.remove_states();
  CHECK(std::distance(std::filesystem::directory_iterator(folder / "rows"), {}) == 1);
  CHECK(rows.find(row("a", 0, 1)));
}

TEST_CASE("rows in files: a longer training goes on from the longest shorter one of its own key") {
  const tiny::TemporaryFolder folder;
  RowFolder rows(folder / "rows");
  const auto write = [&](const char* name) { std::ofstream(folder / "rows" / name) << name; };
  write("transfer-1-4.state");
  write("transfer-1-2.state");
  write("transfer-2-6.state");
  CHECK(read_text(rows.state("transfer-1", 8)) == "transfer-1-4.state");
  CHECK(!path_exists(rows.state("transfer-3", 8)));
}
