#include <doctest/doctest.h>
#include <lolcats/data/synthetic_curriculum.hpp>

TEST_CASE("shares add up to one and the full corpus comes last") {
  lolcats::SyntheticConfig full;
  full.longest = 300;
  double total = 0;
  lolcats::Index length = 0;
  for (const auto& stage : lolcats::recall_curriculum(full)) {
    total += stage.share;
    CHECK(stage.corpus.length > length);
    CHECK(stage.corpus.longest == 300);
    length = stage.corpus.length;
    CHECK_NOTHROW(lolcats::SyntheticCorpus{stage.corpus});
  }
  CHECK(total == doctest::Approx(1.0));
  CHECK(length == full.length);
}
