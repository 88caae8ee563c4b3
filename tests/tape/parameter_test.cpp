// Parameters: shared values, private training.
#include <lolcats/backend/cpu.hpp>
#include <lolcats/tape/parameter.hpp>
#include <lolcats/testing/close.hpp>
#include <lolcats/testing/random.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("a copy shares the value and leaves training behind", B, Cpu<float>, Cpu<double>) {
  Parameter<B> teacher(array<B>(Shape{2}, {1.0, 2.0}));
  Parameter<B> student = teacher;
  CHECK(student.shares_storage_with(teacher));
  student.train({});
  CHECK_FALSE(student.shares_storage_with(teacher));
  CHECK(student.trained());
  CHECK_FALSE(teacher.trained());
  CHECK(same(std::vector{0.0, 0.0}, student.gradient()));
  student.mutable_value().data[0] = 5;
  CHECK(same(std::vector{1.0, 2.0}, teacher.value()));
  CHECK(student.master().data == student.mutable_value().data);

  const Parameter<B> copy = student;
  CHECK_FALSE(copy.trained());
  CHECK(copy.shares_storage_with(student));
}

TEST_CASE("a gradient starts at zero, whatever its memory held") {
  using B = Cpu<double>;
  {
    std::vector<Array<B>> used;  // memory that is handed out again
    for (int i = 0; i < 8; ++i) used.push_back(array<B>(Shape{1000}, std::vector<double>(1000, 7.0)));
  }
  Parameter<B> p(array<B>(Shape{1000}, std::vector<double>(1000, 1.0)));
  p.train({});
  CHECK(same(std::vector<double>(1000, 0.0), p.gradient()));
}

TEST_CASE("freezing keeps the value, and a weight is trained only with a gradient") {
  using B = Cpu<float>;
  Parameter<B> p(array<B>(Shape{2}, {1.0, 2.0}));
  CHECK_FALSE(Weight<B>(p).trained());
  p.train({});
  CHECK(Weight<B>(p).trained());
  CHECK_FALSE(p.frozen().trained());
  p.gradient().data[0] = 3;
  p.train({});
  CHECK(p.gradient().data[0] == 3);  // training again is no reset
  p.freeze();
  CHECK_FALSE(Weight<B>(p).trained());
  CHECK(same(std::vector{1.0, 2.0}, p.value()));
  CHECK_FALSE(Parameter<B>());
}
