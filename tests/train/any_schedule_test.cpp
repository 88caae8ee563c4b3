#include <lolcats/train/any_schedule.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

namespace {

/// Does a schedule behave in AnySchedule as it does alone, evaluations and an interruption included?
template <class S>
void same(const S& schedule) {
  const double rate = 0.25;
  const Index updates = 40;
  typename S::State alone(schedule, rate, updates);
  AnySchedule::State any(AnySchedule(schedule), rate, updates);
  CHECK(any.describe() == alone.describe());
  for (Index update = 0; update < updates; ++update) {
    CHECK(any.rate(update) == alone.rate(update));
    const double loss = update < 10 ? 1.0 / static_cast<double>(update + 1) : 1.0;
    alone.observe(loss);
    any.observe(loss);
    CHECK(any.save() == alone.save());
    if (update == 25) {
      AnySchedule::State resumed(AnySchedule(schedule), rate, updates);
      const auto saved = any.save();
      resumed.load(saved);
      any = resumed;
    }
  }
}

}  // namespace

TEST_CASE("a schedule behaves in AnySchedule as it does alone") {
  same(Constant{});
  same(Cosine{.warmup = 5, .floor = 0.1});
  same(ReduceOnPlateau{.patience = 3});
}

TEST_CASE("the schedules stay apart") {
  const AnySchedule::State plateau(AnySchedule{}, 1.0, 10), constant(AnySchedule(Constant{}), 1.0, 10);
  CHECK(plateau.describe() != constant.describe());
  AnySchedule::State cosine(AnySchedule(Cosine{}), 1.0, 10);
  CHECK_THROWS_AS(cosine.load(plateau.save()), FormatError);
}
