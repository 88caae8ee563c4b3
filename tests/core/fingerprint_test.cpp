#include <lolcats/core/fingerprint.hpp>

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

using namespace lolcats;

TEST_CASE("a fingerprint knows where one text ends and the next begins") {
  const auto of = [](const std::vector<std::string>& texts) {
    Fingerprint print;
    for (const std::string& text : texts) print.add(text);
    return print.text();
  };
  const std::set<std::string> seen{of({"ab", "c"}), of({"a", "bc"}), of({"abc"}), of({"abc", ""}), of({"", "abc"}), of({})};
  CHECK(seen.size() == 6);
  for (const std::string& text : seen) CHECK(text.size() == 16);
}

TEST_CASE("every byte of a number shows in a fingerprint") {
  std::set<std::uint64_t> seen;
  for (int bit = 0; bit < 64; ++bit) {
    Fingerprint print;
    print.add(std::uint64_t{1} << bit);
    seen.insert(print.value());
  }
  CHECK(seen.size() == 64);
}
