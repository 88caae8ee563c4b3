#include <doctest/doctest.h>
#include <lolcats/core/rng.hpp>
#include <lolcats/data/dataset.hpp>
#include <lolcats/data/packed_writer.hpp>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

using namespace lolcats;  // tests only
using Ids = std::vector<Index>;

namespace {

using FileBytes = std::vector<std::byte>;

struct Text {
  std::vector<Sample> samples;  // labels empty: all
  Index length;
  bool masked, separate;
  Index vocabulary;
};

Text random_text(std::uint64_t seed) {
  Rng rng(seed);
  Text text{{},
            static_cast<Index>(2 + rng.below(rng.below(2) ? 4 : 200)),
            rng.below(2) == 1,
            rng.below(2) == 1,
            rng.below(2) ? 300 : 100000};
  for (std::uint64_t n = 1 + rng.below(30); n > 0; --n) {
    Sample sample;
    for (std::uint64_t i = 1 + rng.below(rng.below(4) ? 20 : 300); i > 0; --i)
      sample.tokens.push_back(static_cast<Index>(rng.below(static_cast<std::uint64_t>(text.vocabulary))));
    if (text.masked)
      for (const Index token : sample.tokens) sample.labels.push_back(rng.below(10) ? ignored_label : token);
    text.samples.push_back(sample);
  }
  return text;
}

FileBytes packed(const Text& text, std::uint64_t identity = 7) {
  FileBytes bytes;
  PackedInfo settings;
  settings.identity = identity;
  settings.length = static_cast<std::uint64_t>(text.length);
  settings.masked = text.masked;
  settings.separate = text.separate;
  PackedWriter writer(settings, text.vocabulary,
                      [&](std::span<const std::byte> more) { bytes.insert(bytes.end(), more.begin(), more.end()); });
  for (const Sample& sample : text.samples) writer.add(sample.tokens, sample.labels, true);
  writer.finish(text.samples.size(), 0, 0);
  return bytes;
}

DataSet open_rows(const FileBytes& bytes) {
  return DataSet(std::make_shared<const PackedRows>(std::span<const std::byte>(bytes), nullptr, "bytes"));
}

/// Plain lists: everything in one, then cut.
std::vector<Row> slow_rows(const Text& text) {
  Ids tokens, labels, firsts;
  for (const Sample& sample : text.samples) {
    for (std::size_t i = 0; i < sample.tokens.size(); ++i) {
      tokens.push_back(sample.tokens[i]);
      labels.push_back(text.masked ? sample.labels[i] : sample.tokens[i]);
      firsts.push_back(i == 0);
    }
  }
  std::vector<Row> rows;
  for (std::size_t begin = 0; begin + static_cast<std::size_t>(text.length) <= tokens.size();
       begin += static_cast<std::size_t>(text.length)) {
    Row row;
    bool any = false;
    for (Index i = 0; i < text.length; ++i) {
      const std::size_t at = begin + static_cast<std::size_t>(i);
      row.tokens.push_back(tokens[at]);
      row.labels.push_back(labels[at]);
      if (i == 0 || firsts[at]) row.starts.push_back(i);
      any = any || (i > 0 && labels[at] != -100);
    }
    if (any) rows.push_back(row);
  }
  return rows;
}

}  // namespace

TEST_CASE("packed rows are those of plain lists, batch by batch") {
  int compared = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    CAPTURE(seed);
    const Text text = random_text(seed);
    const std::vector<Row> want = slow_rows(text);
    if (want.empty()) {
      CHECK_THROWS_AS(packed(text), DataError);
      continue;
    }
    ++compared;
    const FileBytes bytes = packed(text);
    const DataSet got = open_rows(bytes),
                  list(want, text.separate ? DocumentBoundaries::Separate : DocumentBoundaries::Joined);
    CHECK(got.size() == list.size());
    CHECK(got.boundaries() == list.boundaries());
    CHECK(std::vector<Row>(got.rows()) == want);
    CHECK(got.tokens() == list.tokens());
    CHECK(got.fingerprint() == list.fingerprint());
    Rng rng(seed, 1);
    Ids picked;
    for (int i = 0; i < 5; ++i) picked.push_back(static_cast<Index>(rng.below(want.size())));
    const Batch a = got.batch(picked), b = list.batch(picked);
    CHECK(a.tokens == b.tokens);
    CHECK(a.labels == b.labels);
    CHECK(std::ranges::equal(a.sequences.extents(), b.sequences.extents()));
    const PackedInfo& info = *got.packed_info();
    Index largest = 0, supervised = 0, all = 0;
    for (const Row& row : want) {
      for (const Index token : row.tokens) largest = std::max(largest, token);
      for (const Index label : row.labels) supervised += label != ignored_label;
    }
    for (const Sample& sample : text.samples) all += static_cast<Index>(sample.tokens.size());
    CHECK(static_cast<Index>(info.largest) == largest);
    CHECK(static_cast<Index>(info.supervised) == supervised);
    CHECK(static_cast<Index>(info.left_over) == all - list.tokens());
    CHECK_NOTHROW(got.check_vocabulary(largest + 1));
    std::string one, other;
    try {
      got.check_vocabulary(largest);
    } catch (const DataError& error) {
      one = error.what();
    }
    try {
      list.check_vocabulary(largest);
    } catch (const DataError& error) {
      other = error.what();
    }
    CHECK(one == other);
    CHECK_FALSE(one.empty());
    const Index few = list.size() / 2;
    CHECK(got.first(few).fingerprint() == list.first(few).fingerprint());
    CHECK(got.first(few).size() == few);
    CHECK(got.first(list.size() + 5).size() == list.size());
    CHECK_THROWS_AS(got.first(few).batch(few, 1), DataError);
  }
  CHECK(compared > 100);
}

