#include <doctest/doctest.h>
#include <lolcats/core/rng.hpp>
#include <lolcats/data/instructions.hpp>
#include <lolcats/data/packing.hpp>

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace {

using lolcats::concatenate, lolcats::ConfigError, lolcats::DataError, lolcats::Index, lolcats::pack, lolcats::Row,
    lolcats::Sample;
using Ids = std::vector<Index>;

/// The specification's loop: plain lists that are cut from the front.
std::vector<std::pair<Ids, Ids>> pack_by_lists(const std::vector<Sample>& samples, std::size_t length) {
  Ids ids, labels;
  std::vector<std::pair<Ids, Ids>> rows;
  for (const Sample& sample : samples) {
    for (const Index id : sample.tokens) ids.push_back(id);
    for (const Index label : sample.labels) labels.push_back(label);
    while (ids.size() > length) {
      bool any = false;
      for (std::size_t i = 0; i < length; ++i) any = any || labels[i] != -100;
      const auto cut = static_cast<std::ptrdiff_t>(length);
      if (any) rows.push_back({Ids(ids.begin(), ids.begin() + cut), Ids(labels.begin(), labels.begin() + cut)});
      ids.erase(ids.begin(), ids.begin() + cut);
      labels.erase(labels.begin(), labels.begin() + cut);
    }
  }
  return rows;
}

}  // namespace

TEST_CASE("concatenated documents fill rows, and the tail is dropped") {
  const auto rows = concatenate({{1, 10, 11}, {1}, {1, 12, 13, 14, 15, 16, 17}, {1, 18}}, 4);
  REQUIRE(rows.size() == 3);
  CHECK(rows[0] == Row{{1, 10, 11, 1}, {1, 10, 11, 1}, {0, 3}});
  CHECK(rows[1] == Row{{1, 12, 13, 14}, {1, 12, 13, 14}, {0}});
  CHECK(rows[2] == Row{{15, 16, 17, 1}, {15, 16, 17, 1}, {0, 3}});
  CHECK(concatenate({{1, 2}, {3, 4}}, 4).size() == 1);  // exactly full: kept
}

TEST_CASE("concatenate refuses what gives no row") {
  CHECK_THROWS_AS(concatenate({}, 4), DataError);
  CHECK_THROWS_WITH_AS(concatenate({{1, 2, 3}}, 4), "concatenate: 1 documents have 3 tokens, too few for one row of 4",
                       DataError);
  CHECK_THROWS_WITH_AS(concatenate({{1, 2}, {}}, 2), "concatenate: sample 1 has no tokens", DataError);
  CHECK_THROWS_AS(concatenate({{1, 2, 3}}, 1), ConfigError);
}

TEST_CASE("pack cuts while more than a row waits, and drops rows without a label") {
  const auto rows = pack({{{0, 1, 2, 3, 4, 5}, Ids(6, -100)}, {{6, 7, 8}, {6, 7, 8}}}, 4);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0] == Row{{4, 5, 6, 7}, {-100, -100, 6, 7}, {0, 2}});
  CHECK(pack({{{1, 2}, {1, 2}}, {{3, 4}, {3, 4}}}, 4).empty());  // exactly full: not cut
  CHECK_THROWS_AS(pack({{{1, 2}, {1}}}, 4), DataError);
  CHECK_THROWS_AS(pack({Sample{}}, 4), DataError);
  CHECK_THROWS_AS(pack({}, 0), ConfigError);
}

TEST_CASE("pack equals the specification on random samples, and starts are where samples start") {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    lolcats::Rng rng(seed);
    std::vector<Sample> samples(1 + rng.below(12));
    for (Sample& sample : samples)
      for (std::uint64_t i = 0, n = 1 + rng.below(20); i < n; ++i) {
        // the first token of each sample is 0 and no other is
        sample.tokens.push_back(i == 0 ? 0 : 1 + static_cast<Index>(rng.below(90)));
        sample.labels.push_back(rng.uniform() < 0.8 ? -100 : sample.tokens.back());
      }
    const Index length = 2 + static_cast<Index>(rng.below(9));
    const auto want = pack_by_lists(samples, static_cast<std::size_t>(length));
    const auto got = pack(samples, length);
    REQUIRE(got.size() == want.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      CHECK(got[i].tokens == want[i].first);
      CHECK(got[i].labels == want[i].second);
      Ids starts{0};
      for (Index j = 1; j < length; ++j)
        if (got[i].tokens[static_cast<std::size_t>(j)] == 0) starts.push_back(j);
      CHECK(got[i].starts == starts);
    }
  }
}

TEST_CASE("a row for each document") {
  const auto rows = lolcats::one_row_each({{1, 2, 3}, {1, 4}}, 3);
  CHECK(rows == std::vector<Row>{{{1, 2, 3}, {1, 2, 3}, {0}}, {{1, 4}, {1, 4}, {0}}});
  CHECK_THROWS_WITH_AS(lolcats::one_row_each({{1, 2}, {1}}, 3),
                       "one_row_each: document 1 has 1 tokens, expected 2 to 3", DataError);
  CHECK_THROWS_AS(lolcats::one_row_each({{1, 2, 3, 4}}, 3), DataError);
}

TEST_CASE("pack and the prompts reproduce the golden fixture") {
  const char* folder = std::getenv("LOLCATS_GOLDEN");
  const auto path =
      (folder ? std::filesystem::path(folder) : std::filesystem::path(__FILE__).parent_path() / "../golden") /
      "packing.safetensors";
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    MESSAGE("skipped: no ", path.string());
    return;
  }
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::uint64_t size = 0;
  std::memcpy(&size, bytes.data(), sizeof size);
  const auto header = nlohmann::json::parse(bytes.substr(8, size));
  const auto read = [&](const char* name) {
    const auto& entry = header.at(name);
    REQUIRE(entry.at("dtype") == "I64");
    const std::size_t begin = entry.at("data_offsets")[0], end = entry.at("data_offsets")[1];
    Ids values((end - begin) / sizeof(Index));
    std::memcpy(values.data(), bytes.data() + 8 + size + begin, end - begin);
    return values;
  };
  const Ids ids = read("in.ids"), labels = read("in.labels"), want_ids = read("out.ids"),
            want_labels = read("out.labels");
  std::vector<Sample> samples;
  std::ptrdiff_t at = 0;
  for (const Index length : read("in.lengths")) {
    samples.push_back(
        {{ids.begin() + at, ids.begin() + at + length}, {labels.begin() + at, labels.begin() + at + length}});
    at += length;
  }
  const auto config = nlohmann::json::parse(header.at("__metadata__").at("config").get<std::string>());
  Ids got_ids, got_labels;
  for (const Row& row : pack(samples, config.at("length"))) {
    got_ids.insert(got_ids.end(), row.tokens.begin(), row.tokens.end());
    got_labels.insert(got_labels.end(), row.labels.begin(), row.labels.end());
  }
  CHECK(got_ids == want_ids);
  CHECK(got_labels == want_labels);
  CHECK(config.at("prompt_plain") == lolcats::alpaca_prompt("Name a colour."));
  CHECK(config.at("prompt_input") == lolcats::alpaca_prompt("Add the numbers.", "1 and 2"));
}
