#include <lolcats/train/cpu.hpp>
#include <lolcats/train/early_stopping.hpp>

#include <doctest/doctest.h>

#include <limits>

using namespace lolcats;

namespace {
Parameter<Cpu<double>> trained(double value) {
  Array<Cpu<double>> array(Shape{2});
  array.data()[0] = array.data()[1] = value;
  Parameter<Cpu<double>> p(array);
  p.train(Cpu<double>{});
  return p;
}
}  // namespace

TEST_CASE("the best parameters come back, all of them") {
  auto p = trained(0), q = trained(0);
  EarlyStopping<Cpu<double>> stopping(Cpu<double>{}, {{"p", &p}, {"q", &q}});
  CHECK_FALSE(stopping.has_best());
  stopping.restore();  // nothing yet: nothing happens
  Index update = 0;
  for (const double loss : {3.0, 1.0, 2.0, 1.0}) {
    ++update;
    p.master().data[1] = static_cast<double>(update);
    q.master().data[0] = -static_cast<double>(update);
    CHECK(stopping.observe(loss, update) == (update <= 2));
  }
  CHECK(stopping.best() == 1.0);
  CHECK(stopping.best_update() == 2);  // an equal loss later is not better
  stopping.restore();
  CHECK(p.value().data[1] == 2.0);
  CHECK(q.value().data[0] == -2.0);
  CHECK_FALSE(stopping.exhausted());  // patience 0 never gives up
}

TEST_CASE("patience counts evaluations in a row without a new best") {
  auto p = trained(0);
  EarlyStopping<Cpu<double>> stopping(Cpu<double>{}, {{"p", &p}}, 2);
  const std::vector<std::pair<double, bool>> steps{{3, false}, {4, false}, {2, false}, {2.5, false}, {2, true}};
  for (const auto& [loss, exhausted] : steps) {
    stopping.observe(loss, 1);
    CHECK(stopping.exhausted() == exhausted);
  }
}

TEST_CASE("a validation loss that is not finite is an error") {
  auto p = trained(0);
  EarlyStopping<Cpu<double>> stopping(Cpu<double>{}, {{"p", &p}});
  CHECK_THROWS_WITH_AS(stopping.observe(std::numeric_limits<double>::quiet_NaN(), 7),
                       "EarlyStopping: the validation loss is nan after update 7", NumericError);
  CHECK_THROWS_AS(stopping.observe(std::numeric_limits<double>::infinity(), 7), NumericError);
  CHECK_THROWS_AS(EarlyStopping<Cpu<double>>(Cpu<double>{}, {}, -1), ConfigError);
}