TEST_CASE("whatever differs has another fingerprint") {
  const Row row{{1, 2, 3}, {1, 2, 3}, {0}};
  const auto print = [](const Row& r, DocumentBoundaries b = DocumentBoundaries::Joined) {
    return DataSet({r}, b).fingerprint();
  };
  const std::vector<std::uint64_t> prints{print(row),
                                          print({{1, 2, 4}, {1, 2, 4}, {0}}),
                                          print({{1, 2, 3}, {-100, 2, 3}, {0}}),
                                          print({{1, 2, 3}, {1, -100, 3}, {0}}),
                                          print({{1, 2, 3}, {1, 2, 3}, {0, 1}}),
                                          print({{1, 2, 3}, {1, 2, 3}, {0, 2}}),
                                          print({{1, 2, 3, 0}, {1, 2, 3, 0}, {0}}),
                                          print(row, DocumentBoundaries::Separate),
                                          DataSet({row, row}).fingerprint(),
                                          DataSet().fingerprint()};
  for (std::size_t i = 0; i < prints.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) CHECK(prints[i] != prints[j]);
  // a label that is told beside its token is not the next token
  CHECK(print({{1, 2}, {9, 2}, {0}}) != print({{1, 9}, {1, 2}, {0}}));
}

TEST_CASE("a file of rows that is cut anywhere is refused") {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Text text = random_text(seed);
    if (slow_rows(text).empty()) continue;
    const FileBytes bytes = packed(text);
    if (bytes.size() > 3000) continue;
    for (std::size_t size = 0; size < bytes.size(); ++size)
      CHECK_THROWS_AS(open_rows(FileBytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size))),
                      FormatError);
    FileBytes longer = bytes;
    longer.push_back(std::byte{0});
    CHECK_THROWS_AS(open_rows(longer), FormatError);
    longer.insert(longer.begin() + 8, 7, std::byte{0});
    CHECK_THROWS_AS(open_rows(longer), FormatError);
  }
}

TEST_CASE("a byte that changed is found, or read as another token of the vocabulary") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Text text = random_text(seed);
    if (slow_rows(text).empty()) continue;
    FileBytes bytes = packed(text);
    if (bytes.size() > 2000) continue;
    const auto largest = static_cast<Index>(open_rows(bytes).packed_info()->largest);
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      for (const unsigned flip : {1U, 0x80U}) {
        bytes[at] ^= std::byte(flip);
        try {
          const DataSet data = open_rows(bytes);
          CHECK(at >= 8);
          CHECK(at < bytes.size() - sizeof(PackedInfo));
          for (const Row& row : data.rows()) {
            for (const Index token : row.tokens) CHECK((token >= 0 && token <= largest));
            CHECK_NOTHROW(DataSet({row}));  // starts are in order
          }
        } catch (const FormatError&) {
        }
        bytes[at] ^= std::byte(flip);
      }
    }
  }
}

TEST_CASE("what cannot be packed is refused") {
  PackedInfo settings;
  const auto nowhere = [](std::span<const std::byte>) {};
  CHECK_THROWS_AS(PackedWriter(settings, 10, nowhere), ConfigError);
  settings.length = 2;
  PackedWriter writer(settings, 10, nowhere);
  CHECK_THROWS_AS(writer.add(Ids{10}, {}, true), DataError);
  CHECK_THROWS_AS(writer.add(Ids{-1}, {}, true), DataError);
  CHECK_THROWS_AS(writer.add(Ids{1}, Ids{1}, true), DataError);
  settings.masked = 1;
  PackedWriter masked(settings, 10, nowhere);
  CHECK_THROWS_AS(masked.add(Ids{1}, Ids{2}, true), DataError);
  CHECK_THROWS_AS(masked.add(Ids{1}, Ids{1, 2}, true), DataError);
  masked.add(Ids{1, 2, 3, 4}, Ids{1, -100, -100, -100}, true);
  CHECK_THROWS_WITH_AS(masked.finish(1, 0, 0), "1 documents have 4 tokens, too few for one row of 2 with an answer",
                       DataError);
}

TEST_CASE("ids of two bytes while the vocabulary lets them") {
  for (const Index vocabulary : {65536, 65537}) {
    const Text text{{{{vocabulary - 1, 0, 65535}, {}}}, 3, false, false, vocabulary};
    const FileBytes bytes = packed(text);
    CHECK(open_rows(bytes).packed_info()->token_bytes == (vocabulary == 65536 ? 2 : 4));
    CHECK(open_rows(bytes)[0].tokens == Ids{vocabulary - 1, 0, 65535});
  }
}
